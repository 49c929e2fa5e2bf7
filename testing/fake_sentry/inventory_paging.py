"""Which rows the other endpoints show for a cursor: three more ways to count pages."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from .paging import Cursor

MAX_LIMIT = 100

Way = tuple[Cursor, bool]
"""A cursor, and whether results are behind it."""


class BadOffsetError(Exception):
    """Where Sentry explains itself with a 400, not with a 500."""


@dataclass(frozen=True, slots=True)
class Part:
    shown: range
    previous: Way
    next: Way
    counted: bool = True
    """Whether Sentry tells the number of hits."""


def by_number(cursor: Cursor, per_page: int, total: int) -> Part:
    """A cursor is the length of a page and the page's number."""
    page, start = cursor.offset, int(cursor.offset * cursor.value)
    if start < 0:
        message = "Pagination offset cannot be negative"
        raise BadOffsetError(message)
    if per_page < 0:
        raise IndexError
    found = range(total)[start : start + (int(cursor.value) or per_page) + 1]
    if cursor.value != per_page:
        found = found[-(per_page + 1) :]
    return Part(
        found[:per_page],
        (Cursor(per_page, page - 1, is_prev=True), page > 0),
        (Cursor(per_page, page + 1), len(found) > per_page),
    )


def by_offset(cursor: Cursor, per_page: int, total: int) -> Part:
    start = cursor.offset
    if start < 0 or per_page <= 0:
        raise IndexError
    stop = start + per_page
    return Part(
        range(total)[start:stop],
        (Cursor(0, max(0, start - per_page), is_prev=True), start > 0),
        (Cursor(0, stop), total > stop),
    )


def by_score(cursor: Cursor | None, limit: int, scores: Sequence[int]) -> Part:
    """A cursor is a score and a number of rows behind it; scores fall.

    Sentry first takes the rows on the cursor's side of its score. Having a cursor, it
    takes the existence of the page that the cursor came from for granted.
    """
    at = cursor or Cursor()
    if at.offset < 0:
        raise IndexError
    rising = [-score for score in scores]
    first = bisect_left(rising, -at.value) if cursor and not at.is_prev else 0
    last = bisect_right(rising, -at.value) if at.is_prev else len(rising)
    if first == last:
        back = (Cursor(is_prev=True), bool(cursor) and not at.is_prev)
        return Part(range(0), back, (Cursor(), False), counted=False)
    limit = min(limit, MAX_LIMIT)
    if at.is_prev:
        start = bisect_left(rising, -at.value) if at.value else last
        high = min(start + at.offset, last)
        low = max(high - limit, 0)
    else:
        low = min(first + at.offset, last)
        high = min(low + limit, last)
    has_previous = low > first or bool(cursor and (not at.is_prev or high > low))
    return Part(
        range(low, high),
        (_edge(scores, rising, (first, low, last), is_prev=True), has_previous),
        (_edge(scores, rising, (first, high, last), is_prev=False), high < last or at.is_prev),
    )


def _edge(
    scores: Sequence[int], rising: list[int], places: tuple[int, int, int], *, is_prev: bool
) -> Cursor:
    first, place, last = places
    score = scores[min(place, last - 1)]
    return Cursor(score, place - bisect_left(rising, -score, first, place), is_prev)
