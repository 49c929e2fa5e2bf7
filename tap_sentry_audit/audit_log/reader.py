"""Reads a time range of an organization's audit log, oldest first, nothing lost.

Sentry answers newest first and orders the entries of one microsecond anew for each request, so
its own pagination loses some of them where a page ends between them. Here the log is read
forward in time, and a page begins at the whole millisecond in which the one before ended: a
millisecond is delivered only once all of it was in one answer, or read by itself (`ties`).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tap_sentry_audit.api.cursors import Cursor
from tap_sentry_audit.api.timestamps import milliseconds, moment
from tap_sentry_audit.audit_log.pages import PAGE_SIZE, Query
from tap_sentry_audit.audit_log.segments import Schedule
from tap_sentry_audit.audit_log.ties import read_tie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tap_sentry_audit.audit_log.pages import Entry, Page
    from tap_sentry_audit.audit_log.segments import Segment

    Fetch = Callable[[Query], Page]
    Width = Callable[[float], int]

TICK = 1.0
"""Seconds after which an empty stretch tells that nothing new has come."""


class CursorIgnored(Exception):  # noqa: N818  (what the server did)
    """The server's rows do not answer what a cursor of ours asked for."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Entries that follow each other without a gap, oldest first.

    `server_time` is the server's clock when they were read, `null_rows` the rows that the
    server could not show, `problem` why the entries of a wide tie may not be all.
    """

    entries: list[Entry]
    server_time: datetime
    null_rows: int = 0
    problem: str | None = None

    def before(self, end: int | None) -> Stretch:
        """Return what lies before a time in milliseconds."""
        if end is None:
            return self
        border = moment(end)
        return replace(self, entries=[e for e in self.entries if e.created < border])

    def between(self, start: int, end: int | None) -> Stretch:
        """Return what lies from one time in milliseconds on and before another."""
        border = moment(start)
        entries = [entry for entry in self.before(end).entries if entry.created >= border]
        return replace(self, entries=entries, null_rows=0)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step has read, and where the next one starts.

    `position` is in milliseconds, or nothing behind the newest entry of all.
    """

    stretch: Stretch
    position: int | None


def read_range(
    fetch: Fetch,
    start: datetime | None,
    end: datetime | None,
    width: Width = lambda _: 1,
) -> Iterator[Stretch]:
    """Yield the entries from `start` on and before `end`; without them, all from the first on.

    `width` says how many requests at once are of use to one who takes so many seconds for a
    page; what lies ahead is bounded, and comes in order. An empty stretch comes about once a
    second while nothing else does. `fetch` may be called by several threads; what it raises
    passes through, after all that comes before.

    Raises:
        CursorIgnored: The server does not read from where it is asked to.

    """
    first = max(0, milliseconds(start)) if start else 0
    last = None if end is None else milliseconds(end) + 1
    for stretch in _stretches(fetch, first, last, width):
        yield replace(
            stretch,
            entries=[
                entry
                for entry in stretch.entries
                if (start is None or entry.created >= start)
                and (end is None or entry.created < end)
            ],
        )


def _stretches(fetch: Fetch, first: int, last: int | None, width: Width) -> Iterator[Stretch]:
    """Read the first page by itself: where that is all, no thread is needed."""
    step = _step(fetch, first)
    _check(fetch, first, step)
    crew = _Crew(fetch, Schedule(first, last, step), width)
    try:
        yield from crew.stretches()
    finally:
        crew.stop()


class _Crew:
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

    def stretches(self) -> Iterator[Stretch]:
        """Yield what was read, in order.

        Raises:
            Exception: What reading the next segment in order raised.

        """
        while True:
            with self._lock:
                self._useful = self._width(self._handling)
                stretch = self._schedule.deliver()
                if stretch is None:
                    if self._schedule.is_done:
                        return
                    self._schedule.raise_error()
                    self._call_up()
                    if not self._something_read.wait(TICK):
                        stretch = Stretch([], datetime.now(UTC))
                elif self._useful > 1:
                    self._something_to_read.notify()
            if stretch is not None:
                yield from self._hand_out(stretch)

    def _hand_out(self, stretch: Stretch) -> Iterator[Stretch]:
        began = time.monotonic()
        yield stretch
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
    if page.entries and milliseconds(page.entries[0].created) < millisecond - 1:
        raise CursorIgnored
    border = moment(millisecond)
    entries = [entry for entry in page.entries if entry.created >= border]
    stretch = Stretch(entries, page.server_time, page.null_rows)
    if not page.more_newer:
        return Step(stretch, position=None)
    last = milliseconds(entries[-1].created) if entries else millisecond
    if page.null_rows and page.newer:
        # Where the newest rows are null, only the server knows how far the page goes.
        last = max(last, page.newer.milliseconds)
    if last > millisecond:
        return Step(stretch.before(last), last)
    tie = read_tie(fetch, millisecond, page)
    tied = replace(stretch, entries=tie.entries, null_rows=tie.null_rows, problem=tie.problem)
    return Step(tied, millisecond + 1)


def _check(fetch: Fetch, start: int, step: Step) -> None:
    """Make sure that a server which says that there is no more really read from the start.

    One that ignores our cursors answers its newest page, with nothing newer behind it.
    """
    rows = len(step.stretch.entries) + step.stretch.null_rows
    if step.position is None and rows >= PAGE_SIZE:
        before = max(1, start - 1)
        older = fetch(Query(Cursor(before, towards_newer=False)))
        newest = older.entries[-1:]
        if older.null_rows if not newest else milliseconds(newest[0].created) > before:
            raise CursorIgnored
