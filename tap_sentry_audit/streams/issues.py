"""The stream `issues`: those seen since the run before, by the time at which they were seen."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tap_sentry_audit.api.pagination import PAGE_SIZE, ListPage, read_list
from tap_sentry_audit.api.search import read_slices, search_text, whole_second
from tap_sentry_audit.api.timestamps import EPOCH, milliseconds, read_time
from tap_sentry_audit.streams.bookmark import Bookmark
from tap_sentry_audit.streams.incremental import IncrementalStream, Written
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

    @property
    def partitions(self) -> list[dict[str, str]]:
        """One partition, and so one bookmark, for each organization."""
        return [{"organization": slug} for slug in self.settings.organizations]

    def read(self, organization: str, context: Context | None) -> Iterator[Record]:
        """Yield the issues of an organization that were seen in the range, oldest first."""
        tally = self.begin_tally("issues")
        now = self.region(organization).server_time
        state = self.get_context_state(context)
        lookback = self.settings.lookback
        bookmark = self._bookmark = self.begin(
            state, lambda: Bookmark.at(now - _SECOND, lookback), lambda: now
        )
        start = whole_second(max(bookmark.start or EPOCH, EPOCH))
        end = min(self.settings.end or now, now)
        with Progress(organization, self.logger, "issues") as progress:
            for slice_ in read_slices(self._search(organization), start, end, _seen):
                self.tell_null_rows(organization, slice_.pages)
                yield from self.send(_oldest_first(slice_), organization, state, tally)
                self.write_state_if_due()
                if tally.last:
                    progress.show(tally.new + tally.known, tally.last, end)
        self.end(bookmark, state, now)
        self.end_tally(organization, tally)

    def _search(self, organization: str) -> Search:
        base_url = self.region(organization).base_url

        def search(start: datetime, end: datetime, cursor: str | None) -> ListPage:
            parameters = {
                "project": "-1",
                "limit": str(PAGE_SIZE),
                "sort": "date",
                "query": f"lastSeen:>={search_text(start)} lastSeen:<{search_text(end)}",
            }
            return self.get(
                self.path.format(organization=organization),
                parameters | ({"cursor": cursor} if cursor else {}),
                lambda body, headers: read_list(body, headers, "id", time="lastSeen"),
                base_url,
            )

        return search


def _oldest_first(slice_: Slice) -> Iterator[tuple[Written, Row]]:
    """Yield the issues of a slice, each once: one that was seen meanwhile may be there twice.

    The bookmark must not go beyond the slice with one that was: the next ones are not read yet.
    """
    rows = {str(row["id"]): row for page in reversed(slice_.pages) for row in page.rows}
    seen = {key: _seen(row) for key, row in rows.items()}
    server_time = min(slice_.pages[0].server_time, slice_.end)
    for key in sorted(rows, key=lambda key: (seen[key], key)):
        # The same issue seen again is another record.
        written = f"{key}@{milliseconds(seen[key]) // 1000}"
        yield Written(written, seen[key], server_time), rows[key]


def _seen(issue: Row) -> datetime:
    return read_time(str(issue["lastSeen"]))
