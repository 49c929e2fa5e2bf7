"""The stream `audit_logs`: audit entries as Singer records, with the bookmark as state."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING

from tap_sentry_audit.api.access import AUDIT_LOG
from tap_sentry_audit.api.concurrency import ReadAhead
from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.api.timestamps import EPOCH
from tap_sentry_audit.audit_log.fallback import read_log
from tap_sentry_audit.audit_log.pages import Query, fetch_from, path
from tap_sentry_audit.audit_log.reader import fetch_first
from tap_sentry_audit.streams.bookmark import Bookmark
from tap_sentry_audit.streams.incremental import BookmarkedRow, IncrementalStream
from tap_sentry_audit.streams.progress import Span
from tap_sentry_audit.streams.records import make_audit_record
from tap_sentry_audit.streams.redaction import mask_audit_record
from tap_sentry_audit.streams.schemas import ADDITIONAL, AUDIT_LOGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from singer_sdk.helpers.types import Context, Record

    from tap_sentry_audit.api.concurrency import Attempt
    from tap_sentry_audit.audit_log.pages import Fetch
    from tap_sentry_audit.audit_log.segments import Chunk
    from tap_sentry_audit.streams.base import SentryTap


_TICK = 0.1
"""Seconds between two looks at an organization that is awaited."""

_PATIENCE = 0.2
"""Seconds for which an organization's requests may fail before others go first."""


@dataclass(frozen=True, slots=True)
class _Log:
    """An organization's log: where to continue, and a `fetch` that has the first page already."""

    bookmark: Bookmark
    fetch: Fetch


