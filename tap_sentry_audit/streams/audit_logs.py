"""The stream `audit_logs`: the reader's entries as Singer records, and the bookmark as state."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tap_sentry_audit.api.exceptions import Refused, SentryError
from tap_sentry_audit.api.timestamps import EPOCH
from tap_sentry_audit.audit_log.fallback import read_backwards
from tap_sentry_audit.audit_log.pages import Query, path, read_page
from tap_sentry_audit.audit_log.reader import CursorIgnored, read_range
from tap_sentry_audit.streams import schemas as schema
from tap_sentry_audit.streams.bookmark import Bookmark
from tap_sentry_audit.streams.incremental import IncrementalStream, Written
from tap_sentry_audit.streams.progress import Progress
from tap_sentry_audit.streams.records import record_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta

    from singer_sdk.helpers.types import Context, Record

    from tap_sentry_audit.audit_log.pages import Entry, Page
    from tap_sentry_audit.audit_log.reader import Stretch
    from tap_sentry_audit.streams.progress import Tally


class AuditLogs(IncrementalStream):
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

    @property
    def partitions(self) -> list[dict[str, str]]:
        """One partition, and so one bookmark, for each organization."""
        return [{"organization": slug} for slug in self.settings.organizations]

    def read(self, organization: str, context: Context | None) -> Iterator[Record]:
        """Yield an organization's new entries, oldest first."""

        def fetch(query: Query) -> Page:
            return self._fetch(organization, query)

        tally = self.begin_tally("entries")
        state = self.get_context_state(context)
        lookback = self.settings.lookback
        bookmark = self._bookmark = self.begin(
            state, lambda: _past(fetch, lookback), lambda: fetch(Query(cursor=None)).server_time
        )
        before = bookmark.newest
        server_time: datetime | None = None
        redact_secrets = self.settings.redact_secrets
        with Progress(organization, self.logger) as progress:
            for stretch in self._stretches(organization, fetch, bookmark):
                server_time = server_time or stretch.server_time
                for entry in self._checked(organization, stretch, tally):
                    if bookmark.has(entry.id):
                        tally.known += 1
                        continue
                    if not tally.new:
                        self.keep(bookmark, state)
                    tally.new += 1
                    tally.late += before is not None and entry.created < before
                    self._written = Written(entry.id, entry.created, stretch.server_time)
                    self.tap.hold_signals()
                    yield record_of(entry, organization, redact_secrets=redact_secrets)
                    self.tap.release_signals()
                self.write_state_if_due()
                if tally.last:
                    end = min(self.settings.end or stretch.server_time, stretch.server_time)
                    progress.show(tally.new + tally.known, tally.last, end)
        if server_time and not tally.null_rows:
            self.end(bookmark, state, server_time)
        self.end_tally(organization, tally)

    def log_sync_costs(self) -> None:
        """Warn at the end of a run that did not read the audit log.

        This is the one public call that the SDK makes to streams that are not selected too, and
        to the first stream before another can end the run with an error.
        """
        if not self.selected:
            self.logger.warning(
                "The stream audit_logs is not selected: this run did not read the audit log. To "
                "select it, run `meltano select %s audit_logs '*'` or mark it in the catalog",
                self.tap.name,
            )
        super().log_sync_costs()

    def _stretches(
        self, organization: str, fetch: Callable[[Query], Page], bookmark: Bookmark
    ) -> Iterator[Stretch]:
        end = self.settings.end
        has_begun = False
        try:
            for stretch in read_range(fetch, bookmark.start, end, self.pacer.width):
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
        if stretch.problem:
            self.report(organization, f"entries may be missing: {stretch.problem}")
        return stretch.entries

    def _fetch(self, organization: str, query: Query) -> Page:
        return self.get(path(organization), query.parameters(), read_page)


def _past(fetch: Callable[[Query], Page], lookback: timedelta) -> Bookmark:
    """Return a bookmark behind all that the log holds."""
    page = fetch(Query(cursor=None))
    newest = page.entries[-1].created if page.entries else EPOCH
    newest = min(newest, page.server_time, datetime.now(UTC))
    bookmark = Bookmark(lookback, since=max(EPOCH, newest - lookback))
    bookmark.newest = bookmark.start
    for stretch in read_range(fetch, bookmark.start, None):
        for entry in stretch.entries:
            bookmark.add(entry.id, entry.created, stretch.server_time)
    return bookmark
