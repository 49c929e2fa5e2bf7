"""The stream `audit_logs`: what the reader finds as Singer records, and the bookmark as state."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from typing import TYPE_CHECKING

from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.streams import Stream

from tap_captivateiq_audit.bookmark import REPLICATION_KEY, VALUE, Bookmark
from tap_captivateiq_audit.entries import SCHEMA, record_of
from tap_captivateiq_audit.errors import ApiError, StateError
from tap_captivateiq_audit.messages import undisturbed
from tap_captivateiq_audit.reader import Span, first_day, read_range

if TYPE_CHECKING:
    from collections.abc import Iterator

    from singer_sdk.helpers.types import Context, Record

    from tap_captivateiq_audit.entries import Entry
    from tap_captivateiq_audit.tap import TapCaptivateiqAudit

STATE_SECONDS = 10
"""A STATE message and a line of progress come at least so often, while entries do."""

_AHEAD = (
    "the bookmark in the state lies ahead of the server's clock and of this machine's, and what "
    "comes until then would be passed over: set its replication_key_value to the time of the last "
    "entry that you have, or leave --state out to read all anew"
)


class AuditLogs(Stream):
    """Who did what, when and from where, in CaptivateIQ."""

    name = "audit_logs"
    primary_keys = ("id",)
    replication_key = REPLICATION_KEY
    schema = SCHEMA
    is_sorted = True
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.ROOT_ONLY
    STATE_MSG_FREQUENCY = 1000

    def __init__(self, tap: TapCaptivateiqAudit) -> None:
        """Make the stream."""
        super().__init__(tap)
        self.tap = tap
        self._bookmark = Bookmark(timedelta())
        self._entry: Entry | None = None

    def get_records(self, context: Context | None) -> Iterator[Record]:
        """Yield the entries that were not sent before, oldest first.

        If the API cannot be read, what was read so far is kept, and the run fails at its end.
        """
        try:
            yield from self._new_records(context)
        except (ApiError, StateError) as error:
            if self.ABORT_AT_RECORD_COUNT == 1:  # a connection test, which has no end
                raise
            self.tap.has_failed = True
            self.logger.error("%s", error)  # noqa: TRY400  (a traceback helps nobody)

    def log_sync_costs(self) -> None:
        """End the run with an error if the API could not be read.

        This is the SDK's last call to a stream: every STATE message is written.
        """
        super().log_sync_costs()
        if self.tap.has_failed:
            raise SystemExit(1)

    def _new_records(self, context: Context | None) -> Iterator[Record]:
        client, state = self.tap.client, self.get_context_state(context)
        self._bookmark = bookmark = self._begin(state)
        today = datetime.now(UTC).date()
        since = bookmark.start
        if since is None:
            # The westernmost zones are half a day behind, the easternmost more than half ahead.
            day = first_day(client.fetch, today) - timedelta(days=1)
            since = datetime.combine(day, time_of_day(), UTC)
        sent, due = 0, time.monotonic() + STATE_SECONDS
        for entries in read_range(client.fetch, since, today):
            for entry in entries:
                if bookmark.has(entry.id):
                    continue
                sent += 1
                self._entry = entry
                with undisturbed():
                    yield record_of(entry)
            if entries and time.monotonic() > due:
                self.tap.state_writer.write_state(self.tap_state)
                self.logger.info("%s entries, up to %s", f"{sent:,}", entries[-1].created.date())
                due = time.monotonic() + STATE_SECONDS
        requests = self.tap.pacer.requests
        self.logger.info("%s new entries with %s requests", f"{sent:,}", f"{requests:,}")

    def compare_start_date(self, value: str, start_date_value: str) -> str:
        """Go on from the bookmark, whatever start_date says: it is for a first run."""
        del start_date_value
        return value

    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        """Set no limit to the bookmark here: `Bookmark` holds it to the two clocks."""

    def _begin(self, state: dict[str, object]) -> Bookmark:
        settings = self.tap.settings
        state["replication_key"] = self.replication_key
        if VALUE in state:  # which can be read: otherwise the tap had refused it
            bookmark = Bookmark.from_state(state, settings.lookback)
            if bookmark.is_ahead_of(datetime.now(UTC)):
                self._ask_for_the_time()
                if bookmark.is_ahead_of(self.tap.client.later_now):
                    raise StateError(_AHEAD)
            return bookmark
        if settings.backfill:
            return Bookmark(settings.lookback, since=settings.start)
        self._ask_for_the_time()
        now = self.tap.client.earlier_now
        bookmark = Bookmark(settings.lookback, since=now, newest=now)
        bookmark.keep_in(state)
        return bookmark

    def _ask_for_the_time(self) -> None:
        """Send one request, which tells the server's clock and whether the token is good."""
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        self.tap.client.fetch(Span(yesterday, None), 0)

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
        del latest_record
        if self._entry:
            self._bookmark.add(self._entry.id, self._entry.created, self.tap.client.earlier_now)
            self._bookmark.keep_in(self.get_context_state(context))
