"""Reads a time range of an organization's audit log, oldest first, nothing lost.

Sentry answers newest first and orders the entries of one microsecond anew for each request, so
its own pagination loses some of them where a page ends between them. Here the log is read
forward in time, and a page begins at the whole millisecond in which the one before ended: a
millisecond is delivered only once all of it was in one answer, or read by itself (`ties`).
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from tap_sentry_audit.cursors import Cursor
from tap_sentry_audit.pages import Query, milliseconds
from tap_sentry_audit.ties import Tie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from tap_sentry_audit.pages import Entry, Page

    Fetch = Callable[[Query], Page]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Entries that follow each other without a gap, oldest first.

    `server_time` is the server's clock when they were read, `null_rows` the rows that the
    server could not show, `unproved` the entries of a wide tie that it counts but never showed.
    """

    entries: list[Entry]
    server_time: datetime
    null_rows: int = 0
    unproved: int = 0


def read(fetch: Fetch, start: datetime | None, end: datetime | None) -> Iterator[Stretch]:
    """Yield the entries from `start` on and before `end`; without them, all from the first on.

    What `fetch` raises passes through.
    """
    for stretch in _forward(fetch, max(0, milliseconds(start)) if start else 0):
        within = [
            entry
            for entry in stretch.entries
            if (start is None or entry.created >= start) and (end is None or entry.created < end)
        ]
        yield Stretch(within, stretch.server_time, stretch.null_rows, stretch.unproved)
        if end and stretch.entries and stretch.entries[-1].created >= end:
            return


def _forward(fetch: Fetch, millisecond: int) -> Iterator[Stretch]:
    """Yield whole milliseconds from `millisecond` on, to the newest entry of all."""
    query = Query(Cursor.at(millisecond))
    while True:
        page = fetch(query)
        entries = [entry for entry in page.entries if milliseconds(entry.created) >= millisecond]
        if not page.more_newer:
            yield Stretch(entries, page.server_time, page.null_rows)
            return
        if not entries:
            # All rows of the page are null: only the server knows where it ends.
            query = Query(page.newer.cursor if page.newer else None)
            yield Stretch([], page.server_time, page.null_rows)
            continue
        last = milliseconds(entries[-1].created)
        if last > millisecond:
            complete = [entry for entry in entries if milliseconds(entry.created) < last]
            yield Stretch(complete, page.server_time, page.null_rows)
            millisecond = last
        else:
            tie = Tie(fetch, millisecond, page)
            tie.read()
            entries = sorted(tie.found.values(), key=attrgetter("created", "id"))
            unproved = tie.count - len(entries)
            yield Stretch(entries, page.server_time, page.null_rows, unproved)
            millisecond += 1
        query = Query(Cursor.at(millisecond))
