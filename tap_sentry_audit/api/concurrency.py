"""Concurrent work with results in order."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    Attempt = Callable[[], AbstractContextManager[None]]
    """Makes a context manager to enter for each try of a request."""

Item = TypeVar("Item")
Key = TypeVar("Key")
Result = TypeVar("Result")

_MOST_THREADS = 100
"""Keys that can wait to try again at the same time, and those that are read meanwhile."""


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


class ReadAhead(Generic[Key, Result]):
    """Threads that start work on keys ahead of whoever takes the results.

    The work on a key gets an `attempt`, a context manager to enter for each of its requests. At
    most `most` keys that nobody waits for have a request on its way or a result that lies ready. A
    key whose request has failed leaves its place to others until it tries again.
    """

    def __init__(
        self, work: Callable[[Key, Attempt], Result], keys: Iterable[Key], most: int
    ) -> None:
        """Start no thread before the first `take`. The keys are started in their order."""
        self._work = work
        self._tasks = {key: _Task[Result]() for key in keys}
        self._to_begin = iter(self._tasks.items())
        self._most = most
        self._places = 0
        self._threads = 0
        self._failing = 0
        self._awaited: _Task[Result] | None = None
        self._changed = threading.Condition()

    def take(self, key: Key, seconds: float) -> Result | None:
        """Return a key's result, or None if it is not ready within `seconds`.

        Each result can be taken once. Its `attempt` no longer waits then.

        Raises:
            Exception: Whatever the work raised for this key.

        """
        task = self._tasks[key]
        with self._changed:
            self._start_threads()
            self._awaited = task
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: task.outcome is not None, seconds):
                return None
            outcome, task.outcome = task.outcome, None
            task.is_taken = True
            self._leave(task)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def is_failing(self, key: Key, seconds: float) -> bool:
        """Whether the requests for a key have failed for that long."""
        failing_since = self._tasks[key].failing_since
        return failing_since is not None and time.monotonic() - failing_since >= seconds

    def attempts(self, key: Key) -> int:
        """Return how many requests there were for a key."""
        return self._tasks[key].attempts

    def _start_threads(self) -> None:
        """Have enough threads for `most` keys besides those that wait to try again."""
        while self._threads < min(self._most + self._failing, _MOST_THREADS):
            self._threads += 1
            # Daemons, so that a stopped run does not wait for their responses.
            threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._changed:
                key, task = next(self._to_begin, (None, None))
            if key is None or task is None:
                return
            try:
                outcome: Result | Exception = self._work(key, partial(self._attempt, task))
            except Exception as error:  # noqa: BLE001  (`take` raises it again)
                outcome = error
            with self._changed:
                self._end_failing(task)
                task.outcome = outcome
                self._changed.notify_all()

    @contextmanager
    def _attempt(self, task: _Task[Result]) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._may_enter(task))
            task.attempts += 1
            if not task.has_place and not task.is_taken:
                task.has_place = True
                self._places += 1
        try:
            yield
        except BaseException:
            with self._changed:
                self._leave(task)
                if task.failing_since is None and not task.is_taken:
                    task.failing_since = time.monotonic()
                    self._failing += 1
                    self._start_threads()
            raise
        with self._changed:
            self._end_failing(task)

    def _may_enter(self, task: _Task[Result]) -> bool:
        is_exempt = task.is_taken or task.has_place or task is self._awaited
        return is_exempt or self._places < self._most

    def _end_failing(self, task: _Task[Result]) -> None:
        if task.failing_since is not None:
            task.failing_since = None
            self._failing -= 1

    def _leave(self, task: _Task[Result]) -> None:
        if task.has_place:
            task.has_place = False
            self._places -= 1
            self._changed.notify_all()


@dataclass(eq=False, slots=True)
class _Task(Generic[Result]):
    """The work on one key; `outcome` is there from its end until it is taken."""

    outcome: Result | Exception | None = None
    is_taken: bool = False
    has_place: bool = False
    attempts: int = 0
    failing_since: float | None = None
