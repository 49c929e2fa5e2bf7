"""A millisecond that holds more entries than a page: a bulk action, a migration.

No page can show all of it, and Sentry orders tied entries anew for each request. How many there
are is sure all the same: a walk over offsets passes as many rows as there are, whatever their
order. Which they are, different questions find out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tap_sentry_audit.cursors import Cursor
from tap_sentry_audit.pages import Query
from tap_sentry_audit.times import milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from tap_sentry_audit.pages import Entry, Page

_MORE_WALKS = 20
"""A walk over shuffled rows misses about one of three, so twenty miss one of a billion."""


class Tie:
    """The entries of one millisecond, as far as they were seen.

    `found` are the entries by id, `count` is how many the server has, `null_rows` how many
    rows it could not show around there.
    """

    def __init__(self, fetch: Callable[[Query], Page], millisecond: int, first: Page) -> None:
        """Begin with the page that showed how wide the tie is."""
        self._fetch = fetch
        self._millisecond = millisecond
        self._event_names = first.event_names
        self._page_size = len(first.entries) + first.null_rows
        self.found: dict[str, Entry] = {}
        self._take(first)
        self.count = len(self.found)
        self.null_rows = first.null_rows

    def read(self) -> None:
        """Ask until every entry was seen, or different questions show nothing new."""
        self.count = max(self.count, self._walk(offset=0))
        for event in self._event_names or self._events():
            if self._is_complete():
                return
            if self._is_cut(self._ask(event)):
                for actor in self._actors():
                    self._ask(event, actor)
        for number in range(_MORE_WALKS):
            if self._is_complete():
                return
            # Another first offset puts other rows on one page.
            self._walk(offset=7 * number % self._page_size)

    @property
    def unproved(self) -> int:
        """How many entries the server has and never showed, as far as it can be known."""
        # Among null rows, a walk may pass one entry twice and another one never.
        return 0 if self.null_rows else max(0, self.count - len(self.found))

    def _is_complete(self) -> bool:
        return not self.null_rows and not self.unproved

    def _ask(self, event: str, actor: int | None = None) -> Page:
        return self._take(self._fetch(Query(Cursor.at(self._millisecond), event, actor)))

    def _walk(self, offset: int) -> int:
        """Read the millisecond from its newest row on, and return how many rows passed by."""
        passed = nulls = 0
        while True:
            cursor = Cursor(self._millisecond + 1, offset, towards_newer=False)
            page = self._take(self._fetch(Query(cursor)))
            passed += sum(milliseconds(e.created) == self._millisecond for e in page.entries)
            nulls += page.null_rows
            rows = len(page.entries) + page.null_rows
            offset += rows
            behind = page.entries and milliseconds(page.entries[0].created) < self._millisecond
            if behind or not rows or not (page.older and page.older.has_results):
                self.null_rows = max(self.null_rows, nulls)
                return passed

    def _take(self, page: Page) -> Page:
        for entry in page.entries:
            if milliseconds(entry.created) == self._millisecond:
                self.found[entry.id] = entry
        return page

    def _is_cut(self, page: Page) -> bool:
        """Whether the page ends inside the tie."""
        return page.more_newer and all(
            milliseconds(entry.created) <= self._millisecond for entry in page.entries
        )

    def _events(self) -> list[str]:
        return sorted({str(entry.row.get("event")) for entry in self.found.values()})

    def _actors(self) -> list[int]:
        """Return the ids of the users seen, as the `actor` parameter takes them."""
        actors = [entry.row.get("actor") for entry in self.found.values()]
        ids = {str(actor.get("id")) for actor in actors if isinstance(actor, dict)}
        return sorted(int(text) for text in ids if text.isascii() and text.isdigit())
