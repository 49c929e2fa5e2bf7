"""Reads the entries of some days whole, though the API promises neither an order nor stable pages.

The rows are passed by offset, from the first to the last, and this is repeated until one of two
things shows that nothing is missing which was there all the while:

- Of the rows that the server had at a moment, as many are known as there were. An entry that was
  seen both before and after the moment is one of them, whatever the order, and whatever came or
  went. A page that holds all rows shows it at once; otherwise it takes a second pass.
- A pass was orderly: the rows came by time, each page held the last entry of the one before, and
  the server's count never fell. What was behind that entry came behind it. Besides, as many
  different rows were seen as the server counts; or, if it does not, as this pass and the one before
  it passed.

The server's count is not needed, and not believed once it is less than what the server shows: the
rows can be counted by passing them. No count at all could show that an entry is missing which, in
an orderly pass, changed places with one of the same second, while between the same two requests one
entry went away and another came, or a row without an id moved.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from tap_captivateiq_audit.entries import Entry
from tap_captivateiq_audit.exceptions import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from tap_captivateiq_audit.entries import Days, Page

Fetch: TypeAlias = "Callable[[Days, int], Page]"
"""Fetches the rows of some days from an offset on."""
OnOdd: TypeAlias = "Callable[[Days, int, set[Hashable]], None]"
"""Is told the days and the offset of a page, and its rows that are no entries, by what they are
known by: their id, or else where they are."""
_Key: TypeAlias = "tuple[str, int]"
"""What a row is known by: its id and 0. Without an id, it is a text and a number from 1 on."""

_MOST_PASSES = 40
_MOST_REQUESTS, _MOST_ROUNDS = 500, 4
"""With more than one pass, there are at most so many requests, or as many as so many first passes
took: 500 are a third of an hour's budget on CaptivateIQ's Standard plan."""
_MOST_REPEATING = 20
"""How many pages in a row may show nothing but what the same pass has shown."""
_ENOUGH_STEPS = 10
"""How many steps in time, all in one direction, are no chance."""
_PARTING = 0.38
"""What part of its first page each pass repeats more than the pass before, modulo 1."""
_SMALL = 100
"""With fewer rows, a page that the server calls the only one is believed to be."""


def read_days(fetch: Fetch, days: Days, on_odd: OnOdd) -> dict[str, Entry]:
    """Return all entries of some days, by id.

    `on_odd` is called for each page with rows that are no entries, several times for the same ones.
    Raises ApiError if the server does not show all that it has in a sensible number of requests.
    """
    reading = _Reading(fetch, days, on_odd)
    for number in range(_MOST_PASSES):
        if reading.make_pass(number):
            return reading.found
    raise reading.failure()


@dataclass(slots=True)
class _Moment:
    """The moment of a request: `rows` is how many there were, `known` how many are known."""

    request: int
    rows: int
    known: int


class _Reading:
    """What is known of some days while they are read."""

    def __init__(self, fetch: Fetch, days: Days, on_odd: OnOdd) -> None:
        self.found: dict[str, Entry] = {}
        self._fetch, self._days, self._on_odd = fetch, days, on_odd
        self._last_seen: dict[_Key, int] = {}
        self._moments: list[_Moment] = []
        self._requests = 0
        self._most_requests: int | None = None
        self._total: int | None = None
        self._counts = True
        """Whether the server's count can be believed."""
        self._is_orderly, self._was_orderly = True, False
        self._steps = 0
        self._orderly: set[_Key] = set()
        """What was seen since the beginning of the orderly pass."""

    def make_pass(self, number: int) -> bool:
        """Pass all rows; return whether nothing is missing, as soon as that is known.

        `number` is how many passes were made before.
        """
        was_orderly = self._was_orderly
        if not (was_orderly and self._counts):
            self._orderly.clear()
        self._is_orderly, self._steps = True, 0
        end, shown = 0, 0
        for page_end, page_shown in self._pages(number):
            if self._is_complete():
                return True
            end, shown = page_end, page_shown
        self._was_orderly = self._is_orderly and abs(self._steps) >= _ENOUGH_STEPS
        rows = max(end, self._total or 0) if self._counts else end
        if was_orderly and self._was_orderly and not self._counts:
            # Nothing went away meanwhile, as far as two passes can show it.
            is_steady = rows == self._moments[-1].rows
            if is_steady and len(self._orderly) >= rows:
                return True
        self._moments.append(_Moment(self._requests, rows, shown))
        if self._most_requests is None:
            self._most_requests = max(_MOST_REQUESTS, _MOST_ROUNDS * self._requests)
        return self._is_complete()

    def _is_complete(self) -> bool:
        is_counted = self._counts and len(self._orderly) >= (self._total or 0)
        return (self._was_orderly and is_counted) or any(
            moment.known >= moment.rows for moment in self._moments
        )

    def _pages(self, number: int) -> Iterator[tuple[int, int]]:
        """Fetch the pages of a pass; yield the offset behind each, and how many rows it proves.

        Each page begins with an entry of the one before. A pass ends with the page that has nothing
        more: some servers never announce a next page, or always do.
        """
        offset, overlap, repeating = 0, 0, 0
        last: _Key | None = None
        passed: set[_Key] = set()
        while True:
            start = offset - overlap
            page = self._request(start)
            keys = _keys(page, start)
            names = _names(page)
            self._take(page, keys, start, last)
            self._note(names)
            has_moved = start + len(keys) > offset
            offset = start + len(keys)
            repeating = repeating + 1 if names <= passed else 0
            passed |= names
            yield offset, len(names)
            if repeating > _MOST_REPEATING:
                raise self._repeated(start)
            is_only = start == 0 and len(keys) < _SMALL and not page.has_next
            is_counted = self._counts and offset >= (page.total or 0)
            if not keys or (is_counted and (is_only or not has_moved)):
                return
            # Each pass parts the pages elsewhere: a server may order what is of the same second by
            # the page that is asked for, and never show some of it at the same offsets.
            part = number * _PARTING % 1 if start == 0 else 0
            wanted = max(1, int(len(keys) * part))
            overlap, last = _overlap(keys, wanted) if has_moved else (0, None)

    def _request(self, start: int) -> Page:
        if self._most_requests is not None and self._requests >= self._most_requests:
            raise self.failure()
        self._requests += 1
        return self._fetch(self._days, start)

    def _take(self, page: Page, keys: list[_Key], start: int, last: _Key | None) -> None:
        """Take a page in; `last` is the entry that it should hold, unless it is the first."""
        end = start + len(keys)
        self._counts &= page.total is not None and (not keys or end <= page.total)
        has_shrunk = (page.total or 0) < (self._total or 0)
        self._total = page.total
        times = [entry.created for entry in page.entries]
        steps = [(after > before) - (after < before) for before, after in pairwise(times)]
        is_one_way = not {-1, 1} <= {*steps} and sum(steps) * self._steps >= 0
        self._steps += sum(steps)
        is_joined = start == 0 or last in keys or not keys
        if has_shrunk or not is_one_way or not is_joined:
            self._is_orderly = self._was_orderly = False
        self._orderly.update(keys)
        self.found |= {entry.id: entry for entry in page.entries}
        odd: set[Hashable] = {
            row.id or (self._days, key)
            for row, key in zip(page.rows, keys, strict=True)
            if not isinstance(row, Entry)
        }
        if odd:
            self._on_odd(self._days, start, odd)

    def _note(self, names: set[_Key]) -> None:
        """Note what a page shows: what was known before a moment was there at the moment."""
        for name in names:
            if (seen := self._last_seen.get(name)) is not None:
                for moment in self._moments:
                    moment.known += seen < moment.request
            self._last_seen[name] = self._requests

    def failure(self) -> ApiError:
        """Return the error that the server never showed all rows."""
        if self._counts and self._total is not None:
            has = f"counts {self._total:,} entries from {self._days}"
        else:
            rows = self._moments[-1].rows
            has = f"does not count the entries from {self._days}, lists {rows:,}"
        message = (
            f"the server {has} and shows {len(self._last_seen):,} different ones, after "
            f"{len(self._moments)} passes with {self._requests} requests: entries come and go or "
            "change places while they are read, or are never shown. Run again later; if it stays "
            "so, ask CaptivateIQ for a stable order, and tell us"
        )
        return ApiError(message)

    def _repeated(self, start: int) -> ApiError:
        message = (
            f"the server shows the same entries from {self._days} at any offset, {start:,} was the "
            f"last: whether there are others than these {len(self._last_seen):,} nobody can "
            "know. Ask CaptivateIQ why the parameter offset has no effect, and tell us"
        )
        return ApiError(message)


