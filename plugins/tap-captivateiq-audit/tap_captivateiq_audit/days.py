"""Reads all entries of some days, though the API promises neither an order nor stable pages.

It walks over the rows by offset, from the first to the last, and repeats this until one of three
things shows that no row is missing that was there all the time:

- Of the rows that the server had at one moment, as many are known as there were. An entry that was
  seen both before and after that moment is one of them, whatever the order, and whatever came or
  went. A page that holds all rows shows this at once; otherwise it takes a second pass.
- A pass was orderly: the rows came by time, each page held the last entry of the one before, and
  the server's count never fell. So whatever came after that entry then still comes after it. And
  as many different rows were seen as the server counts.
- Two passes were orderly, the second one showed what the first did, and whatever else it showed is
  newer: the first pass went over as many rows.

The server's count is not needed, and not believed once it is lower than what the server shows, or
twice higher by the same number: walking over the rows counts them, too. No count at all could
reveal one gap: in an orderly pass, an entry changes places with another of the same second, and
between the same two requests one entry disappears and another one arrives, or a row without an id
moves.

Entries that arrive meanwhile make no pass longer than what was there before it: a pass is over when
the server's count says so twice, or when some pages show only newer entries.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from tap_captivateiq_audit.entries import Entry
from tap_captivateiq_audit.exceptions import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from tap_captivateiq_audit.entries import Days, OddRow, Page
    from tap_captivateiq_audit.flaws import Flaws

Fetch: TypeAlias = "Callable[[Days, int], Page]"
"""Fetches the rows of some days from an offset on."""
_Name: TypeAlias = "tuple[str, datetime | int | None, int]"
"""Identifies a row: its id and time, and how many like it its page has up to there. Without an id:
an empty text and the row's content."""
_Key: TypeAlias = "tuple[_Name | None, int]"
"""Identifies a row as long as rows are in order: its name and 0, or, without an id, the name of the
last row that has one, and the distance to it."""

_MOST_PASSES = 40
_MOST_REQUESTS, _MOST_ROUNDS = 500, 4
"""The most requests if there is more than one pass: a number, or a multiple of what the first pass
took. 500 are a third of an hour's budget on CaptivateIQ's Standard plan."""
_MOST_GROWTH, _FREE_GROWTH = 4, 1000
"""How far a pass goes: a multiple of what the server counted at its start, plus some rows, because
newer entries that come on top push the last ones further."""
_MOST_REPEATING, _FEW = 20, 10
"""How many consecutive pages may show only what the same pass has already shown, except for at most
this part of a page."""
_LATE_PAGES = 3
"""A pass is over after this many consecutive pages that hold only what arrived meanwhile."""
_ENOUGH_STEPS = 10
"""How many steps in time, all in one direction, rule out chance."""
_PARTING = 0.38
"""By which part of its first page each pass overlaps more than the pass before, modulo 1."""
_SMALL = 100
"""With fewer rows than this, we believe a server that calls a page the only one."""
_MOVING = "entries come and go or change places while they are read, or are never shown"
_LIMITED = "they end at a round number, which may be the most that it shows"
_FAST = "entries come in as fast as they are read"
_LEAST_LIMIT, _ROUND = 1000, 100
"""If the rows end at a round number from here on, the API may not show more."""


def read_days(fetch: Fetch, days: Days, flaws: Flaws) -> dict[str, Entry]:
    """Return all entries of some days, by id.

    `flaws` learns what is wrong with them, several times for the same ones.
    Raises ApiError if the server does not show all that it has in a sensible number of requests.
    """
    reading = _Reading(fetch, days, flaws)
    try:
        for number in range(_MOST_PASSES):
            if reading.make_pass(number):
                break
        else:
            raise reading.failure()
    except _SpentError:
        if not reading.has_shown_its_count:
            raise reading.failure() from None
        reading.warn()
    reading.report()
    return reading.found


class _SpentError(Exception):
    """The sensible number of requests is used up."""


@dataclass(slots=True)
class _Moment:
    """The moment of a request: `rows` is how many there were, `known` how many are known.

    `counted` is as many as there were if the server's count is true.
    """

    request: int
    rows: int
    counted: int
    known: int


