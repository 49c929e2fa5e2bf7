"""The base of incremental streams: a bookmark follows the records that were written."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tap_sentry_audit import signals
from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.api.timestamps import format_time
from tap_sentry_audit.streams.base import SentryStream
from tap_sentry_audit.streams.bookmark import CLOCK_STEP, LAST_READ, VALUE, Bookmark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from singer_sdk.helpers.types import Context, Record

    from tap_sentry_audit.api.decoding import Json
    from tap_sentry_audit.streams.base import SentryTap

STATE_SECONDS = 10
"""The longest time between two STATE messages while records are written."""


class BookmarkedRow(dict[str, "Json"]):
    """A row, with what its bookmark needs once its record is written.

    `key` identifies the row, `created` is its replication key's time, `server_time` the server's
    clock when the row was read. The SDK passes the same object from `get_records` through
    `post_process` to `_increment_stream_state`.
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
        """Start with the row that the server sent."""
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
        self._unsaved: tuple[Bookmark, Context] | None = None
        self._states: dict[tuple[str, ...], dict[str, Any]] = {}
        self._state_due = time.monotonic() + STATE_SECONDS

    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        """Set no limit: `Bookmark` never goes ahead of the server's clock."""

    def compare_start_date(self, value: str, start_date_value: str) -> str:
        """Continue from the bookmark: start_date is for a first run."""
        del start_date_value
        return value

    def get_context_state(self, context: Context | None) -> dict[str, Any]:
        """Return a partition's state; the SDK looks through all partitions each time."""
        key = tuple((context or {}).values())
        if key not in self._states:
            self._states[key] = super().get_context_state(context)
        return self._states[key]

    def given_state(self, context: Context) -> Mapping[str, object]:
        """Return the state with the bookmark to continue from: the partition's or the stream's.

        It is empty for a first run.
        """
        partitions = self.stream_state.get("partitions", ())
        own = [each for each in partitions if each["context"] == context]
        return next((state for state in (*own, self.stream_state) if state.get(VALUE)), {})

    def begin(
        self,
        given: Mapping[str, object],
        past: Callable[[], Bookmark],
        server_time: Callable[[], datetime],
    ) -> Bookmark:
        """Return the bookmark in a given state, or a new one for a first run.

        `past` makes one after everything there is, for a first run without backfill; `server_time`
        asks for the server's clock. A bookmark that cannot be read, or lies in the future, raises a
        SentryError.
        """
        if given:
            return self._load(given, server_time)
        settings = self.tap.settings
        return Bookmark(settings.lookback, settings.start_date) if settings.backfill else past()

    def keep_first(self, bookmark: Bookmark, context: Context) -> None:
        """Write a bookmark that holds without any records into the state, if that has none."""
        if VALUE not in self.get_context_state(context):
            self.keep(bookmark, context)

    def keep(self, bookmark: Bookmark, context: Context) -> None:
        """Write a bookmark into the state, unless it says nothing yet."""
        if bookmark.newest is not None:
            state = self.get_context_state(context)
            state["replication_key"] = self.replication_key
            state.update(bookmark.to_state())

    def _load(self, state: Mapping[str, object], server_time: Callable[[], datetime]) -> Bookmark:
        try:
            bookmark = Bookmark.from_state(state, self.tap.settings.lookback)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            message = "the bookmark in the state cannot be read: correct it or leave it out"
            raise SentryError(message) from None
        newest = bookmark.newest
        # Ahead of both clocks, it would skip the records until then.
        if newest and newest > datetime.now(UTC) and newest > server_time():
            message = (
                f"the bookmark in the state, {format_time(newest)}, is ahead of the server's "
                "clock and this machine's: set replication_key_value to the time of the newest "
                "record that your target has, or leave the bookmark out to read everything again"
            )
            raise SentryError(message)
        return bookmark

    def end(self, bookmark: Bookmark, context: Context, server_time: datetime) -> None:
        """Move a bookmark without any records to end_date: that range was read to its end.

        Without end_date it stays: a log without entries is quick to read again.
        """
        end_date = self.tap.settings.end_date
        if bookmark.newest is None and end_date:
            bookmark.newest = min(end_date, server_time - CLOCK_STEP, datetime.now(UTC))
            self.keep(bookmark, context)

    def save_bookmark(self) -> None:
        """Write the bookmark of the partition in progress into the state."""
        if self._unsaved is not None:
            self.keep(*self._unsaved)
            self._unsaved = None

    def unsent(self, rows: Iterable[BookmarkedRow], bookmark: Bookmark) -> Iterator[Record]:
        """Yield the rows of a partition that were not sent before, and count all of them."""
        before, summary = bookmark.newest, self.summary
        for row in rows:
            if bookmark.has(row.key):
                summary.known += 1
                continue
            summary.new += 1
            summary.late += before is not None and row.created < before
            yield row

    def note_reading(self, context: Context, server_time: datetime) -> None:
        """Write into the state when a partition was read to its end, by the server's clock."""
        self.get_context_state(context)[LAST_READ] = format_time(server_time)

    def write_state_if_due(self) -> None:
        """Write a STATE message if none was due here for `STATE_SECONDS`."""
        if time.monotonic() > self._state_due:
            if self.tap.message_writer.has_room_for_state:
                with signals.held:
                    self.save_bookmark()
                    self.tap.state_writer.write_state(self.tap_state)
            self._state_due = time.monotonic() + STATE_SECONDS

    def _increment_stream_state(
        self, latest_record: Record, *, context: Context | None = None
    ) -> None:
        """Move a bookmark past a written record.

        The SDK has no public hook. Its method refuses late records, which lie before the bookmark,
        and lets a date in the future become the bookmark (singer-sdk 0.54.9, helpers/_state.py,
        increment_state).
        """
        if not self.is_written:
            return
        row = latest_record
        assert isinstance(row, BookmarkedRow)  # noqa: S101  (as get_records yielded it)
        row.bookmark.add(row.key, row.created, row.server_time)
        self._unsaved = (row.bookmark, context or {})
