"""Reads a newest-first search in slices of time, oldest slice first.

Each slice is read completely before it is delivered, so an interrupted run resumes at the slice
where it stopped. A slice with more rows than the server counts is split in two.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.api.pagination import ListPage, pages
from tap_sentry_audit.api.timestamps import EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tap_sentry_audit.api.pagination import Row

    Search = Callable[[datetime, datetime, str | None], ListPage]

_SECOND = timedelta(seconds=1)
_DOUBT = timedelta(days=1)
"""How far outside the searched range a row may lie: issues recur, and the index lags."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The pages of one part of the range; `end` is exclusive, in whole seconds."""

    pages: list[ListPage]
    end: datetime


def read_slices(
    search: Search, start: datetime, end: datetime, time_of: Callable[[Row], datetime]
) -> Iterator[Slice]:
    """Yield the slices of the range from `start` to before `end`, both in whole seconds.

    `search` fetches a page of a slice at a cursor; its errors pass through. `time_of` returns the
    time by which a row is searched.

    Raises:
        SentryError: The server ignores the search.

    """
    pending = [(start, end)] if start < end else []
    while pending:
        start, end = pending.pop()
        fetch = partial(search, start, end)
        first = fetch(None)
        times = [time_of(row) for row in first.rows]
        if any(time < start - _DOUBT for time in times) or (
            len(times) > 1 and all(time > end + _DOUBT for time in times)
        ):
            message = "the server returns issues that it was not asked for: it ignores the search"
            raise SentryError(message)
        hits, most_hits = first.hits, first.most_hits
        is_counted = hits is None or most_hits is None or hits < most_hits
        if not is_counted and end - start > _SECOND:
            seconds = (end - start) // _SECOND
            middle = start + (seconds + 1) // 2 * _SECOND
            pending += [(middle, end), (start, middle)]
            continue
        rest = pages(fetch, first.older) if first.older is not None else ()
        yield Slice([first, *rest], end)


def whole_second(time: datetime) -> datetime:
    """Return a time rounded down to its second."""
    return EPOCH + (time - EPOCH) // _SECOND * _SECOND


def search_text(time: datetime, *, rounded_up: bool = False) -> str:
    """Return a time in the form of Sentry's searches: UTC, in whole seconds."""
    second = whole_second(time)
    if rounded_up and second < time:
        second += _SECOND
    return f"{second:%Y-%m-%dT%H:%M:%S}"
