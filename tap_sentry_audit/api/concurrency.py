"""Concurrent work with results in order."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerPool(Generic[Item, Result]):
    """Threads that process items concurrently and return the results in order."""

    def __init__(
        self, work: Callable[[Item], Result], items: Sequence[Item], threads: int, ahead: int
    ) -> None:
        """Start the threads; at most `ahead` results are in progress or waiting to be taken."""
        self._work = work
        self._items = items
        self._ahead = ahead
        self._begun = 0
        self._taken = 0
        self._results: dict[int, Result | Exception] = {}
        self._changed = threading.Condition()
        for _ in range(min(threads, len(items))):
            # Daemons, so that a stopped run does not wait for their responses.
            threading.Thread(target=self._run, daemon=True).start()

    def take(self, seconds: float) -> Result | None:
        """Return the next result in order, or None if it is not ready within `seconds`.

        Raises:
            Exception: Whatever `work` raised for this item.

        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._taken in self._results, seconds):
                return None
            result = self._results.pop(self._taken)
            self._taken += 1
            self._changed.notify_all()
        if isinstance(result, Exception):
            raise result
        return result

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._begun < self._taken + self._ahead)
                if self._begun == len(self._items):
                    return
                number = self._begun
                self._begun += 1
            try:
                result: Result | Exception = self._work(self._items[number])
            except Exception as error:  # noqa: BLE001  (`take` raises it again)
                result = error
            with self._changed:
                self._results[number] = result
                self._changed.notify_all()