class AuditLogs(IncrementalStream):
    """Who did what, when and from where, in each configured organization."""

    name = "audit_logs"
    path = path("{organization}")
    primary_keys = ("id",)
    replication_key = "dateCreated"
    schema = AUDIT_LOGS
    scopes = (AUDIT_LOG,)

    def __init__(self, tap: SentryTap) -> None:
        """Make the stream."""
        super().__init__(tap)
        self._put_off: set[str] = set()

    @property
    def nouns(self) -> tuple[str, str]:
        """What log lines call one record, and many."""
        return "entry", "entries"

    @cached_property
    def partitions(self) -> list[dict[str, str]]:
        """One partition for each organization; one that is put off comes again at the end.

        The SDK iterates over this list while `read` appends to it.
        """
        return super().partitions

    def read(self, context: Context) -> Iterator[Record]:
        """Yield an organization's new entries, oldest first."""
        organization = context["organization"]
        log = self._take(context)
        if log is None:
            return
        self.keep_first(log.bookmark, context)
        bookmark, summary = log.bookmark, self.summary
        before = bookmark.newest
        server_time: datetime | None = None
        span = Span(lambda: self._newest(log.fetch))
        for chunk in self._chunks(organization, log.fetch, bookmark):
            if server_time is None:
                bookmark.begin_reading(chunk.server_time)
            server_time = chunk.server_time
            self._check(organization, chunk)
            for entry in chunk.entries:
                if bookmark.has(entry.id):
                    summary.known += 1
                    continue
                summary.new += 1
                summary.late += before is not None and entry.created < before
                yield BookmarkedRow(entry.row, bookmark, entry.id, entry.created, chunk.server_time)
            self.write_state_if_due()
            if chunk.entries:
                reached = chunk.entries[-1].created
                self.progress.show(len(chunk.entries), span.reach(reached), reached)
        bookmark.end_reading()
        if summary.new:
            self.keep(bookmark, context)
        if server_time and not summary.null_rows:
            self.end(bookmark, context, server_time)
        end_date = self.tap.settings.end_date
        if server_time and (end_date is None or end_date >= server_time):
            self.note_reading(context, server_time)
        summary.newest = bookmark.newest
        summary.requests = self._logs.attempts(organization)
        summary.organizations = 1

    def newest_records(self, organization: str, count: int) -> list[Record]:
        """Return an organization's newest entries as records, oldest first.

        Raises:
            SentryError: They cannot be read.

        """
        page = fetch_from(self.tap.client, organization)(Query(cursor=None, rows=count))
        context = {"organization": organization}
        return [self.post_process(entry.row, context) for entry in page.entries[-count:]]

    def _newest(self, fetch: Fetch) -> datetime:
        """Return the time up to which there is something to read."""
        newest = datetime.now(UTC)
        with suppress(SentryError):  # it is only for people to see
            for entry in fetch(Query(cursor=None, rows=1)).entries:
                newest = entry.created
        return min(newest, self.tap.settings.end_date or newest)

    def post_process(self, row: Record, context: Context | None = None) -> Record:
        """Return the record of an entry."""
        record = make_audit_record(row, (context or {})["organization"])
        if self.tap.settings.redact_secrets:
            mask_audit_record(record)
        if record[ADDITIONAL] is None and ADDITIONAL not in self.effective_schema["properties"]:
            # A catalog of 0.1.1 or before: the SDK would warn of a field that holds nothing.
            del record[ADDITIONAL]
        return record

    def log_sync_costs(self) -> None:
        """Warn at the end of a run that did not read the audit log.

        This is the one public method that the SDK also calls on deselected streams. It calls the
        first stream before another one can end the run with an error.
        """
        if not self.selected:
            self.logger.warning(
                "The stream audit_logs is not selected: this run did not read the audit log. To "
                "select it, run `meltano select %s audit_logs '*'` or mark it in the catalog",
                self.tap.name,
            )
        super().log_sync_costs()

    @cached_property
    def _logs(self) -> ReadAhead[str, _Log]:
        """The logs of all organizations, each with its first page, read side by side."""
        given = {each["organization"]: self.given_state(each) for each in self.partitions}

        def begin(organization: str, attempt: Attempt) -> _Log:
            fetch = fetch_from(
                self.tap.client,
                organization,
                on_odd_rows=partial(self.report, organization),
                attempt=attempt,
            )
            bookmark = self.begin(
                given[organization],
                lambda: self._past(organization, fetch),
                lambda: fetch(Query(cursor=None)).server_time,
            )
            return _Log(bookmark, fetch_first(fetch, bookmark.start))

        return ReadAhead(begin, given, self.tap.settings.max_concurrent_requests)

    def _take(self, context: Context) -> _Log | None:
        """Return an organization's log, or None if it is put off because its requests fail."""
        organization = context["organization"]
        while (log := self._logs.take(organization, _TICK)) is None:
            self.write_state_if_due()
            if organization in self._put_off or self.tap.is_test:
                continue
            if self._logs.is_failing(organization, _PATIENCE):
                self._put_off.add(organization)
                self.partitions.append(dict(context))
                return None
        return log

    def _chunks(self, organization: str, fetch: Fetch, bookmark: Bookmark) -> Iterator[Chunk]:
        warn = partial(
            self.logger.warning,
            "%s: this server does not accept cursors that it did not make. The tap "
            "follows its own, which is slower and may lose entries that share a time",
            organization,
        )
        width = self.tap.client.rate_limiter.width
        return read_log(fetch, bookmark.start, self.tap.settings.end_date, width, warn)

    def _past(self, organization: str, fetch: Fetch) -> Bookmark:
        """Return a bookmark after all entries of the log."""
        lookback = self.tap.settings.lookback
        page = fetch(Query(cursor=None))
        newest = page.entries[-1].created if page.entries else EPOCH
        since = max(EPOCH, min(newest, page.server_time, datetime.now(UTC)) - lookback)
        bookmark = Bookmark(lookback, since, since)
        for chunk in self._chunks(organization, fetch, bookmark):
            for entry in chunk.entries:
                bookmark.add(entry.id, entry.created, chunk.server_time)
        return bookmark

    def _check(self, organization: str, chunk: Chunk) -> None:
        """Count and report what the server did not show."""
        # Odd rows have been reported when their page came.
        null_rows = max(0, chunk.null_rows - chunk.odd_rows)
        self.summary.null_rows += null_rows
        self.warn_of_null_rows(organization, null_rows)
        if chunk.problem:
            self.report(organization, f"entries may be missing: {chunk.problem}")
