"""Reads a range of days from an API that promises neither an order nor stable pages.

CaptivateIQ's audit-log API filters by day and pages by offset. Its published description tells
neither how entries are ordered, nor whether `end_date` is inclusive, nor in which zone a day
begins. What is here is right whichever way these fall:

- A span of days is read until as many different entries are found as the server counts in it, as
  often as that takes. Rows that move between pages meanwhile hide nothing.
- The next span begins with the day with which the last one ended. So no day is left out, and what
  both hold is handed on once. Each span is sorted: entries come oldest first from span to span.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, TypeAlias

from tap_captivateiq_audit.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from tap_captivateiq_audit.entries import Entry, Page

FIRST_DAY = date(1970, 1, 1)
"""Where a search for the first entry begins."""

MOST_PASSES = 40
"""How often a span is read before it is given up."""

_DAY = timedelta(days=1)
_JOINED_PASSES = 3
_LAST_DAYS = 3
_FEW, _MANY = 100, 1000
_WIDEST = 64
_in_order = attrgetter("created", "id")


@dataclass(frozen=True, slots=True)
class Span:
    """Days as the API is asked for them; None is an open end. `end` may be inclusive or not."""

    start: date | None
    end: date | None

    def __str__(self) -> str:
        """Return the days for a person."""
        return f"{self.start or 'the beginning'} to {self.end or 'now'}"


Fetch: TypeAlias = "Callable[[Span, int], Page]"
"""Asks for the entries of a span from an offset on."""


def read_range(fetch: Fetch, since: datetime, today: date) -> Iterator[list[Entry]]:
    """Yield the entries from a time on, oldest first, each once, in lists.

    `today` is the day it is in UTC; the last list holds what there is by now.

    Raises:
        ApiError: A span cannot be read whole.

    """
    # The westernmost zones are half a day behind UTC.
    start, width = min(since.date(), today) - _DAY, 1
    before: dict[str, Entry] = {}
    while (today - start).days > _LAST_DAYS:
        end = min(start + width * _DAY, today - _DAY)
        found = read_span(fetch, Span(start, end))
        yield _new(found, before, since)
        width = _next_width(width, len(found))
        start, before = end, found
    # No day of the future is asked for: who knows what the server says to that.
    yield _new(read_span(fetch, Span(start, None)), before, since)


def _new(found: dict[str, Entry], before: dict[str, Entry], since: datetime) -> list[Entry]:
    """Return what a span has that the span before it had not, for both may hold the day between."""
    new = [found[key] for key in found.keys() - before.keys()]
    return sorted((entry for entry in new if entry.created >= since), key=_in_order)


def first_day(fetch: Fetch, today: date) -> date:
    """Return a day before which there are no entries, and after which there soon are."""
    empty, filled = FIRST_DAY, today
    while (filled - empty).days > 1:
        middle = empty + (filled - empty) // 2
        if fetch(Span(FIRST_DAY, middle), 0).entries:
            filled = middle
        else:
            empty = middle
    return empty


def read_span(fetch: Fetch, span: Span) -> dict[str, Entry]:
    """Return all entries of a span, by id.

    Raises:
        ApiError: The server counts more entries than it shows.

    """
    found: dict[str, Entry] = {}
    counted: set[str] = set()
    total: int | None = None
    before: list[str] = []
    for number in range(MOST_PASSES):
        order: list[str] = []
        for page, last in _pages(fetch, span):
            ids = [entry.id for entry in page.entries]
            grown = (page.total or 0) - (total or 0) if order else 0
            # In front of the last entry there may be as many as came in, and no others.
            is_joined = last is None or ids[grown : grown + 1] == [last]
            # Otherwise some went away, and others may have slipped to a page already read: count
            # anew. A server without an order joins no pages; for it the count alone must do.
            if grown < 0 or (not is_joined and number < _JOINED_PASSES):
                counted.clear()
            total = page.total
            order += ids
            found |= {entry.id: entry for entry in page.entries}
            counted.update(ids)
            # What came in meanwhile may stand in front: then a page of a second pass is enough.
            if number and total is not None and len(counted) >= total:
                return found
        shown = list(dict.fromkeys(order))
        is_whole = shown == before if total is None else len(counted) >= total
        if is_whole:
            return found
        before = shown
    if total is None:
        message = f"the server shows other entries each time, from {span}, and does not count them"
    else:
        message = (
            f"the server counts {total} entries from {span} and shows {len(counted)} different "
            "ones: run again later, and tell us if it stays so"
        )
    raise ApiError(message)


def _pages(fetch: Fetch, span: Span) -> Iterator[tuple[Page, str | None]]:
    """Yield the pages of a span from the start to the end, each with the id it should begin with.

    That is the last of the page before: where it stands elsewhere, rows have moved. A page behind
    one of a single entry has none, for otherwise the offset would not get on.
    """
    offset, overlap = 0, 0
    last: str | None = None
    seen: set[str] = set()
    while True:
        page = fetch(span, offset - overlap)
        ids = [entry.id for entry in page.entries]
        yield page, last
        is_new = not seen.issuperset(ids)
        seen.update(ids)
        offset += len(ids) - overlap
        # Some servers tell of no next page, or always of one: what they count or show decides.
        is_over = not is_new and not (overlap and len(ids) == 1)
        if page.total is not None:
            is_over = offset >= page.total and not (page.has_next and is_new)
        if not ids or is_over:
            return
        overlap = 1 if len(ids) > 1 else 0
        last = ids[-1] if overlap else None


def _next_width(width: int, found: int) -> int:
    """Return how many days the next span may have: as many as about one page holds."""
    if found < _FEW:
        return min(width * 2, _WIDEST)
    return 1 if found > _MANY else width
