"""The stream `audit_logs`: the reader's entries as Singer records, and the bookmark as state."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from singer_sdk.helpers.conform import TypeConformanceLevel

from tap_sentry_audit import schema
from tap_sentry_audit.backwards import read_backwards
from tap_sentry_audit.bookmark import VALUE, Bookmark
from tap_sentry_audit.client import SentryStream
from tap_sentry_audit.errors import Refused, SentryError
from tap_sentry_audit.pages import Query, path, read_page
from tap_sentry_audit.progress import Progress, Tally
from tap_sentry_audit.reader import CursorIgnored, read
from tap_sentry_audit.record import record_of
from tap_sentry_audit.times import EPOCH, time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from singer_sdk.helpers.types import Context, Record

    from tap_sentry_audit.pages import Entry, Page
    from tap_sentry_audit.reader import Stretch
    from tap_sentry_audit.tap import TapSentryAudit

STATE_SECONDS = 10
"""A STATE message comes at least so often, while records do."""


class AuditLogs(SentryStream):
    """Who did what, when and from where, in each configured organization."""

    name = "audit_logs"
    path = path("{organization}")
    primary_keys = ("id",)
    replication_key = "dateCreated"
    schema = schema.AUDIT_LOGS
    permission = (
        "the token may not read this organization's audit log. It needs the scope org:write "
        "(an internal integration: Organization Read & Write), its user the role Owner or "
        "Manager; on sentry.io the organization needs a Business plan"
    )
    is_sorted = True
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.ROOT_ONLY
    STATE_MSG_FREQUENCY = 1000

    def __init__(self, tap: TapSentryAudit) -> None:
        """Make the stream."""
        super().__init__(tap)
        self._failed: list[str] = []
        self._bookmark = Bookmark(timedelta())
        self._written = (EPOCH, EPOCH)

    @property
    def partitions(self) -> list[dict[str, str]]:
        """One partition, and so one bookmark, for each organization."""
        return [{"organization": slug} for slug in self.settings.organizations]

    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        """Set no limit to the bookmark here: `Bookmark` holds it to the server's clock."""

    def compare_start_date(self, value: str, start_date_value: str) -> str:
        """Go on from the bookmark, whatever start_date says: it is for a first run."""
        del start_date_value
        return value

    def get_records(self, context: Context | None) -> Iterator[Record]:
        """Yield an organization's new entries, oldest first.

        An organization that cannot be read is reported and the next one is read; in the end
        the run fails (`log_sync_costs`).
        """
        organization = (context or {})["organization"]
        testing = self.ABORT_AT_RECORD_COUNT == 1
        try:
            yield from (self._test(organization) if testing else self._read(organization, context))
        except SentryError as error:
            self._failed.append(organization)
            self.logger.error("%s: %s", organization, error)  # noqa: TRY400  (for a person)
        if testing and organization == self.settings.organizations[-1]:
            self.log_sync_costs()

    def log_sync_costs(self) -> None:
        """End the run with an error if an organization could not be read.

        This is the SDK's last call to a stream: all the others have finished, and every
        STATE message is written.
        """
        super().log_sync_costs()
        if self._failed:
            raise SystemExit(1)

    def _test(self, organization: str) -> Iterator[Record]:
        """Ask once for each organization. Only the first may yield: the SDK stops at two."""
        page = self._fetch(organization, Query(cursor=None))
        self.logger.info("%s: the audit log can be read", organization)
        if organization == self.settings.organizations[0]:
            for entry in page.entries[:1]:
                yield record_of(entry, organization, redact_secrets=self.settings.redact_secrets)

    def _read(self, organization: str, context: Context | None) -> Iterator[Record]:
        def fetch(query: Query) -> Page:
            return self._fetch(organization, query)

        tally = Tally(requests=-self.pacer.requests, waited=-self.pacer.waited)
        state = self.get_context_state(context)
        bookmark = self._bookmark = self._begin(state, fetch)
        before = bookmark.newest
        redact_secrets = self.settings.redact_secrets
        state_due = time.monotonic() + STATE_SECONDS
        with Progress(organization, self.logger) as progress:
            for stretch in self._stretches(organization, fetch, bookmark):
                for entry in self._checked(organization, stretch, tally):
                    if bookmark.has(entry):
                        tally.known += 1
                        continue
                    if not tally.new:
                        self._keep(bookmark, state)
                    tally.new += 1
                    tally.late += before is not None and entry.created < before
                    self._written = (entry.created, stretch.server_time)
                    self.tap.hold_signals()
                    yield record_of(entry, organization, redact_secrets=redact_secrets)
                    self.tap.release_signals()
                if time.monotonic() > state_due:
                    self.tap.hold_signals()
                    self.tap.state_writer.write_state(self.tap_state)
                    self.tap.release_signals()
                    state_due = time.monotonic() + STATE_SECONDS
                if tally.last:
                    end = min(self.settings.end or stretch.server_time, stretch.server_time)
                    progress.show(tally.new + tally.known, tally.last, end)
        tally.requests += self.pacer.requests
        tally.waited += self.pacer.waited
        self.logger.info("%s: %s", organization, tally)

    def _stretches(
        self, organization: str, fetch: Callable[[Query], Page], bookmark: Bookmark
    ) -> Iterator[Stretch]:
        end = self.settings.end
        has_begun = False
        try:
            for stretch in read(fetch, bookmark.start, end, self.pacer.width):
                has_begun = has_begun or bool(stretch.entries)
                yield stretch
        except (CursorIgnored, Refused) as error:
            if has_begun:
                # What was delivered is not all known any more, so it must not be read again.
                message = "the server no longer answers what it is asked; run again"
                raise SentryError(message) from error
            self.logger.warning(
                "%s: this server does not take cursors that it did not make. Its own are "
                "followed, which is slower; where entries share a time, it may lose some",
                organization,
            )
            yield from read_backwards(fetch, bookmark.start, end)

    def _checked(self, organization: str, stretch: Stretch, tally: Tally) -> list[Entry]:
        """Count a stretch, and say what the server did not show of it."""
        if stretch.entries:
            tally.first = tally.first or stretch.entries[0].created
            tally.last = stretch.entries[-1].created
        if stretch.null_rows:
            tally.null_rows += stretch.null_rows
            self.logger.warning(
                "%s: Sentry could not show %d entries (null rows)", organization, stretch.null_rows
            )
        if stretch.unproved and stretch.entries:
            self._failed.append(organization)
            self.logger.error(
                "%s: at %s Sentry counts %d entries more than it shows",
                organization,
                time_text(stretch.entries[0].created),
                stretch.unproved,
            )
        return stretch.entries

    def _begin(self, state: dict[str, object], fetch: Callable[[Query], Page]) -> Bookmark:
        """Return the bookmark to go on from: the partition's, the stream's, or a new one."""
        lookback = self.settings.lookback
        for earlier in (state, self.stream_state):
            if earlier.get(VALUE):
                try:
                    return Bookmark.from_state(earlier, lookback)
                except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
                    message = "the bookmark in the state cannot be read: mend it or leave it out"
                    raise SentryError(message) from None
        if self.settings.backfill:
            return Bookmark(lookback, since=self.settings.start)
        bookmark = _past(fetch, lookback)
        self._keep(bookmark, state)
        return bookmark

    def _keep(self, bookmark: Bookmark, state: dict[str, object]) -> None:
        state["replication_key"] = self.replication_key
        bookmark.keep_in(state)

    def _increment_stream_state(
        self,
        latest_record: Record,
        *,
        context: Context | None = None,
    ) -> None:
        """Note a written record in the state.

        The SDK has no public hook for it. Its own would refuse late entries, which lie before
        the bookmark, and would let a date in the future become the bookmark.
        """
        del context
        created, server_time = self._written
        self._bookmark.add(latest_record["id"], created, server_time, latest_record["dateCreated"])

    def _fetch(self, organization: str, query: Query) -> Page:
        return self.get(path(organization), query.parameters(), read_page)


def _past(fetch: Callable[[Query], Page], lookback: timedelta) -> Bookmark:
    """Return a bookmark behind all that the log holds."""
    page = fetch(Query(cursor=None))
    newest = page.entries[-1].created if page.entries else EPOCH
    bookmark = Bookmark(lookback, since=max(EPOCH, min(newest, page.server_time) - lookback))
    bookmark.newest = bookmark.start
    for stretch in read(fetch, bookmark.start, None):
        for entry in stretch.entries:
            bookmark.add(entry.id, entry.created, stretch.server_time)
    return bookmark
