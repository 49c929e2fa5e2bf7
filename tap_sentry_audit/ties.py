"""Reads a millisecond that holds more entries than a page: a bulk action, a migration.

No page shows all of it, and Sentry orders tied entries anew for each request. How many there are
can be counted all the same: a walk over offsets passes as many rows as there are, whatever their
order. Which ones they are, different questions find out: by event, by actor, from other offsets.

A tie can grow and shrink while it is read, so no single count proves anything. But if a walk
counts n rows, and the same n entries were seen both before and after that walk, then they are all
there was at its end. That is what a round asks for, beside a count that equals the one before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from tap_sentry_audit.cursors import Cursor
from tap_sentry_audit.pages import Query
from tap_sentry_audit.times import milliseconds, moment, time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tap_sentry_audit.pages import Entry, Page

MAX_ROUNDS = 5
"""Counts that are made, each with everything seen again, before a tie is called unproved."""

_MORE_WALKS = 20
"""A walk over shuffled rows misses about one of three, so twenty miss one of a billion."""


@dataclass(frozen=True, slots=True)
class Tie:
    """The entries of one millisecond, oldest first, those that were deleted meanwhile included.

    `null_rows` are the rows that the server could not show around there, `problem` says why the
    entries may not be all, with the time and the numbers; it is None for a proved tie.
    """

    entries: list[Entry]
    null_rows: int
    problem: str | None


def read_tie(fetch: Callable[[Query], Page], millisecond: int, first: Page) -> Tie:
    """Read all entries of a millisecond; `first` is the page that it fills.

    What `fetch` raises passes through.
    """
    reading = _Reading(fetch, millisecond, first)
    counts: list[int] = []
    while not reading.is_complete(counts) and len(counts) < MAX_ROUNDS:
        counts.append(reading.walk(offset=0))
        reading.see_again(counts)
    return Tie(
        entries=sorted(reading.found.values(), key=attrgetter("created", "id")),
        null_rows=reading.null_rows,
        problem=None if reading.is_complete(counts) else reading.problem(counts),
    )


class _Reading:
    """What was seen of one millisecond: ever, since the last count, and what is known to be gone.

    Among null rows a count means nothing, for a walk may pass one entry twice and another never:
    there, a tie is complete when a round shows nothing new.
    """

    def __init__(self, fetch: Callable[[Query], Page], millisecond: int, first: Page) -> None:
        self.found: dict[str, Entry] = {}
        self.null_rows = first.null_rows
        self._fetch = fetch
        self._millisecond = millisecond
        self._event_names = first.event_names
        self._page_size = len(first.entries) + first.null_rows
        self._kinds: dict[str, tuple[str, int | None]] = {}
        self._gone: set[str] = set()
        self._seen: set[str] = set()
        self._are_new = False
        self._take(first)

    def walk(self, offset: int) -> int:
        """Read the millisecond from its newest row on, and return how many rows passed by."""
        passed = nulls = 0
        while True:
            cursor = Cursor(self._millisecond + 1, offset, towards_newer=False)
            page = self._take(self._fetch(Query(cursor)))
            passed += len(self._tied(page))
            nulls += page.null_rows
            rows = len(page.entries) + page.null_rows
            offset += rows
            behind = page.entries and milliseconds(page.entries[0].created) < self._millisecond
            if behind or not rows or not (page.older and page.older.has_results):
                self.null_rows = max(self.null_rows, nulls)
                return passed

    def see_again(self, counts: list[int]) -> None:
        """Ask until all that is still there was seen since the last count, or nothing helps."""
        self._seen.clear()
        self._are_new = False
        for _ in self._questions():
            if self._is_enough(counts):
                return
        # No question shows it any more.
        self._gone |= self.found.keys() - self._seen

    def is_complete(self, counts: list[int]) -> bool:
        """Whether the last count proves that nothing is missing."""
        if len(counts) <= 1:
            return False
        if self.null_rows:
            return not self._are_new
        return counts[-1] == counts[-2] and self._is_enough(counts)

    def problem(self, counts: list[int]) -> str:
        """Say what the server counted and what it showed."""
        counted = ", ".join(f"{count:,}" for count in counts)
        return (
            f"the entries of the millisecond {time_text(moment(self._millisecond))} kept changing: "
            f"Sentry counted {counted} of them and showed {len(self.found):,} different ones, "
            f"{len(self._gone):,} of them deleted meanwhile"
        )

    def _is_enough(self, counts: list[int]) -> bool:
        there = self.found.keys() - self._gone
        # The first count has nothing to confirm yet.
        is_confirmed = len(counts) == 1 or there <= self._seen
        return not self.null_rows and is_confirmed and len(there) == counts[-1]

    def _questions(self) -> Iterator[None]:
        """Ask one question after the other: what was seen first, then what may be there too."""
        asked: set[str] = set()
        for event in [*self._events(), *self._event_names]:
            if event in asked:
                continue
            asked.add(event)
            if self._ask(event):
                for actor in self._actors(event):
                    self._ask(event, actor)
                    yield
            yield
        for number in range(_MORE_WALKS):
            # Another first offset puts other rows on one page.
            self.walk(offset=7 * number % self._page_size)
            yield

    def _ask(self, event: str, actor: int | None = None) -> bool:
        """Ask for a part of the tie; return whether it is wider than a page itself."""
        page = self._take(self._fetch(Query(Cursor.at(self._millisecond), event, actor)))
        if page.more_newer and all(
            milliseconds(entry.created) <= self._millisecond for entry in page.entries
        ):
            return True
        if not page.null_rows:
            # The answer is whole: what it lacks is no longer there.
            answered = {entry.id for entry in page.entries}
            self._gone |= {
                key
                for key, (of_event, of_actor) in self._kinds.items()
                if key not in answered and event == of_event and actor in {None, of_actor}
            }
        return False

    def _take(self, page: Page) -> Page:
        for entry in self._tied(page):
            self._are_new = self._are_new or entry.id not in self.found
            self.found[entry.id] = entry
            if entry.id not in self._kinds:
                self._kinds[entry.id] = _kind(entry)
            self._seen.add(entry.id)
            self._gone.discard(entry.id)
        return page

    def _tied(self, page: Page) -> list[Entry]:
        return [e for e in page.entries if milliseconds(e.created) == self._millisecond]

    def _events(self) -> list[str]:
        """Return the events seen, the most frequent first."""
        return [event for event, _ in Counter(e for e, _ in self._kinds.values()).most_common()]

    def _actors(self, event: str) -> list[int]:
        """Return the ids of an event's users, as the `actor` parameter takes them."""
        actors = {actor for of_event, actor in self._kinds.values() if of_event == event}
        return sorted(actor for actor in actors if actor is not None)


def _kind(entry: Entry) -> tuple[str, int | None]:
    """Return an entry's event and its actor's id, by which it can be asked for."""
    row = entry.row
    actor = row.get("actor")
    text = str(actor.get("id")) if isinstance(actor, dict) else ""
    return str(row.get("event")), int(text) if text.isascii() and text.isdigit() else None
