"""Reads a range of days from an API that promises neither an order nor stable pages.

CaptivateIQ's audit-log API filters by day and pages by offset. Its published description says
neither how entries are ordered, nor whether `end_date` is inclusive, nor in which zone a day
begins. This module is correct whatever the answers are:

- A chunk of days is read, several times if need be, until as many different entries are found as
  the server counts in it. Rows that move between pages meanwhile are not lost.
- The next chunk begins with the day on which the last one ended. So no day is left out, and what
  both contain is passed on once. Each chunk is sorted: from chunk to chunk, the oldest come first.
"""

from __future__ import annotations

from datetime import date, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, TypeAlias

from tap_captivateiq_audit.entries import Days
from tap_captivateiq_audit.exceptions import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from tap_captivateiq_audit.entries import Entry, Page

_FIRST_DAY = date(1970, 1, 1)
"""Where a search for the first entry begins."""
_MOST_PASSES = 40
"""How often a chunk is read before the run gives up."""
_DAY = timedelta(days=1)
_JOINED_PASSES = 3
_LAST_DAYS = 3
_FEW, _MANY = 100, 1000
_WIDEST = 64
_in_order = attrgetter("created", "id")

Fetch: TypeAlias = "Callable[[Days, int], Page]"
"""Fetches the entries of a chunk of days from an offset on."""


def read_entries(fetch: Fetch, since: datetime, today: date) -> Iterator[list[Entry]]:
    """Yield the entries from a time on, oldest first, each once, in lists.

    `today` is today's date in UTC; the last list has the entries up to now. Raises ApiError if a
    chunk cannot be read completely.
    """
    # The westernmost zones are half a day behind UTC.
    start, width = min(since.date(), today) - _DAY, 1
    before: dict[str, Entry] = {}
    while (today - start).days > _LAST_DAYS:
        end = min(start + width * _DAY, today - _DAY)
        found = read_days(fetch, Days(start, end))
        yield _new(found, before, since)
        # About as many days as fit on a page.
        if len(found) < _FEW:
            width = min(width * 2, _WIDEST)
        elif len(found) > _MANY:
            width = 1
        start, before = end, found
    # The end stays open: nobody knows what the server answers to a day in the future.
    yield _new(read_days(fetch, Days(start, None)), before, since)


def _new(found: dict[str, Entry], before: dict[str, Entry], since: datetime) -> list[Entry]:
    """Return what a chunk has and the one before it had not: both may have the day between them."""
    new = [found[key] for key in found.keys() - before.keys()]
    return sorted((entry for entry in new if entry.created >= since), key=_in_order)


def first_day(fetch: Fetch, today: date) -> date:
    """Return a day before which there are no entries, and soon after which there are."""
    empty, filled = _FIRST_DAY, today
    while (filled - empty).days > 1:
        middle = empty + (filled - empty) // 2
        if fetch(Days(_FIRST_DAY, middle), 0).entries:
            filled = middle
        else:
            empty = middle
    return empty


def read_days(fetch: Fetch, days: Days) -> dict[str, Entry]:
    """Return all entries of a chunk of days, by id.

    Raises ApiError if the server counts more entries than it shows, or shows others each time.
    """
    found: dict[str, Entry] = {}
    counted: set[str] = set()
    total: int | None = None
    before: list[str] = []
    for number in range(_MOST_PASSES):
        order: list[str] = []
        for page, last in _pages(fetch, days):
            ids = [entry.id for entry in page.entries]
            grown = (page.total or 0) - (total or 0) if order else 0
            # Only new entries may have come before the last one of the previous page.
            is_joined = last is None or ids[grown : grown + 1] == [last]
            # Otherwise rows are gone, and others may have moved to a page already read: count
            # again. Without an order pages never join, and only the count can tell.
            if grown < 0 or (not is_joined and number < _JOINED_PASSES):
                counted.clear()
            total = page.total
            order += ids
            found |= {entry.id: entry for entry in page.entries}
            counted.update(ids)
            # New entries may come first: then one page of a second pass is enough.
            if number and total is not None and len(counted) >= total:
                return found
        shown = list(dict.fromkeys(order))
        is_whole = shown == before if total is None else len(counted) >= total
        if is_whole:
            return found
        before = shown
    if total is None:
        message = f"the server shows other entries each time, from {days}, and does not count them"
    else:
        message = (
            f"the server counts {total} entries from {days} and shows {len(counted)} different "
            "ones: run again later, and tell us if it stays so"
        )
    raise ApiError(message)


def _pages(fetch: Fetch, days: Days) -> Iterator[tuple[Page, str | None]]:
    """Yield the pages of a chunk of days, each with the id that it should begin with.

    That id is the last one of the page before; if it is elsewhere, rows have moved. The page after
    a page of one entry has no such id: to overlap there, the offset could not advance.
    """
    offset, overlap = 0, 0
    last: str | None = None
    seen: set[str] = set()
    while True:
        page = fetch(days, offset - overlap)
        ids = [entry.id for entry in page.entries]
        yield page, last
        is_new = not seen.issuperset(ids)
        seen.update(ids)
        offset += len(ids) - overlap
        # Some servers never announce a next page, or always do: the count or the rows decide.
        is_over = not is_new and not (overlap and len(ids) == 1)
        if page.total is not None:
            is_over = offset >= page.total and not (page.has_next and is_new)
        if not ids or is_over:
            return
        overlap, last = (1, ids[-1]) if len(ids) > 1 else (0, None)
