"""Reads a search that is newest first in slices of time, oldest slice first.

A slice is read whole before any of it is delivered, so a run that breaks off goes on with the
slice at which it stopped. One with more rows than the server cares to count is cut in two.
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
"""How far outside of what was asked for a row may lie: it is seen again, its index lags."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The pages of a part of the range; `end` is in whole seconds, exclusive."""

    pages: list[ListPage]
    end: datetime


def read_slices(
    search: Search, start: datetime, end: datetime, time_of: Callable[[Row], datetime]
) -> Iterator[Slice]:
    """Yield the slices from `start` on and before `end`, in whole seconds.

    `search` asks for a page of a slice at a cursor; what it raises passes through. `time_of`
    tells what a row is searched by.

    Raises:
        SentryError: The server does not search for what it is asked.

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
            message = "the server answers other issues than it is asked for: it ignores the search"
            raise SentryError(message)
        if _is_too_much(first) and end - start > _SECOND:
            seconds = (end - start) // _SECOND
            middle = start + (seconds + 1) // 2 * _SECOND
            pending += [(middle, end), (start, middle)]
            continue
        yield Slice([first, *_rest(first, fetch)], end)


def _is_too_much(page: ListPage) -> bool:
    return None not in {page.hits, page.most_hits} and (page.hits or 0) >= (page.most_hits or 0)


def _rest(first: ListPage, fetch: Callable[[str | None], ListPage]) -> Iterator[ListPage]:
    if first.older is not None:
        yield from pages(fetch, first.older)


def whole_second(time: datetime) -> datetime:
    """Return the second in which a time lies."""
    return EPOCH + (time - EPOCH) // _SECOND * _SECOND


def search_text(time: datetime, *, rounded_up: bool = False) -> str:
    """Return a time as Sentry's searches take it: UTC, in whole seconds."""
    second = whole_second(time)
    if rounded_up and second < time:
        second += _SECOND
    return f"{second:%Y-%m-%dT%H:%M:%S}"
