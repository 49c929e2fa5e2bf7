"""An organization's audit log in memory."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from threading import Lock
from typing import Literal

import msgspec

from . import entries, paging
from .entries import Filter, Prototype, Row
from .paging import Cursor, Page, Stamp

FIRST_ID = 1_000_001
IDS = 100_000_000
"""For each organization of a server: it uses an id once."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """The time and tie-breaker of each entry, oldest first."""

    times: "array[int]" = field(default_factory=partial(array, "q"))
    serials: "array[int]" = field(default_factory=partial(array, "q"))

    def insert(self, at: int, serial: int) -> None:
        place = bisect_right(self.times, at)
        self.times.insert(place, at)
        self.serials.insert(place, serial)

    def select(self, shuffle: Random | None, cursor: Cursor, count: int) -> list[Stamp]:
        low, high = self._span(cursor, count)
        if low >= high:
            return []
        first = bisect_left(self.times, self.times[low])
        last = bisect_right(self.times, self.times[high - 1])
        found = list(zip(self.times[first:last], self.serials[first:last], strict=True))
        if shuffle:
            found.sort(key=lambda stamp: (stamp[0], shuffle.random()))
        found = found[low - first : high - first]
        return found if cursor.is_prev else found[::-1]

    def _span(self, cursor: Cursor, count: int) -> tuple[int, int]:
        if cursor.is_prev:
            start = bisect_left(self.times, cursor.edge) if cursor.value else 0
            low = start + cursor.offset
            return low, min(low + count, len(self.times))
        end = len(self.times)
        if cursor.value:
            end = bisect_right(self.times, cursor.edge)
        high = end - cursor.offset
        return max(high - count, 0), high


class Log:
    """Entries in order of time, safe to add to while it is being read.

    Generated entries are kept as time and number and rendered when asked for;
    entries given whole are kept as they are. Tied entries stay in the order they
    were added in, or with ties="shuffled" change it for every page, as PostgreSQL may.
    """

    def __init__(
        self,
        times: Iterable[int] = (),
        *,
        rows: Iterable[Row] = (),
        ties: Literal["stable", "shuffled"] = "stable",
        seed: int = 0,
        first_id: int = FIRST_ID,
    ) -> None:
        self._lock = Lock()
        self._first_id = first_id
        self._prototypes = entries.prototypes(seed)
        self._given: dict[int, tuple[Filter, str]] = {}
        self._stamps = Stamps()
        self._filtered: dict[Filter, Stamps] = {}
        self._shuffle = Random(seed) if ties == "shuffled" else None  # noqa: S311
        self.add(times)
        for row in rows:
            self.put(row)

    def __len__(self) -> int:
        return len(self._stamps.times)

    def add(self, times: Iterable[int]) -> list[str]:
        """Add generated entries, of the past or the future too, and tell their ids."""
        with self._lock:
            return [str(self._insert(at)) for at in times]

    def put(self, row: Row | None, at: int | None = None) -> None:
        """Add a whole entry, or None: a row that Sentry fails to serialize.

        It stands in the log at its dateCreated, or at another time given here.
        """
        made = row or {}
        if at is None:
            at = entries.micros(made["dateCreated"])
        text = msgspec.json.encode(row).decode()
        with self._lock:
            self._given[self._insert(at)] = entries.fits(made), text

    def rows(self) -> list[Row | None]:
        """Decode the whole log, oldest first: what a reader of it should get."""
        with self._lock:
            stamps = list(zip(self._stamps.times, self._stamps.serials, strict=True))
        decoded: list[Row | None] = msgspec.json.decode(self.render(stamps))
        return decoded

    def options(self) -> list[str]:
        with self._lock:
            given = {event for (event, _), _ in self._given.values()}
        return sorted({*entries.EVENTS, *filter(None, given)})

    def page(self, cursor: Cursor, per_page: int, asked: Filter = (None, None)) -> Page:
        with self._lock:
            stamps = self._matching(asked)
            return paging.turn(partial(stamps.select, self._shuffle), cursor, per_page)

    def render(self, stamps: Iterable[Stamp]) -> str:
        return f"[{','.join(map(self._render, stamps))}]"

    def _render(self, stamp: Stamp) -> str:
        at, serial = stamp
        if serial in self._given:
            return self._given[serial][1]
        text, when = self._prototype(serial).text, entries.date_created(at)
        return f'{{"id":"{serial}",{text},"dateCreated":"{when}"}}'

    def _prototype(self, serial: int) -> Prototype:
        # Mixed, so that neighbours do not always happen in the same order.
        return self._prototypes[(serial * 0x9E3779B1 >> 9) % len(self._prototypes)]

    def _insert(self, at: int) -> int:
        serial = self._first_id + len(self)
        self._stamps.insert(at, serial)
        self._filtered.clear()
        return serial

    def _matching(self, asked: Filter) -> Stamps:
        if asked == (None, None):
            return self._stamps
        if asked not in self._filtered:
            pairs = zip(self._stamps.times, self._stamps.serials, strict=True)
            found = [stamp for stamp in pairs if self._fits(asked, stamp[1])]
            self._filtered[asked] = Stamps(
                array("q", [at for at, _ in found]), array("q", [n for _, n in found])
            )
        return self._filtered[asked]

    def _fits(self, asked: Filter, serial: int) -> bool:
        given = self._given.get(serial)
        event, actor = given[0] if given else self._prototype(serial).fits
        return asked[0] in (None, event) and asked[1] in (None, actor)
