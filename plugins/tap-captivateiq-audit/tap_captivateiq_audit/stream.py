"""The stream `audit_logs`: entries as Singer records, and the bookmark in the state."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from functools import cached_property
from typing import TYPE_CHECKING, cast

from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.streams import Stream

from tap_captivateiq_audit.bookmark import REPLICATION_KEY, VALUE, Bookmark
from tap_captivateiq_audit.client import Client
from tap_captivateiq_audit.config import Settings, parse_settings
from tap_captivateiq_audit.entries import Days
from tap_captivateiq_audit.exceptions import ApiError, StateError
from tap_captivateiq_audit.flaws import Flaws
from tap_captivateiq_audit.rate_limit import RateLimiter
from tap_captivateiq_audit.reader import first_day, read_entries
from tap_captivateiq_audit.records import SCHEMA, EntryRecord
from tap_captivateiq_audit.signals import signals_deferred

if TYPE_CHECKING:
    from collections.abc import Iterator

    from singer_sdk import Tap
    from singer_sdk.helpers.types import Context, Record, TapState

_STATE_SECONDS = 10
"""While entries arrive, a STATE message and a line of progress appear at least this often."""

_AHEAD = (
    "the bookmark in the state is ahead of the server's clock and this machine's, so entries "
    "until then would be skipped: set its replication_key_value to the time of the last entry "
    "that you have, or leave --state out to read everything again"
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

    _is_broken_off = False

    def __init__(self, tap: Tap) -> None:
        """Make the stream; nothing is requested yet."""
        super().__init__(tap)
        self._state_writer = tap.state_writer
        self._bookmark = Bookmark(timedelta())
        self._flaws = Flaws(self.logger)

    @property
    def has_failed(self) -> bool:
        """Whether the API was not read whole or without flaws: the run must end with an error."""
        return self._is_broken_off or self._flaws.has_any

    @cached_property
    def settings(self) -> Settings:
        """The settings, needed only to read the stream: a catalog needs none."""
        return parse_settings(self.config)

    @cached_property
    def client(self) -> Client:
        """The one client of the run, under its one rate limit."""
        limits = self.settings.requests_per_second, self.settings.requests_per_hour
        return Client(self.settings, RateLimiter(*limits))

    @property
    def tap_state(self) -> TapState:
        """The state as of now: the SDK reads this for every STATE message."""
        if self._bookmark.has_moved:
            self._bookmark.write_to(self.get_context_state(None))
        return super().tap_state

    def get_records(self, context: Context | None) -> Iterator[Record]:
        """Yield the entries that were not sent before, oldest first.

        If the API cannot be read, the entries read so far are kept, and the run fails at its end.
        """
        try:
            yield from self._new_records(context)
        except (ApiError, StateError) as error:
            if self.ABORT_AT_RECORD_COUNT == 1:  # a connection test, which has no end
                raise
            self._is_broken_off = True
            self.logger.error("%s", error)  # noqa: TRY400  (a traceback helps no user)

    def log_sync_costs(self) -> None:
        """End the run with an error if the API could not be read whole.

        This is the SDK's last call to a stream: every STATE message is written.
        """
        super().log_sync_costs()
        if self.has_failed:
            raise SystemExit(1)

    def _new_records(self, context: Context | None) -> Iterator[Record]:
        self._bookmark = bookmark = self._load_bookmark(self.get_context_state(context))
        today = datetime.now(UTC).date()
        since = bookmark.start
        if since is None:
            # The westernmost zones are half a day behind, the easternmost more than half ahead.
            day = first_day(self.client.fetch, today) - timedelta(days=1)
            since = datetime.combine(day, time_of_day(), UTC)
        sent, due = 0, time.monotonic() + _STATE_SECONDS
        for entries in read_entries(self.client.fetch, since, today, self._flaws):
            for entry in entries:
                if bookmark.has(entry.id):
                    continue
                sent += 1
                with signals_deferred():
                    yield EntryRecord(entry)
            if entries and time.monotonic() > due:
                self._state_writer.write_state(self.tap_state)
                self.logger.info("%s entries, up to %s", f"{sent:,}", entries[-1].created.date())
                due = time.monotonic() + _STATE_SECONDS
        requests = f"{self.client.request_count:,}"
        odd = self._flaws.left_out
        left_out = f"; {len(odd):,} left out" if odd else ""
        self.logger.info("%s new entries with %s requests%s", f"{sent:,}", requests, left_out)

    def compare_start_date(self, value: str, start_date_value: str) -> str:
        """Continue from the bookmark, whatever start_date says: it is for a first run."""
        del start_date_value
        return value

    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        """Set no limit to the bookmark here: `Bookmark` limits it to the two clocks."""

    def _load_bookmark(self, state: dict[str, object]) -> Bookmark:
        """Return the bookmark in the state, or a first one; refuse one ahead of both clocks."""
        lookback = self.settings.lookback
        state["replication_key"] = self.replication_key
        if VALUE in state:  # in a valid form, as the tap has checked
            bookmark = Bookmark.from_state(state, lookback)
            if bookmark.is_ahead_of(datetime.now(UTC)):
                self._fetch_server_time()
                if bookmark.is_ahead_of(self.client.later_now):
                    raise StateError(_AHEAD)
            return bookmark
        if self.settings.backfill:
            return Bookmark(lookback, since=self.settings.start_date)
        self._fetch_server_time()
        now = self.client.earlier_now
        bookmark = Bookmark(lookback, since=now, newest=now)
        bookmark.write_to(state)
        return bookmark

    def _fetch_server_time(self) -> None:
        """Send one request, which also shows whether the token is valid."""
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        self.client.fetch(Days(yesterday, None), 0)

    def _increment_stream_state(
        self, latest_record: Record, *, context: Context | None = None
    ) -> None:
        """Move the bookmark to a record that was written.

        The SDK has no public hook for it (singer-sdk 0.54.9, streams/core.py:1265). Its own method
        refuses late records, and accepts a time in the future as the bookmark.
        """
        del context
        entry = cast("EntryRecord", latest_record).entry
        # What has come in since the days were asked for may be known in part.
        self._bookmark.add(entry.id, entry.created, self.client.began)
