"""Reads a millisecond that holds more entries than a page: a bulk action, a migration.

No page shows all of it, and Sentry reorders tied entries on each request. Their number can be
counted all the same: a walk over offsets passes as many rows as there are, whatever their order.
Different queries then find the entries themselves: by event, by actor, from other offsets.

A tie can grow and shrink while it is read, so no single count proves anything. But if a walk
counts n rows, and the same n entries were seen both before and after that walk, then they are all
there was at its end. Each round looks for that, and for a count that equals the one before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from tap_sentry_audit.api.decoding import parse_integer
from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.api.pagination import Cursor
from tap_sentry_audit.api.timestamps import format_time, from_milliseconds, to_milliseconds
from tap_sentry_audit.audit_log.pages import Query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_sentry_audit.audit_log.pages import Entry, Fetch, Page

MAX_ROUNDS = 5
"""Rounds of counting and seeing everything again before a tie is reported as unproved."""

_MOST_REPEATS = 20
"""How often in a row a walk may meet the same page: shuffled rows can repeat by chance."""

_MORE_WALKS = 20
"""A walk over shuffled rows misses about one in three, so twenty miss one in a billion."""


@dataclass(frozen=True, slots=True)
class Tie:
    """The entries of one millisecond, oldest first, including those deleted while it was read.

    `null_rows` counts the rows around it that the server could not show. `problem` says why
    entries may be missing, with the time and the numbers; it is None for a proved tie.
    """

    entries: list[Entry]
    null_rows: int
    problem: str | None


def read_tie(fetch: Fetch, millisecond: int, first: Page) -> Tie:
    """Read all entries of a millisecond; `first` is the page that it fills.

    Errors of `fetch` pass through.
    """
    reading = _Reading(fetch, millisecond, first)
    while not reading.is_complete and len(reading.counts) < MAX_ROUNDS:
        reading.read_round()
    return Tie(
        entries=sorted(reading.found.values(), key=attrgetter("created", "id")),
        null_rows=reading.null_rows,
        problem=None if reading.is_complete else reading.problem,
    )


class _Kind(NamedTuple):
    """The fields that a query can filter by; in a query, None matches any value."""

    event: str | None
    actor: int | None

    def includes(self, other: _Kind) -> bool:
        return self.event in {None, other.event} and self.actor in {None, other.actor}


class _Reading:
    """What was seen of one millisecond: ever, since the last count, and what is known to be gone.

    With null rows a count means nothing, because a walk may pass one entry twice and another never:
    then a tie is complete when a round shows nothing new.
    """

    def __init__(self, fetch: Fetch, millisecond: int, first: Page) -> None:
        self.found: dict[str, Entry] = {}
        self.counts: list[int] = []
        self.null_rows = first.null_rows
        self._fetch = fetch
        self._millisecond = millisecond
        self._first = first
        self._kinds: dict[str, _Kind] = {}
        self._gone: set[str] = set()
        self._seen: set[str] = set()
        self._is_new = False
        self._take(first)

    def read_round(self) -> None:
        """Count, then query until everything there has been seen since, or no query shows more."""
        self.counts.append(self._walk(offset=0))
        self._seen.clear()
        self._is_new = False
        gone_before = len(self._gone)
        for _ in self._queries():
            # If entries were deleted since, fewer can be there than were counted.
            if self._is_seen and not (self._is_short and len(self._gone) == gone_before):
                return
        self._gone |= self.found.keys() - self._seen

    @property
    def is_complete(self) -> bool:
        """Whether the last count proves that nothing is missing."""
        if len(self.counts) <= 1:
            return False
        if self.null_rows:
            return not self._is_new
        # An entry first seen after the count may be newer than it, and have replaced another.
        is_same = not self._is_new and self._is_seen
        return is_same and self.counts[-2:] == [len(self._there)] * 2

    @property
    def problem(self) -> str:
        """The message that entries may be missing: what the server counted and what it showed."""
        time = from_milliseconds(self._millisecond)
        counted = ", ".join(f"{count:,}" for count in self.counts)
        return (
            f"the millisecond {format_time(time)} kept changing while it was "
            f"read. Sentry counted {counted} entries in it and showed {len(self.found):,} "
            f"different ones, of which {len(self._gone):,} have been deleted. A later run sends "
            "what is missing if it lies within lookback_seconds; otherwise read that time again, "
            "with start_date, end_date and a state of its own"
        )

    @property
    def _there(self) -> set[str]:
        return self.found.keys() - self._gone

    @property
    def _is_seen(self) -> bool:
        """Whether everything there was seen since the count; the first one confirms nothing."""
        return len(self.counts) == 1 or self._there <= self._seen

    @property
    def _is_short(self) -> bool:
        """Whether more entries were counted than are known to be there."""
        return bool(self.null_rows) or len(self._there) < self.counts[-1]

    def _queries(self) -> Iterator[None]:
        """Send one query after the other, those that show most first."""
        kinds = Counter(self._kinds.values())
        actors = dict.fromkeys(_Kind(None, kind.actor) for kind in kinds if kind.actor is not None)
        events = dict.fromkeys(_Kind(kind.event, None) for kind in kinds)
        # Smaller parts first; queries by event also find entries without an actor's id.
        parts = [*actors, *events] if len(actors) > len(events) else [*events, *actors]
        for part in parts:
            is_cut = self._query(part)
            yield
            for kind in kinds if is_cut else ():
                if part.includes(kind) and kind.actor is not None:
                    self._query(kind)
                    yield
        for name in self._first.event_names:
            if _Kind(name, None) not in events and self._is_short:
                self._query(_Kind(name, None))
                yield
        page_size = len(self._first.entries) + self._first.null_rows
        for number in range(_MORE_WALKS):
            # Another first offset puts other rows on a page together.
            self._walk(offset=7 * number % page_size)
            yield

    def _query(self, part: _Kind) -> bool:
        """Read a part of the tie; return whether that is itself wider than a page."""
        page = self._take(self._fetch(Query(Cursor.at(self._millisecond), *part)))
        if page.more_newer and all(
            to_milliseconds(entry.created) <= self._millisecond for entry in page.entries
        ):
            return True
        if not page.null_rows:
            # The page is complete: what it lacks no longer exists.
            shown = {entry.id for entry in page.entries}
            self._gone |= {
                key for key, kind in self._kinds.items() if part.includes(kind) and key not in shown
            }
        return False

    def _walk(self, offset: int) -> int:
        """Read the millisecond from its newest row on, and return how many of its rows passed."""
        passed = nulls = repeats = 0
        before: list[str] = []
        while True:
            cursor = Cursor(self._millisecond + 1, offset, towards_newer=False)
            page = self._take(self._fetch(Query(cursor)))
            passed += len(self._tied(page))
            nulls += page.null_rows
            offset += page.rows
            ids = [entry.id for entry in page.entries]
            repeats = repeats + 1 if ids and ids == before else 0
            if repeats >= _MOST_REPEATS:
                message = "the server shows the same page at every offset"
                raise SentryError(message)
            before = ids
            is_past = page.entries and to_milliseconds(page.entries[0].created) < self._millisecond
            if is_past or not page.rows or not page.more_older:
                self.null_rows = max(self.null_rows, nulls)
                return passed

    def _take(self, page: Page) -> Page:
        for entry in self._tied(page):
            if entry.id not in self.found:
                self._is_new = True
                self._kinds[entry.id] = _kind(entry)
            self.found[entry.id] = entry
            self._seen.add(entry.id)
            self._gone.discard(entry.id)
        return page

    def _tied(self, page: Page) -> list[Entry]:
        return [e for e in page.entries if to_milliseconds(e.created) == self._millisecond]


def _kind(entry: Entry) -> _Kind:
    row = entry.row
    actor = row.get("actor")
    # The `actor` parameter takes integers only.
    number = parse_integer(str(actor.get("id"))) if isinstance(actor, dict) else None
    return _Kind(str(row.get("event")), number)