def _names(page: Page) -> set[_Key]:
    """Return what the rows of a page are known by, wherever they are.

    Rows without an id are known by their content; equal ones on two pages may be one that moved.
    """
    numbers = Counter[int]()
    names: set[_Key] = set()
    for row in page.rows:
        if isinstance(row, Entry) or row.id is not None:
            names.add((str(row.id), 0))
        else:
            numbers[row.content] += 1
            names.add((f"{row.content}", numbers[row.content]))
    return names


def _keys(page: Page, start: int) -> list[_Key]:
    """Return what the rows of a page are known by as long as they are in order.

    Rows without an id are known by the row before them; `start` is the offset of the page.
    """
    keys: list[_Key] = []
    before, distance = "", start
    for row in page.rows:
        if row.id is not None:
            before, distance = row.id, 0
        keys.append((before, distance))
        distance += 1
    return keys


def _overlap(keys: list[_Key], wanted: int) -> tuple[int, _Key | None]:
    """Return how many rows the next page should repeat, and which of them is the first.

    They begin with a row that has an id, and are at least as many as wanted. Otherwise there are
    none of them: to repeat the whole page, the offset could not advance.
    """
    for index in range(len(keys) - wanted, 0, -1):
        before, distance = keys[index]
        if before and distance == 0:
            return len(keys) - index, keys[index]
    return 0, None
