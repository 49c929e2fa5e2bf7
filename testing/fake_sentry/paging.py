"""Sentry's cursors: which rows a cursor shows and which cursors lead on from there."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Stamp = tuple[int, int]
"""Where an entry stands in its log: microseconds since the epoch, tie-breaker."""


@dataclass(frozen=True, slots=True)
class Cursor:
    value: float = 0
    offset: int = 0
    is_prev: bool = False

    def __str__(self) -> str:
        return f"{self.value}:{self.offset}:{int(self.is_prev)}"

    @property
    def edge(self) -> int:
        """The value in microseconds; like Sentry, fail for years beyond 1 to 9999."""
        when = datetime.fromtimestamp(self.value / 1000, UTC)
        return (when - EPOCH) // MICROSECOND


@dataclass(frozen=True, slots=True)
class Page:
    stamps: list[Stamp]
    previous: Cursor
    has_previous: bool
    next: Cursor
    has_next: bool


Select = Callable[[Cursor, int], list[Stamp]]
"""The first so many stamps on a cursor's side of its value, walking away from it."""


def parse(text: str) -> Cursor:
    value, offset, is_prev = text.split(":")
    number = float(value) if "." in value else int(value)
    return Cursor(number, int(offset), bool(int(is_prev)))


def turn(select: Select, cursor: Cursor, per_page: int) -> Page:
    """Show the page of a cursor, with one row more behind it telling that more follow.

    A prev cursor takes yet another row, as one on its own edge is dropped. Where
    this raises, also by itself for per_page=0 in the prev direction, Sentry does.
    """
    on_edge = cursor.is_prev and bool(cursor.value)
    count = per_page + 1 + on_edge
    if cursor.offset < 0 or count < 0:
        raise IndexError
    found = select(cursor, count)
    if on_edge and found and _floor(found[0]) == cursor.value:
        del found[0]
    elif on_edge and not cursor.offset and len(found) == count:
        # Behind an offset Sentry leaves it in: that page is one row too long.
        del found[-1]
    more = len(found) > per_page
    if cursor.is_prev:
        found.reverse()
        shown = found[more:]
        return Page(shown, *_before(cursor, found, shown, per_page, more=more))
    return Page(found[:per_page], *_after(cursor, found, per_page, more=more))


def _before(
    cursor: Cursor, found: list[Stamp], shown: list[Stamp], per_page: int, *, more: bool
) -> tuple[Cursor, bool, Cursor, bool]:
    """Lead on from a page of a prev cursor: next is where we came from."""
    if not found:
        return Cursor(0, cursor.offset, is_prev=True), more, Cursor(cursor.value), True
    newest = _floor(shown[0])
    if newest == cursor.value:
        offset = cursor.offset + per_page
    else:
        offset = sum(_floor(stamp) == newest for stamp in shown) - 1
    previous = Cursor(newest, offset, is_prev=True)
    return previous, more, Cursor(cursor.value or _ceil(found[0])), True


def _after(
    cursor: Cursor, found: list[Stamp], per_page: int, *, more: bool
) -> tuple[Cursor, bool, Cursor, bool]:
    """Lead on from a page of a next cursor."""
    moved = bool(cursor.value or cursor.offset)
    if not found:
        return Cursor(is_prev=True), moved, cursor, False
    oldest = _ceil(found[-1])
    if oldest == (cursor.value or _ceil(found[0])):
        offset = cursor.offset + per_page
    else:
        offset = sum(_ceil(stamp) == oldest for stamp in found) - more
    previous = Cursor(_floor(found[0]), is_prev=True)
    return previous, moved, Cursor(oldest, offset), more


def _floor(stamp: Stamp) -> int:
    return stamp[0] // 1000


def _ceil(stamp: Stamp) -> int:
    return -(-stamp[0] // 1000)