@dataclass(slots=True)
class _Pass:
    """What a pass shows: rows and their times, and up to which offset."""

    is_orderly: bool = True
    is_blind: bool = False
    """Whether two pages could not be joined, because one had only rows without an id."""
    rows: dict[_Key, datetime | None] = field(default_factory=dict)
    end: int = 0
    total: int | None = None
    is_whole: bool = False
    """Whether `end` is all that there was at its last request."""

    def continues(self, before: _Pass) -> bool:
        """Whether this pass shows all of the one before, and nothing can be missing in that one.

        Whatever else this one shows may have been there, unseen, at the end of the one before.
        """
        if not (self.is_orderly and before.is_orderly and before.rows.keys() <= self.rows.keys()):
            return False
        new = [self.rows[key] for key in self.rows.keys() - before.rows.keys()]
        if self.is_blind or before.is_blind:
            is_same = not new and (self.end, self.total) == (before.end, before.total)
            return is_same and len(before.rows) >= before.end
        newest = max(filter(None, before.rows.values()))
        is_newer = all(created and created >= newest for created in new)
        return is_newer and len(before.rows) + len(new) >= before.end


class _Reading:
    """What is known of some days while they are read."""

    def __init__(self, fetch: Fetch, days: Days, flaws: Flaws) -> None:
        self.found: dict[str, Entry] = {}
        self._fetch, self._days, self._flaws = fetch, days, flaws
        self._doubled: set[str] = set()
        self._last_seen: dict[_Name, int] = {}
        self._moments: list[_Moment] = []
        self._pass, self._before = _Pass(), _Pass(is_orderly=False)
        self._requests = 0
        self._most_requests: int | None = None
        self._most_rows: int | None = None
        self._longest, self._joins, self._broken_joins = 0, 0, 0
        self._announces = False
        """Whether the server has announced a next page."""
        self._until: datetime | None = None
        """Entries after this time, by the server's clock, have arrived meanwhile."""
        self._total: int | None = None
        self._totals: set[int | None] = set()
        self._counts = True
        """Whether the server's count can be believed."""
        self._excess: tuple[int, int] | None = None
        """What the server counts and what it shows, if it always counts too much."""
        self._was_orderly = False
        self._steps = 0
        self._orderly: set[_Key] = set()
        """What was seen since the beginning of the orderly pass."""
        self._least_unseen: int | None = None

    def make_pass(self, number: int) -> bool:
        """Walk over all rows; return whether nothing is missing, as soon as that is known.

        `number` is how many passes were made before.
        """
        is_carried = self._was_orderly and self._counts
        if not is_carried:
            self._orderly.clear()
        self._pass, self._steps, seen = _Pass(), 0, len(self._orderly)
        for names in self._pages(number):
            if self._is_complete():
                return True
            if is_carried and self._was_orderly and self._has_caught_up(seen):
                return False
            seen, shown = len(self._orderly), len(names)
        this, before = self._pass, self._before
        this.is_orderly = this.is_orderly and abs(self._steps) >= _ENOUGH_STEPS
        self._was_orderly = this.is_orderly and not this.is_blind
        this.total = self._total
        if this.is_whole:
            rows = max(this.end, this.total or 0)
            self._moments.append(_Moment(self._requests, this.end, rows, shown))
        self._compare_count(before)
        if self._most_requests is None:
            self._most_requests = max(_MOST_REQUESTS, _MOST_ROUNDS * self._requests)
        self._before = this
        is_continued = (this.is_blind or not self._counts) and this.continues(before)
        return is_continued or self._is_complete()

    def _is_complete(self) -> bool:
        is_counted = self._counts and len(self._orderly) >= (self._total or 0)
        return (self._was_orderly and is_counted) or any(
            moment.known >= (moment.counted if self._counts else moment.rows)
            for moment in self._moments
        )

    def _has_caught_up(self, seen: int) -> bool:
        """Whether to start over, to see what came in on top since the pass started.

        That is so when this pass has shown what came since the one before, and reached what that
        one showed. `seen` is how many rows were seen before the last page.
        """
        unseen = (self._total or 0) - len(self._orderly)
        has_new = self._pass.rows.keys() - self._before.rows.keys()
        if len(self._orderly) > seen or not has_new:
            return False
        is_less = self._least_unseen is None or unseen < self._least_unseen
        self._least_unseen = unseen
        return is_less

    def _compare_count(self, before: _Pass) -> None:
        """Stop believing a count that is too high by the same number in two passes.

        Raises ApiError if the API may not show more than so many.
        """
        this = self._pass
        excess, excess_before = ((one.total or 0) - one.end for one in (this, before))
        if self._counts and excess == excess_before > 0:
            if this.end >= _LEAST_LIMIT and this.end % _ROUND == 0:
                raise self.failure(_LIMITED, "the others")
            self._counts = False
            self._excess = ((this.total or 0), this.end)

    def _pages(self, number: int) -> Iterator[set[_Name]]:
        """Fetch the pages of a pass; yield the names of what each shows.

        Each page starts with an entry of the one before. A pass ends with the page that has nothing
        more: some servers never announce a next page, or always do.
        """
        overlap, repeating, late = 0, 0, 0
        was_at_end = False
        last: _Name | None = None
        final: _Name | None = None
        key: _Key = (None, -1)
        passed: set[_Name] = set()
        while True:
            offset = self._pass.end
            start = offset - overlap
            page = self._request(start)
            names = _names(page)
            keys = _keys(page, names, key)
            self._take(page, names, keys, start, last or final)
            self._note(names)
            self._pass.end = end = start + len(keys)
            self._longest = max(self._longest, len(names))
            self._announces |= page.has_next
            late = late + 1 if start > 0 and self._is_late(page, names, final) else 0
            known = len(passed)
            passed.update(names)
            repeating = repeating + 1 if len(passed) - known <= self._longest // _FEW else 0
            is_only = start == 0 and len(keys) < _SMALL and not page.has_next
            is_at_end = self._counts and end >= (page.total or 0)
            self._pass.is_whole = not keys or (
                is_at_end and (is_only or end <= offset or was_at_end)
            )
            yield set(names)
            if self._pass.is_whole or late >= _LATE_PAGES:
                return
            self._check_progress(start, end, repeating)
            was_at_end = is_at_end
            # Each pass cuts the pages elsewhere: a server may order entries of one second depending
            # on the requested page, and never show some of them at the same offsets.
            part = number * _PARTING % 1 if start == 0 else 0
            wanted = max(1, int(len(keys) * part))
            overlap = _overlap(names, wanted) if end > offset else 0
            first = len(keys) - overlap
            last = names[first] if overlap else None
            key = keys[first - 1] if first else (None, start - 1)
            final = names[-1] if _has_place(names[-1]) else None

    def _request(self, start: int) -> Page:
        if self._most_requests is not None and self._requests >= self._most_requests:
            raise _SpentError
        self._requests += 1
        return self._fetch(self._days, start)

    def _take(
        self, page: Page, names: list[_Name], keys: list[_Key], start: int, joint: _Name | None
    ) -> None:
        """Take a page in; `joint` is a row that it should hold, if there is a known one."""
        rows = page.rows
        times = [row.created if isinstance(row, Entry) else None for row in rows]
        self._until = self._until or page.until
        end = start + len(keys)
        self._counts &= page.total is not None and (not keys or end <= page.total)
        has_shrunk = (page.total or 0) < (self._total or 0)
        self._total = page.total
        self._totals.add(page.total)
        if start == 0:
            self._most_rows = _MOST_GROWTH * (page.total or 0) + _FREE_GROWTH
        is_one_way = self._note_steps(page)
        is_joined = start == 0 or not keys or joint is None or _find(joint, names) is not None
        if has_shrunk or not is_one_way or not is_joined:
            self._pass.is_orderly = self._was_orderly = False
        if joint is None and keys and start > 0 and not self._is_new(rows):
            self._pass.is_blind, self._was_orderly = True, False
        self._joins += joint is not None and bool(keys)
        self._broken_joins += not is_joined
        self._orderly.update(keys)
        self._pass.rows |= zip(keys, times, strict=True)
        for row, name in zip(rows, names, strict=True):
            if isinstance(row, Entry):
                self._take_entry(row, name)
        odd: set[Hashable] = {
            row.id or (self._days, key)
            for row, key in zip(rows, keys, strict=True)
            if not isinstance(row, Entry)
        }
        self._flaws.odd_rows(self._days, start, odd)

    def _note_steps(self, page: Page) -> bool:
        """Note in which direction time runs on a page; return whether it is that of the pass."""
        times = [entry.created for entry in page.entries]
        steps = [(after > before) - (after < before) for before, after in pairwise(times)]
        is_one_way = not {-1, 1} <= {*steps} and sum(steps) * self._steps >= 0
        self._steps += sum(steps)
        return is_one_way

    def _take_entry(self, entry: Entry, name: _Name) -> None:
        other = self.found.get(entry.id)
        if other and (name[2] > 1 or other.created != entry.created) and other.row != entry.row:
            self._doubled.add(entry.id)
        if not other or entry.created >= other.created:
            self.found[entry.id] = entry

    def _note(self, names: list[_Name]) -> None:
        """Note what a page shows: what was known before a moment was there at the moment."""
        for name in names:
            if (seen := self._last_seen.get(name)) is not None:
                for moment in self._moments:
                    moment.known += seen < moment.request
            self._last_seen[name] = self._requests

    def _is_late(self, page: Page, names: list[_Name], final: _Name | None) -> bool:
        """Whether a page has nothing after the final row before it, or only what came meanwhile.

        A full page could have ended there by chance. What the server calls the last page is the
        last if it is short and the server did not call another one so.
        """
        size = len(names)
        place = _find(final, names) if final else None
        behind = page.rows if place is None else page.rows[place + 1 :]
        is_short = size < min(self._longest, page.asked)
        is_last = self._announces and not page.has_next and 2 * size <= self._longest
        # What is newer comes last if something else came before it.
        has_old = not all(map(self._is_newer, self._pass.rows.values()))
        return (has_old and self._is_new(behind)) or (is_short and (is_last or not behind))

    def _is_new(self, rows: list[Entry | OddRow]) -> bool:
        """Whether there are rows, and all have arrived since the days were first requested."""
        times = [row.created if isinstance(row, Entry) else None for row in rows]
        return bool(times) and all(map(self._is_newer, times))

    def _is_newer(self, created: datetime | None) -> bool:
        return bool(created and self._until and created > self._until)

    def _check_progress(self, start: int, end: int, repeating: int) -> None:
        """Raise ApiError if a pass does not come to its end."""
        if repeating > _MOST_REPEATING:
            raise self._repeated(start) if self._ignores_offset(start) else self.failure(_FAST)
        if self._counts and self._most_rows is not None and end > self._most_rows:
            raise self.failure(_FAST)

    def _ignores_offset(self, start: int) -> bool:
        """Whether the server shows the same rows at an offset and at none, twice."""
        for _ in range(2):
            top, there = (_names(self._fetch(self._days, offset)) for offset in (0, start))
            place = _find(top[0], there) if top else None
            if place is None or there[place:] != top[: len(there) - place]:
                return False
        return True

    @property
    def has_shown_its_count(self) -> bool:
        """Whether as many entries were shown as the server counted, always the same number."""
        return self._counts and self._totals == {len(self._last_seen)}

    def warn(self) -> None:
        """Warn of entries that were shown without any order."""
        self._flaws.changing_order(self._days, len(self._last_seen), self._longest)

    def report(self) -> None:
        """Report what is wrong with the entries found."""
        self._flaws.doubled_ids(self._days, self._doubled)
        if self._excess:
            self._flaws.miscount(self._days, *self._excess)

    def failure(self, why: str = _MOVING, cure: str = "a stable order") -> ApiError:
        """Return the error that the server never showed all rows."""
        if self._counts and self._total is not None:
            has = f"counts {self._total:,} entries from {self._days}"
        else:
            rows = max(self._pass.end, self._before.end)
            has = f"does not count the entries from {self._days}, lists {rows:,} of them"
        if why == _MOVING and self._broken_joins * 2 > self._joins > _ENOUGH_STEPS:
            why = f"the order changes from request to request, at most {self._longest:,} per page"
            cure = "a stable order or larger pages"
        message = (
            f"the server {has} but shows {len(self._last_seen):,} different ones in "
            f"{self._requests} requests: {why}. Run again later; if that does not help, ask "
            f"CaptivateIQ for {cure}, and tell us"
        )
        return ApiError(message)

    def _repeated(self, start: int) -> ApiError:
        message = (
            f"the server shows the same entries from {self._days} at any offset, up to {start:,}: "
            f"there may be others besides these {len(self._last_seen):,}. Ask CaptivateIQ why the "
            "parameter offset has no effect, and tell us"
        )
        return ApiError(message)


