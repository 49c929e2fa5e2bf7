"""Reads a range of days from an API that promises neither an order nor stable pages.

CaptivateIQ's audit-log API filters by day and pages by offset. Its published description says
neither how entries are ordered, nor whether `end_date` is inclusive, nor in which zone a day
begins. This module is correct whatever the answers are:

- A chunk of days is read, several times if need be, until nothing in it can be missing
  (`tap_captivateiq_audit.days`). Rows that move between pages meanwhile are not lost.
- The next chunk starts with the day on which the last one ended. So no day is left out, and what
  both contain is passed on once. Each chunk is sorted: from chunk to chunk, the oldest come first.
"""

from __future__ import annotations

from datetime import date, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING

from tap_captivateiq_audit.days import read_days
from tap_captivateiq_audit.entries import Days

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from tap_captivateiq_audit.days import Fetch
    from tap_captivateiq_audit.entries import Entry
    from tap_captivateiq_audit.flaws import Flaws

_FIRST_DAY = date(1970, 1, 1)
"""Where a search for the first entry starts."""
_DAY = timedelta(days=1)
_LAST_DAYS = 3
_FEW, _MANY = 100, 1000
_WIDEST = 64
_in_order = attrgetter("created", "id")


def read_entries(fetch: Fetch, since: datetime, today: date, flaws: Flaws) -> Iterator[list[Entry]]:
    """Yield the entries from a time on, oldest first, each once, in lists.

    `today` is today's date in UTC; the last list has the entries up to now. `flaws` learns
    what is wrong, as in `read_days`. Raises ApiError if a chunk cannot be read
    completely.
    """
    # The westernmost zones are half a day behind UTC.
    start, width = min(since.date(), today) - _DAY, 1
    before: dict[str, Entry] = {}
    while (today - start).days > _LAST_DAYS:
        end = min(start + width * _DAY, today - _DAY)
        found = read_days(fetch, Days(start, end), flaws)
        yield _new(found, before, since)
        # About as many days as fit on a page.
        if len(found) < _FEW:
            width = min(width * 2, _WIDEST)
        elif len(found) > _MANY:
            width = 1
        start, before = end, found
    # The end stays open: nobody knows what the server answers to a day in the future.
    yield _new(read_days(fetch, Days(start, None), flaws), before, since)


def _new(found: dict[str, Entry], before: dict[str, Entry], since: datetime) -> list[Entry]:
    """Return what a chunk has and the one before it had not: both may have the day between them."""
    new = [found[key] for key in found.keys() - before.keys()]
    return sorted((entry for entry in new if entry.created >= since), key=_in_order)


def first_day(fetch: Fetch, today: date) -> date:
    """Return a day before which there are no entries, and soon after which there are."""
    empty, filled = _FIRST_DAY, today
    while (filled - empty).days > 1:
        middle = empty + (filled - empty) // 2
        if fetch(Days(_FIRST_DAY, middle), 0).rows:
            filled = middle
        else:
            empty = middle
    return empty
