"""Work on many things at once, with the results in order."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerPool(Generic[Item, Result]):
    """Threads that work on a row of items, never further ahead than is taken from them."""

    def __init__(
        self, work: Callable[[Item], Result], items: Sequence[Item], threads: int, ahead: int
    ) -> None:
        """Begin to work: at most `ahead` results are there or in the making at a time."""
        self._work = work
        self._items = items
        self._ahead = ahead
        self._begun = 0
        self._taken = 0
        self._results: dict[int, Result | Exception] = {}
        self._changed = threading.Condition()
        for _ in range(min(threads, len(items))):
            # Daemons, so that a run that was stopped need not wait for their answers.
            threading.Thread(target=self._run, daemon=True).start()

    def take(self, seconds: float) -> Result | None:
        """Return the next result in order, or nothing if it is not there within so many seconds.

        Raises:
            Exception: What the work on it raised.

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
        while (number := self._begin()) is not None:
            try:
                result: Result | Exception = self._work(self._items[number])
            except Exception as error:  # noqa: BLE001  (raised again where it is its turn)
                result = error
            with self._changed:
                self._results[number] = result
                self._changed.notify_all()

    def _begin(self) -> int | None:
        with self._changed:
            self._changed.wait_for(lambda: self._begun < self._taken + self._ahead)
            if self._begun == len(self._items):
                return None
            self._begun += 1
            return self._begun - 1
