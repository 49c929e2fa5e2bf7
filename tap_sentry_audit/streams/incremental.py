"""What every incremental stream shares: its bookmark, kept in the state as records are sent."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from singer_sdk.helpers.conform import TypeConformanceLevel

from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.api.timestamps import EPOCH, time_text
from tap_sentry_audit.streams.base import SentryStream
from tap_sentry_audit.streams.bookmark import VALUE, Bookmark
from tap_sentry_audit.streams.progress import Tally
from tap_sentry_audit.streams.records import row_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from singer_sdk.helpers.types import Context, Record

    from tap_sentry_audit.api.pagination import Row
    from tap_sentry_audit.tap import TapSentryAudit

STATE_SECONDS = 10
"""A STATE message comes at least so often, while records do."""


class Written(NamedTuple):
    """What a record is in the bookmark: `key` tells it from all others, `created` is its time.

    `server_time` is the server's clock when it was read.
    """

    key: str
    created: datetime
    server_time: datetime


class IncrementalStream(SentryStream):
    """A stream whose records come oldest first, each once, by their replication key."""

    is_sorted = True
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.ROOT_ONLY
    STATE_MSG_FREQUENCY = 1000
    replication_key: str

    def __init__(self, tap: TapSentryAudit) -> None:
        """Make the stream."""
        super().__init__(tap)
        self._bookmark = Bookmark(timedelta())
        self._written = Written("", EPOCH, EPOCH)
        self._state_due = time.monotonic() + STATE_SECONDS

    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        """Set no limit to the bookmark here: `Bookmark` holds it to the server's clock."""

    def compare_start_date(self, value: str, start_date_value: str) -> str:
        """Go on from the bookmark, whatever start_date says: it is for a first run."""
        del start_date_value
        return value

    def begin(
        self,
        state: dict[str, object],
        past: Callable[[], Bookmark],
        server_time: Callable[[], datetime],
    ) -> Bookmark:
        """Return the bookmark to go on from: the partition's, the stream's, or a new one.

        `past` makes the one behind all that there is, for a first run without backfill;
        `server_time` asks for the server's clock.

        Raises:
            SentryError: The bookmark cannot be read, or lies in the future.

        """
        for earlier in (state, self.stream_state):
            if earlier.get(VALUE):
                bookmark = self._bookmark_in(earlier)
                self._check_not_ahead(bookmark, server_time)
                return bookmark
        if self.settings.backfill:
            return Bookmark(self.settings.lookback, since=self.settings.start)
        bookmark = past()
        self.keep(bookmark, state)
        return bookmark

    def _bookmark_in(self, state: Mapping[str, object]) -> Bookmark:
        try:
            return Bookmark.from_state(state, self.settings.lookback)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            message = "the bookmark in the state cannot be read: mend it or leave it out"
            raise SentryError(message) from None

    def _check_not_ahead(self, bookmark: Bookmark, server_time: Callable[[], datetime]) -> None:
        """Refuse a bookmark ahead of both clocks: what comes until then would be skipped."""
        newest = bookmark.newest
        if newest and newest > datetime.now(UTC) and newest > server_time():
            message = (
                f"the bookmark in the state, {time_text(newest)}, lies ahead of the server's clock "
                "and of this machine's: set replication_key_value to the time of the newest record "
                "that your target has, or leave the bookmark out to read everything again"
            )
            raise SentryError(message)

    def end(self, bookmark: Bookmark, state: dict[str, object], server_time: datetime) -> None:
        """Keep the end of a range without records as the position of one that had none before.

        Without end_date there is none to keep: such a range is short to read again.
        """
        if bookmark.newest is None and self.settings.end:
            bookmark.end_at(self.settings.end, server_time)
            self.keep(bookmark, state)

    def keep(self, bookmark: Bookmark, state: dict[str, object]) -> None:
        """Keep a bookmark in a partition's state from now on."""
        state["replication_key"] = self.replication_key
        bookmark.keep_in(state)

    def send(
        self,
        rows: Iterable[tuple[Written, Row]],
        organization: str,
        state: dict[str, object],
        tally: Tally,
    ) -> Iterator[Record]:
        """Yield the records of those rows that were not sent before."""
        bookmark = self._bookmark
        before = bookmark.newest
        redact_secrets = self.settings.redact_secrets
        is_kept = False
        for written, row in rows:
            if bookmark.has(written.key):
                tally.known += 1
                continue
            if not is_kept:
                self.keep(bookmark, state)
                is_kept = True
            tally.new += 1
            tally.late += before is not None and written.created < before
            tally.first = min(tally.first or written.created, written.created)
            tally.last = max(tally.last or written.created, written.created)
            self._written = written
            self.tap.hold_signals()
            yield row_record(row, self.schema, organization, redact_secrets=redact_secrets)
            self.tap.release_signals()

    def begin_tally(self, what: str) -> Tally:
        """Begin to count what is done for an organization; `what` are the records."""
        return Tally(what=what, requests=-self.pacer.requests, waited=-self.pacer.waited)

    def end_tally(self, organization: str, tally: Tally) -> None:
        """Say on one line what was done."""
        tally.requests += self.pacer.requests
        tally.waited += self.pacer.waited
        self.logger.info("%s: %s", organization, tally)

    def write_state_if_due(self) -> None:
        """Write a STATE message if the last one was long ago."""
        if time.monotonic() > self._state_due:
            self.tap.hold_signals()
            self.tap.state_writer.write_state(self.tap_state)
            self.tap.release_signals()
            self._state_due = time.monotonic() + STATE_SECONDS

    def _increment_stream_state(
        self,
        latest_record: Record,
        *,
        context: Context | None = None,
    ) -> None:
        """Note a written record in the state.

        The SDK has no public hook for it. Its own would refuse late records, which lie before
        the bookmark, and would let a date in the future become the bookmark.
        """
        del context
        key, created, server_time = self._written
        self._bookmark.add(key, created, server_time, latest_record[self.replication_key])