def _names(page: Page) -> list[_Name]:
    """Return what identifies the rows of a page, wherever they are.

    Rows without an id are known by their content; equal ones on two pages may be one that moved.
    """
    numbers: Counter[tuple[str, datetime | int | None]] = Counter()
    names: list[_Name] = []
    for row in page.rows:
        time_or_content = row.created if isinstance(row, Entry) else row.id is None and row.content
        kind = (row.id or "", time_or_content)
        numbers[kind] += 1
        names.append((*kind, numbers[kind]))
    return names


def _keys(page: Page, names: list[_Name], before: _Key) -> list[_Key]:
    """Return what identifies the rows of a page as long as they are in order.

    `before` identifies the row before the page.
    """
    keys: list[_Key] = []
    named, distance = before
    for row, name in zip(page.rows, names, strict=True):
        named, distance = (name, 0) if row.id is not None else (named, distance + 1)
        keys.append((named, distance))
    return keys


def _find(name: _Name, names: list[_Name]) -> int | None:
    """Return where a row of another page is on this one, or None: its number may be another."""
    for index, other in enumerate(names):
        if other[:2] == name[:2]:
            return index
    return None


def _has_place(name: _Name) -> bool:
    """Return whether a row has a place among the others: without a time it can be anywhere."""
    return isinstance(name[1], datetime)


def _overlap(names: list[_Name], wanted: int) -> int:
    """Return how many rows the next page should repeat.

    They start with a row that has an id and a time, and are at least as many as wanted. Otherwise
    there are none: if the whole page were repeated, the offset could not advance.
    """
    for index in range(len(names) - wanted, 0, -1):
        if _has_place(names[index]):
            return len(names) - index
    return 0
