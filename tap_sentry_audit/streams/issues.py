"""The stream `issues`: those seen since the run before, by the time at which they were seen."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tap_sentry_audit.api.pagination import PAGE_SIZE, ListPage, parse_list
from tap_sentry_audit.api.search import read_slices, search_text, whole_second
from tap_sentry_audit.api.timestamps import EPOCH, parse_time, to_milliseconds
from tap_sentry_audit.streams.bookmark import Bookmark
from tap_sentry_audit.streams.incremental import BookmarkedRow, IncrementalStream
from tap_sentry_audit.streams.progress import Progress
from tap_sentry_audit.streams.schemas import schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from singer_sdk.helpers.types import Context, Record

    from tap_sentry_audit.api.pagination import Row
    from tap_sentry_audit.api.search import Search, Slice

_SECOND = timedelta(seconds=1)
"""The server's clock is known to a second, rounded up."""


class Issues(IncrementalStream):
    """The issues of all projects. One that is seen again comes again: targets upsert it."""

    name = "issues"
    path = "organizations/{organization}/issues/"
    primary_keys = ("id",)
    replication_key = "lastSeen"
    selected_by_default = False
    permission = "the token may not read issues. It needs the scope event:read"
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
        organization = context["organization"]
        summary = self.begin_summary("issues")
        now = self.tap.client.region(organization).server_time
        lookback = self.settings.lookback
        bookmark = self.begin(context, lambda: Bookmark.at(now - _SECOND, lookback), lambda: now)
        start = whole_second(max(bookmark.start or EPOCH, EPOCH))
        end = min(self.settings.end_date or now, now)
        with Progress(organization, self.logger, "issues") as progress:
            for slice_ in read_slices(self._search(organization), start, end, _seen):
                self.warn_of_null_rows(organization, sum(page.null_rows for page in slice_.pages))
                yield from self.unsent(_oldest_first(slice_, bookmark), summary)
                self.write_state_if_due()
                if summary.last:
                    progress.show(summary.new + summary.known, summary.last, end)
        self.end(bookmark, context, now)
        self.end_summary(organization, summary)

    def _search(self, organization: str) -> Search:
        base_url = self.tap.client.region(organization).base_url

        def search(start: datetime, end: datetime, cursor: str | None) -> ListPage:
            parameters = {
                "project": "-1",
                "limit": str(PAGE_SIZE),
                "sort": "date",
                "query": f"lastSeen:>={search_text(start)} lastSeen:<{search_text(end)}",
            }
            return self.tap.client.get(
                self.path.format(organization=organization),
                parameters | ({"cursor": cursor} if cursor else {}),
                lambda body, headers: parse_list(body, headers, "id", time="lastSeen"),
                self.permission,
                base_url,
            )

        return search


def _oldest_first(slice_: Slice, bookmark: Bookmark) -> Iterator[BookmarkedRow]:
    """Yield the issues of a slice, each once: one that was seen meanwhile may be there twice.

    The bookmark must not go beyond the slice with one that was: the next ones are not read yet.
    """
    rows = {str(row["id"]): row for page in reversed(slice_.pages) for row in page.rows}
    seen = {key: _seen(row) for key, row in rows.items()}
    server_time = min(slice_.pages[0].server_time, slice_.end)
    for key in sorted(rows, key=lambda key: (seen[key], key)):
        # The same issue seen again is another record.
        sighting = f"{key}@{to_milliseconds(seen[key]) // 1000}"
        yield BookmarkedRow(rows[key], bookmark, sighting, seen[key], server_time)


def _seen(issue: Row) -> datetime:
    return parse_time(str(issue["lastSeen"]))
