"""Reads a time range of an organization's audit log, oldest first, without loss.

Sentry sends pages newest first and reorders entries of the same microsecond on each request, so
its own pagination loses some of them where a page ends between them. This reader goes forward in
time, and each page starts at the whole millisecond in which the one before ended: a millisecond
is delivered only once all of it was in one page, or was read by itself (`ties`).
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tap_sentry_audit.api.exceptions import BadRequestError
from tap_sentry_audit.api.pagination import PAGE_SIZE, Cursor
from tap_sentry_audit.api.timestamps import EPOCH, from_milliseconds, to_milliseconds
from tap_sentry_audit.audit_log.pages import Query
from tap_sentry_audit.audit_log.segments import Chunk, Schedule, Step
from tap_sentry_audit.audit_log.ties import read_tie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from tap_sentry_audit.audit_log.pages import Fetch, Page
    from tap_sentry_audit.audit_log.segments import Segment

    Width = Callable[[float], int]

TICK = 1.0
"""Seconds without entries after which an empty chunk is yielded."""


class CursorIgnoredError(Exception):
    """The server's rows do not match the cursor that we made."""


def read_range(
    fetch: Fetch, start: datetime | None, end: datetime | None, width: Width = lambda _: 1
) -> Iterator[Chunk]:
    """Yield the entries from `start` to before `end`, in order; None is unlimited.

    `width` takes the seconds that the caller spends on a chunk, and returns how many concurrent
    requests are useful; the look-ahead is bounded. While no entries arrive, an empty chunk comes
    about once a second. Several threads may call `fetch`; its errors pass through after all
    entries that precede them.

    Raises:
        CursorIgnoredError: The server does not start where the cursor says.

    """
    first = _first_millisecond(start)
    last = None if end is None else to_milliseconds(end) + 1
    # If the first page is all there is, no thread is needed.
    page = fetch(Query(Cursor.at(first)))
    step = _read_step(fetch, first, page)
    _check_first_step(fetch, first, page, step)
    pool = _WorkerPool(fetch, Schedule(first, last, step), width)
    try:
        for chunk in pool.chunks():
            yield chunk.within(start, end)
    finally:
        pool.stop()


def fetch_first(fetch: Fetch, start: datetime | None) -> Fetch:
    """Fetch the page that `read_range` asks for first; return a `Fetch` that has it already."""
    query = Query(Cursor.at(_first_millisecond(start)))
    try:
        ready = {query: fetch(query)}
    except BadRequestError:
        # `fallback.read_log` takes care of it.
        return fetch

    def fetch_or_take(query: Query) -> Page:
        page = ready.pop(query, None)
        return page or fetch(query)

    return fetch_or_take


def _first_millisecond(start: datetime | None) -> int:
    return max(0, to_milliseconds(start)) if start else 0


class _WorkerPool:
    """Threads that read the segments of a schedule, as many as are useful."""

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
        """Yield the chunks in order, and raise a segment's error when its turn comes."""
        server_time = EPOCH
        while True:
            with self._lock:
                self._useful = self._width(self._handling)
                chunk = self._schedule.deliver()
                if chunk is None:
                    if self._schedule.is_done:
                        return
                    self._schedule.raise_error()
                    self._wake_threads()
                    if not self._something_read.wait(TICK):
                        chunk = Chunk([], server_time)
                else:
                    server_time = chunk.server_time
                    if self._useful > 1:
                        self._something_to_read.notify()
            if chunk is not None:
                began = time.monotonic()
                yield chunk
                took = time.monotonic() - began
                self._handling += (took - self._handling) / (8 if self._handling else 1)

    def _wake_threads(self) -> None:
        self._is_awaited = True
        while self._threads < self._useful:
            self._threads += 1
            # Daemons, so that a stopped run does not wait for their responses.
            threading.Thread(target=self._run, daemon=True).start()
        self._something_to_read.notify()

    def stop(self) -> None:
        """Let each thread end after its current request."""
        with self._lock:
            self._is_stopped = True
            self._something_to_read.notify_all()

    def _run(self) -> None:
        while True:
            with self._lock:
                while self._is_stopped or (segment := self._take()) is None:
                    if self._is_stopped:
                        return
                    self._something_to_read.wait()
            try:
                step: Step | Exception = _read_step(self._fetch, segment.position)
            except Exception as error:  # noqa: BLE001  (`Schedule.raise_error` raises it again)
                step = error
            with self._lock:
                self._schedule.give_back(segment, step)
                self._something_read.notify()
                self._something_to_read.notify()

    def _take(self) -> Segment | None:
        """Return what to read next. A single thread does not read ahead: taking turns is faster."""
        if self._useful == 1 and not self._is_awaited:
            return None
        segment = self._schedule.take(self._useful)
        self._is_awaited = self._is_awaited and segment is None
        return segment


def _read_step(fetch: Fetch, millisecond: int, page: Page | None = None) -> Step:
    """Read the page that starts at a millisecond, or a tie that is wider than a page."""
    page = page or fetch(Query(Cursor.at(millisecond)))
    if page.entries and to_milliseconds(page.entries[0].created) < millisecond - 1:
        # No cursor lies before 1970, but the first one shows what does.
        is_first = not millisecond
        if not is_first or (page.more_newer and to_milliseconds(page.entries[-1].created) <= 0):
            raise CursorIgnoredError
    if page.more_newer and not page.rows:
        raise CursorIgnoredError
    chunk = Chunk(page.entries, page.server_time, page.null_rows, len(page.odd_rows))
    chunk = chunk.within(from_milliseconds(millisecond) if millisecond else None, None)
    if not page.more_newer:
        return Step(chunk, position=None)
    last = to_milliseconds(chunk.entries[-1].created) if chunk.entries else millisecond
    if page.null_rows and page.newer:
        # If the newest rows are null, only the server knows how far the page goes.
        last = max(last, page.newer.milliseconds)
    if last > millisecond:
        return Step(chunk.before(last), last)
    tie = read_tie(fetch, millisecond, page)
    tied = replace(chunk, entries=tie.entries, null_rows=tie.null_rows, problem=tie.problem)
    return Step(tied, millisecond + 1)


def _check_first_step(fetch: Fetch, start: int, page: Page, step: Step) -> None:
    """Check that the server really read forward from the start.

    One that ignores our cursors, or their direction, sends its newest page, with nothing newer
    after it. Sentry 23.7.1 shows that it did not: the way back from a page leads to where we
    started, or to the newest entry. Where that cannot be seen, we ask.
    """
    entries = page.entries
    if page.newer is None and entries and step.position == to_milliseconds(entries[-1].created):
        again = fetch(Query(Cursor.at(step.position))).entries
        if all(to_milliseconds(entry.created) != step.position for entry in again):
            raise CursorIgnoredError
    if page.older and (step.position is not None or _is_way_back(page, start)):
        return
    first = max(1, start, to_milliseconds(entries[0].created) if entries else 0)
    older = fetch(Query(Cursor(max(1, first - 1), towards_newer=False)))
    newest = older.entries[-1:]
    # Nothing may lie between the start and the first entry.
    if older.null_rows if not newest else to_milliseconds(newest[0].created) >= max(2, start):
        raise CursorIgnoredError


def _is_way_back(page: Page, start: int) -> bool:
    """Whether a page's link to older rows shows that its cursor was followed."""
    if page.older is None or not page.older.has_results:
        return True
    if not page.entries or page.rows >= PAGE_SIZE:
        return page.rows < PAGE_SIZE
    newest = to_milliseconds(page.entries[-1].created)
    at = page.older.milliseconds
    return at >= newest or at == Cursor.at(start).milliseconds
