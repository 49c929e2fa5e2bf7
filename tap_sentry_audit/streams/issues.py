"""The stream `issues`: issues seen since the last run, by the time when they were last seen."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tap_sentry_audit.api.pagination import PAGE_SIZE
from tap_sentry_audit.api.search import read_slices, search_text, whole_second
from tap_sentry_audit.api.timestamps import EPOCH, parse_time, to_milliseconds
from tap_sentry_audit.streams.bookmark import CLOCK_STEP, Bookmark
from tap_sentry_audit.streams.incremental import BookmarkedRow, IncrementalStream
from tap_sentry_audit.streams.progress import Span
from tap_sentry_audit.streams.schemas import schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from singer_sdk.helpers.types import Context, Record

    from tap_sentry_audit.api.pagination import ListPage, Row
    from tap_sentry_audit.api.search import Slice


class Issues(IncrementalStream):
    """The issues of all projects. An issue that is seen again is sent again: targets upsert it."""

    name = "issues"
    path = "organizations/{organization}/issues/"
    primary_keys = ("id",)
    replication_key = time_field = "lastSeen"
    selected_by_default = False
    scopes = ("event:read",)
    schema = schema_of(
        string="id shareId shortId title culprit permalink logger level status substatus platform "
        "type issueType issueCategory count priority",
        integer="userCount numComments",
        boolean="isPublic isBookmarked isSubscribed hasSeen isUnhandled",
        object="statusDetails project metadata assignedTo subscriptionDetails stats lifetime "
        "filtered",
        array="annotations",
        time="firstSeen lastSeen",
    )

    def read(self, context: Context) -> Iterator[Record]:
        """Yield the issues of an organization that were seen in the range, oldest first."""
        organization, settings = context["organization"], self.tap.settings
        now = self.tap.client.region(organization).server_time
        past = partial(Bookmark.at, now - CLOCK_STEP, settings.lookback)
        bookmark = self.begin(self.given_state(context), past, lambda: now)
        self.keep_first(bookmark, context)
        start = whole_second(max(bookmark.start or EPOCH, EPOCH))
        end = min(settings.end_date or now, now)
        span = Span(lambda: end)
        for slice_ in read_slices(partial(self._search, context), start, end, _seen):
            null_rows = sum(page.null_rows for page in slice_.pages)
            self.summary.null_rows += null_rows
            self.warn_of_null_rows(organization, null_rows)
            rows = list(_oldest_first(slice_, bookmark))
            yield from self.unsent(rows, bookmark)
            self.write_state_if_due()
            if rows:
                reached = rows[-1].created
                self.progress.show(len(rows), span.reach(reached), reached)
        self.end(bookmark, context, now)
        self.summary.newest = bookmark.newest
        self.summary.organizations = 1

    def _search(
        self, context: Context, start: datetime, end: datetime, cursor: str | None
    ) -> ListPage:
        parameters = {
            "project": "-1",
            "limit": str(PAGE_SIZE),
            "sort": "date",
            "query": f"lastSeen:>={search_text(start)} lastSeen:<{search_text(end)}",
        }
        return self.get_page(context, parameters, cursor)


def _oldest_first(slice_: Slice, bookmark: Bookmark) -> Iterator[BookmarkedRow]:
    """Yield the issues of a slice, each once: one that was seen meanwhile can be in it twice.

    Its new time must not move the bookmark past the slice, for later issues are not read yet.
    """
    rows = {str(row["id"]): row for page in reversed(slice_.pages) for row in page.rows}
    seen = {key: _seen(row) for key, row in rows.items()}
    server_time = min(slice_.pages[0].server_time, slice_.end)
    for key in sorted(rows, key=lambda key: (seen[key], key)):
        # The same issue, seen again, is another record.
        sighting = f"{key}@{to_milliseconds(seen[key]) // 1000}"
        yield BookmarkedRow(rows[key], bookmark, sighting, seen[key], server_time)


def _seen(issue: Row) -> datetime:
    return parse_time(str(issue["lastSeen"]))
