"""What every incremental stream shares: its bookmark, which follows the records that were sent."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.api.timestamps import format_time
from tap_sentry_audit.streams.base import SentryStream
from tap_sentry_audit.streams.bookmark import VALUE, Bookmark
from tap_sentry_audit.streams.progress import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from singer_sdk.helpers.types import Context, Record

    from tap_sentry_audit.api.decoding import Json
    from tap_sentry_audit.streams.base import SentryTap

STATE_SECONDS = 10
"""A STATE message comes at least so often, while records do."""


class BookmarkedRow(dict[str, "Json"]):
    """A row, and what its bookmark has to know once its record is written.

    `key` tells the row from all others, `created` is its time by the replication key,
    `server_time` the server's clock when it was read. The SDK hands the very object on, from
    `get_records` over `post_process` to `_increment_stream_state`.
    """

    __slots__ = ("bookmark", "created", "key", "server_time")

    def __init__(
        self,
        row: Mapping[str, Json],
        bookmark: Bookmark,
        key: str,
        created: datetime,
        server_time: datetime,
    ) -> None:
        """Begin with the row as it was sent."""
        super().__init__(row)
        self.bookmark = bookmark
        self.key = key
        self.created = created
        self.server_time = server_time


class IncrementalStream(SentryStream):
    """A stream whose records come oldest first, each once, by their replication key."""

    is_sorted = True
    replication_key: str

    def __init__(self, tap: SentryTap) -> None:
        """Make the stream."""
        super().__init__(tap)
        self._unsaved: tuple[Bookmark, Context | None] | None = None
        self._state_due = time.monotonic() + STATE_SECONDS

    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        """Set no limit to the bookmark here: `Bookmark` holds it to the server's clock."""

    def compare_start_date(self, value: str, start_date_value: str) -> str:
        """Go on from the bookmark, whatever start_date says: it is for a first run."""
        del start_date_value
        return value

    def begin(
        self,
        context: Context,
        past: Callable[[], Bookmark],
        server_time: Callable[[], datetime],
    ) -> Bookmark:
        """Return the bookmark to go on from: the partition's, the stream's, or a new one.

        `past` makes the one behind all that there is, for a first run without backfill;
        `server_time` asks for the server's clock.

        Raises:
            SentryError: The bookmark cannot be read, or lies in the future.

        """
        for state in (self.get_context_state(context), self.stream_state):
            if state.get(VALUE):
                bookmark = self._bookmark_in(state)
                self._check_not_ahead(bookmark, server_time)
                return bookmark
        if self.settings.backfill:
            return Bookmark(self.settings.lookback, since=self.settings.start_date)
        bookmark = past()
        self._save(bookmark, context)
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
                f"the bookmark in the state, {format_time(newest)}, lies ahead of the server's "
                "clock and of this machine's: set replication_key_value to the time of the newest "
                "record that your target has, or leave the bookmark out to read everything again"
            )
            raise SentryError(message)

    def end(self, bookmark: Bookmark, context: Context, server_time: datetime) -> None:
        """Keep the end of a range without records as the position of one that had none before.

        Without end_date there is none to keep: such a range is short to read again.
        """
        if bookmark.newest is None and self.settings.end_date:
            bookmark.end_at(self.settings.end_date, server_time)
            self._save(bookmark, context)

    def save_bookmark(self) -> None:
        """Write into the state how far the partition in progress was delivered."""
        if self._unsaved is not None:
            self._save(*self._unsaved)
            self._unsaved = None

    def _save(self, bookmark: Bookmark, context: Context | None) -> None:
        state = self.get_context_state(context)
        state["replication_key"] = self.replication_key
        state.update(bookmark.to_state())

    def unsent(self, rows: Iterable[BookmarkedRow], summary: Summary) -> Iterator[Record]:
        """Yield those rows that were not sent before, and count all."""
        before: datetime | None = None
        bookmark: Bookmark | None = None
        for row in rows:
            if row.bookmark is not bookmark:
                bookmark, before = row.bookmark, row.bookmark.newest
            if bookmark.has(row.key):
                summary.known += 1
                continue
            summary.new += 1
            summary.late += before is not None and row.created < before
            summary.first = min(summary.first or row.created, row.created)
            summary.last = max(summary.last or row.created, row.created)
            yield row

    def begin_summary(self, what: str) -> Summary:
        """Begin to count what is done for an organization; `what` are the records."""
        limiter = self.tap.client.rate_limiter
        return Summary(what=what, requests=-limiter.requests, waited=-limiter.waited)

    def end_summary(self, organization: str, summary: Summary) -> None:
        """Say on one line what was done."""
        limiter = self.tap.client.rate_limiter
        summary.requests += limiter.requests
        summary.waited += limiter.waited
        self.logger.info("%s: %s", organization, summary)

    def write_state_if_due(self) -> None:
        """Write a STATE message if the last one was long ago."""
        if time.monotonic() > self._state_due:
            self.tap.hold_signals()
            self.save_bookmark()
            self.tap.state_writer.write_state(self.tap_state)
            self.tap.release_signals()
            self._state_due = time.monotonic() + STATE_SECONDS

    def _increment_stream_state(
        self,
        latest_record: Record,
        *,
        context: Context | None = None,
    ) -> None:
        """Take note of a written record in its bookmark.

        The SDK has no public hook for it. Its own would refuse late records, which lie before
        the bookmark, and would let a date in the future become the bookmark (singer-sdk 0.54.9,
        helpers/_state.py, increment_state).
        """
        assert isinstance(latest_record, BookmarkedRow)  # noqa: S101  (as get_records yielded it)
        latest_record.bookmark.add(
            latest_record.key, latest_record.created, latest_record.server_time
        )
        self._unsaved = (latest_record.bookmark, context)

    def _write_state_message(self) -> None:
        """Write a STATE message that holds the bookmark of the partition in progress.

        The SDK has no public hook before a STATE (singer-sdk 0.54.9, streams/core.py).
        """
        self.save_bookmark()
        super()._write_state_message()
