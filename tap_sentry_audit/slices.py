"""Reads a search that is newest first in slices of time, oldest slice first.

A slice is read whole before any of it is delivered, so a run that breaks off goes on with the
slice at which it stopped. One with more rows than the server cares to count is cut in two.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from tap_sentry_audit.lists import ListPage, pages
from tap_sentry_audit.times import EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Search = Callable[[datetime, datetime, str | None], ListPage]

_SECOND = timedelta(seconds=1)


def read_slices(search: Search, start: datetime, end: datetime) -> Iterator[list[ListPage]]:
    """Yield the pages of each slice, from `start` on and before `end`, in whole seconds.

    `search` asks for a page of a slice at a cursor. What it raises passes through.
    """
    pending = [(start, end)]
    while pending:
        start, end = pending.pop()
        fetch = partial(search, start, end)
        first = fetch(None)
        if _is_too_much(first) and end - start > _SECOND:
            seconds = (end - start) // _SECOND
            middle = start + (seconds + 1) // 2 * _SECOND
            pending += [(middle, end), (start, middle)]
            continue
        yield [first, *_rest(first, fetch)]


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
