"""Reads a time range of an organization's audit log, oldest first, nothing lost.

Sentry answers newest first and orders the entries of one microsecond anew for each request, so
its own pagination loses some of them where a page ends between them. Here the log is read
forward in time, and a page begins at the whole millisecond in which the one before ended: a
millisecond is delivered only once all of it was in one answer, or read by itself (`ties`).
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tap_sentry_audit.api.pagination import PAGE_SIZE, Cursor
from tap_sentry_audit.api.timestamps import from_milliseconds, to_milliseconds
from tap_sentry_audit.audit_log.pages import Query
from tap_sentry_audit.audit_log.segments import Chunk, Schedule, Step
from tap_sentry_audit.audit_log.ties import read_tie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tap_sentry_audit.audit_log.pages import Fetch
    from tap_sentry_audit.audit_log.segments import Segment

    Width = Callable[[float], int]

TICK = 1.0
"""Seconds after which an empty chunk tells that nothing new has come."""


class CursorIgnoredError(Exception):
    """The server's rows do not answer what a cursor of ours asked for."""


def read_range(
    fetch: Fetch,
    start: datetime | None,
    end: datetime | None,
    width: Width = lambda _: 1,
) -> Iterator[Chunk]:
    """Yield the entries from `start` on and before `end`; without them, all from the first on.

    `width` says how many requests at once are of use to one who takes so many seconds for a
    page; what lies ahead is bounded, and comes in order. An empty chunk comes about once a
    second while nothing else does. `fetch` may be called by several threads; what it raises
    passes through, after all that comes before.

    Raises:
        CursorIgnoredError: The server does not read from where it is asked to.

    """
    first = max(0, to_milliseconds(start)) if start else 0
    last = None if end is None else to_milliseconds(end) + 1
    for chunk in _chunks(fetch, first, last, width):
        yield replace(
            chunk,
            entries=[
                entry
                for entry in chunk.entries
                if (start is None or entry.created >= start)
                and (end is None or entry.created < end)
            ],
        )


def _chunks(fetch: Fetch, first: int, last: int | None, width: Width) -> Iterator[Chunk]:
    """Read the first page by itself: where that is all, no thread is needed."""
    step = _step(fetch, first)
    _check(fetch, first, step)
    pool = _WorkerPool(fetch, Schedule(first, last, step), width)
    try:
        yield from pool.chunks()
    finally:
        pool.stop()


class _WorkerPool:
    """Threads that read what a schedule says, as many as are of use."""

    def __init__(self, fetch: Fetch, schedule: Schedule, width: Width) -> None:
        self._fetch = fetch
        self._schedule = schedule
        self._width = width
        self._lock = threading.Lock()
        self._something_read = threading.Condition(self._lock)
        self._something_to_read = threading.Condition(self._lock)
        self._threads = 0
        self._useful = 1
        self._handling = 0.0
        self._is_awaited = False
        self._is_stopped = False

    def chunks(self) -> Iterator[Chunk]:
        """Yield what was read, in order.

        Raises:
            Exception: What reading the next segment in order raised.

        """
        while True:
            with self._lock:
                self._useful = self._width(self._handling)
                chunk = self._schedule.deliver()
                if chunk is None:
                    if self._schedule.is_done:
                        return
                    self._schedule.raise_error()
                    self._call_up()
                    if not self._something_read.wait(TICK):
                        chunk = Chunk([], datetime.now(UTC))
                elif self._useful > 1:
                    self._something_to_read.notify()
            if chunk is not None:
                yield from self._hand_out(chunk)

    def _hand_out(self, chunk: Chunk) -> Iterator[Chunk]:
        began = time.monotonic()
        yield chunk
        took = time.monotonic() - began
        self._handling += (took - self._handling) / (8 if self._handling else 1)

    def _call_up(self) -> None:
        """Let as many threads work as are of use."""
        self._is_awaited = True
        while self._threads < self._useful:
            self._threads += 1
            # Daemons, so that a run that was stopped need not wait for their answers.
            threading.Thread(target=self._work, daemon=True).start()
        self._something_to_read.notify()

    def stop(self) -> None:
        """Let the threads end after the request that each is at."""
        with self._lock:
            self._is_stopped = True
            self._something_to_read.notify_all()

    def _work(self) -> None:
        while True:
            with self._lock:
                while self._is_stopped or (segment := self._take()) is None:
                    if self._is_stopped:
                        return
                    self._something_to_read.wait()
            outcome = self._read(segment)
            with self._lock:
                self._schedule.give_back(segment, outcome)
                self._something_read.notify()
                self._something_to_read.notify()

    def _take(self) -> Segment | None:
        """Return what to read next. One alone does not read ahead: taking turns is faster."""
        if self._useful == 1 and not self._is_awaited:
            return None
        segment = self._schedule.take(self._useful)
        self._is_awaited = self._is_awaited and segment is None
        return segment

    def _read(self, segment: Segment) -> Step | Exception:
        try:
            return _step(self._fetch, segment.position)
        except Exception as error:  # noqa: BLE001  (raised again where it is its turn)
            return error


def _step(fetch: Fetch, millisecond: int) -> Step:
    """Read one page from a millisecond on, or a tie that is wider than a page."""
    page = fetch(Query(Cursor.at(millisecond)))
    if page.entries and to_milliseconds(page.entries[0].created) < millisecond - 1:
        raise CursorIgnoredError
    border = from_milliseconds(millisecond)
    entries = [entry for entry in page.entries if entry.created >= border]
    chunk = Chunk(entries, page.server_time, page.null_rows)
    if not page.more_newer:
        return Step(chunk, position=None)
    last = to_milliseconds(entries[-1].created) if entries else millisecond
    if page.null_rows and page.newer:
        # Where the newest rows are null, only the server knows how far the page goes.
        last = max(last, page.newer.milliseconds)
    if last > millisecond:
        return Step(chunk.before(last), last)
    tie = read_tie(fetch, millisecond, page)
    tied = replace(chunk, entries=tie.entries, null_rows=tie.null_rows, problem=tie.problem)
    return Step(tied, millisecond + 1)


def _check(fetch: Fetch, start: int, step: Step) -> None:
    """Make sure that a server which says that there is no more really read from the start.

    One that ignores our cursors answers its newest page, with nothing newer behind it.
    """
    rows = len(step.chunk.entries) + step.chunk.null_rows
    if step.position is None and rows >= PAGE_SIZE:
        before = max(1, start - 1)
        older = fetch(Query(Cursor(before, towards_newer=False)))
        newest = older.entries[-1:]
        if older.null_rows if not newest else to_milliseconds(newest[0].created) > before:
            raise CursorIgnoredError
