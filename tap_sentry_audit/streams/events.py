"""The stream `events`: the events that each project has received since the last run."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING

from tap_sentry_audit.api.concurrency import WorkerPool
from tap_sentry_audit.api.decoding import decode_objects
from tap_sentry_audit.api.exceptions import ForbiddenError, NotFoundError, SentryError
from tap_sentry_audit.api.pagination import PAGE_SIZE, pages
from tap_sentry_audit.api.search import search_text
from tap_sentry_audit.api.spool import Spool
from tap_sentry_audit.api.timestamps import parse_time
from tap_sentry_audit.streams.bookmark import CLOCK_STEP, VALUE, Bookmark
from tap_sentry_audit.streams.incremental import BookmarkedRow, IncrementalStream
from tap_sentry_audit.streams.lists import Projects
from tap_sentry_audit.streams.schemas import schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from singer_sdk.helpers.types import Context, Record

    from tap_sentry_audit.api.pagination import Row
    from tap_sentry_audit.streams.base import SentryTap

_TICK = 1.0
"""Seconds between two looks whether a STATE message is due, while a project is awaited."""

_OVERLAP = 20
"""Far more pages than events arriving between two requests can push others back by."""

_AHEAD = 4
"""Projects that each thread may read ahead of the output."""


@dataclass(frozen=True, slots=True)
class _Project:
    """Project `number` of the `count` in its organization, and what to read of it.

    `bookmark` is an error if the state's cannot be used. `end` is exclusive.
    """

    organization: str
    id: str
    slug: str
    number: int
    count: int
    end: datetime
    bookmark: Bookmark | SentryError


class Events(IncrementalStream):
    """The events of all projects, each in full: stack traces, tags, contexts."""

    name = "events"
    path = "projects/{organization}/{project}/events/"
    primary_keys = ("projectID", "eventID")
    replication_key = time_field = "dateCreated"
    required_fields = ("eventID", "projectID")
    selected_by_default = False
    scopes = ("event:read", Projects.scopes[0])  # the second lists the projects
    schema = schema_of(
        string="eventID projectID id groupID dist message title location platform type culprit "
        "nextEventID previousEventID",
        integer="size",
        object="user contexts sdk context packages metadata occurrence _meta groupingConfig "
        "crashFile release userReport",
        array="entries tags errors fingerprints sdkUpdates resolvedWith",
        time="dateCreated dateReceived",
    )

    def __init__(self, tap: SentryTap) -> None:
        """Make the stream."""
        super().__init__(tap)
        self._done = 0
        self._forbidden: list[ForbiddenError] = []
        self._missing: list[_Project] = []

    @property
    def partitions(self) -> list[dict[str, str]]:
        """One partition, and so one bookmark, for each project."""
        projects = self._projects if self.is_read else []
        return [_context(project.organization, project.id) for project in projects]

    def read(self, context: Context) -> Iterator[Record]:
        """Yield the new events of a project, oldest first.

        Threads read ahead; the SDK asks for projects in the order of `partitions`. A project that
        was deleted meanwhile is left out, with a warning.
        """
        project = self._projects[self._done]
        self._done += 1
        try:
            spool, server_time = self._take()
            if isinstance(project.bookmark, Bookmark):
                with spool:
                    rows = _oldest_first(spool, project.bookmark, project.end, server_time)
                    yield from self.unsent(rows, project.bookmark)
                # Events since the run started are left to the next one.
                self.end(project.bookmark, context, min(server_time, project.end))
                self._end_without_events(project, context)
                self.summary.newest = project.bookmark.newest
        except NotFoundError:
            self._missing.append(project)
        except ForbiddenError as error:
            self._forbidden.append(error)
        except OSError:  # stdout is closed, or the disk is full
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is, it stops one project)
            self.report_failure(project.organization, error)
        self.write_state_if_due()
        self.progress.show(self.summary.new, project.number / project.count)
        if project.number == project.count:
            self._end_organization(project)

    def _end_without_events(self, project: _Project, context: Context) -> None:
        """Give a project without events a bookmark: the next run need not read all time again."""
        bookmark = project.bookmark
        if isinstance(bookmark, Bookmark) and bookmark.newest is None:
            bookmark.newest = min(project.end - CLOCK_STEP, datetime.now(UTC))
            self.keep(bookmark, context)

    @cached_property
    def _projects(self) -> list[_Project]:
        """Every project of every organization that can be read, as the run starts."""
        found = []
        for organization in self.tap.settings.slugs:
            try:
                found += self._projects_of(organization)
            except Exception as error:  # noqa: BLE001  (whatever it is, it stops one organization)
                self.report_failure(organization, error)
        return found

    def _projects_of(self, organization: str) -> list[_Project]:
        server_time = self.tap.client.region(organization).server_time
        settings = self.tap.settings
        end = min(settings.end_date or server_time, server_time)
        new_from = self._earliest_bookmark(organization) or end - CLOCK_STEP
        past = partial(Bookmark.at, new_from, settings.lookback)
        slugs = self._slugs(organization)
        count = 1 if self.tap.is_test else len(slugs)
        projects = []
        for number, (key, slug) in enumerate(slugs.items(), start=1):
            context = _context(organization, key)
            bookmark: Bookmark | SentryError
            try:
                bookmark = self.begin(self.given_state(context), past, lambda: server_time)
                self.keep_first(bookmark, context)
            except SentryError as error:
                bookmark = error
            projects.append(_Project(organization, key, slug, number, count, end, bookmark))
        return projects[:count]

    def _slugs(self, organization: str) -> dict[str, str]:
        """Return the current slugs of an organization's projects by id."""
        return {
            str(row["id"]): str(row["slug"])
            for row in Projects(self.tap).rows({"organization": organization})
        }

    def _earliest_bookmark(self, organization: str) -> datetime | None:
        """Return the earliest bookmark of an organization's projects, if earlier runs left any.

        Projects that are new since then are read from there on, even without backfill.
        """
        times = []
        for partition in self.stream_state.get("partitions", []):
            if partition["context"]["organization"] == organization:
                with suppress(KeyError, OverflowError, ValueError):
                    times.append(parse_time(partition[VALUE]))
        return min(times, default=None)

    @cached_property
    def _reading(self) -> WorkerPool[_Project, tuple[Spool, datetime]]:
        threads = self.tap.settings.max_concurrent_requests
        return WorkerPool(self._walk, self._projects, threads, _AHEAD * threads)

    def _take(self) -> tuple[Spool, datetime]:
        while (walk := self._reading.take(_TICK)) is None:
            self.write_state_if_due()
        return walk

    def _walk(self, project: _Project) -> tuple[Spool, datetime]:
        """Read a project's events from the newest back to where the last run ended.

        Return the pages in that order, and the server's clock when they were read.
        """
        if isinstance(project.bookmark, SentryError):
            raise project.bookmark
        since = project.bookmark.start
        if since is not None and since >= project.end:
            return Spool(), project.end
        parameters = {"full": "1", "per_page": str(PAGE_SIZE)}
        if since is not None:
            # Sentry 23.7.1 ignores these, so the pages themselves show where to stop.
            parameters["start"] = search_text(since)
            parameters["end"] = search_text(project.end, rounded_up=True)
        context = {"organization": project.organization, "project": project.slug}
        with ExitStack() as stack:
            spool = stack.enter_context(Spool())
            for page in pages(partial(self.get_page, context, parameters)):
                self.warn_of_null_rows(project.organization, page.null_rows)
                spool.put(page.body)
                if since and page.rows and min(map(_created, page.rows)) < since:
                    break
            stack.pop_all()  # `read` closes it
        return spool, page.server_time

    def _end_organization(self, project: _Project) -> None:
        """Report projects that could not be read; this was the last one."""
        organization = project.organization
        self.summary.organizations = 1
        if self._forbidden:
            error = self.explain(organization, self._forbidden[0])
            error.cause = f"{len(self._forbidden)} of {project.count} projects: {error.cause}"
            self.report(organization, error)
        if self._missing:
            self._report_missing(organization)
        self._forbidden, self._missing = [], []

    def _report_missing(self, organization: str) -> None:
        """Report projects that answered 404: deleted or renamed meanwhile, or not readable."""
        try:
            slugs = self._slugs(organization)
        except SentryError as error:
            self.report(organization, error)
            return
        for project in self._missing:
            if slugs.get(project.id) == project.slug:
                self.report(organization, f"the events of project {project.slug} cannot be read")
            else:
                self.logger.warning(
                    "%s: project %s is left out: it no longer exists", organization, project.slug
                )


def _context(organization: str, project_id: str) -> dict[str, str]:
    # By id: a project that gets another slug keeps its bookmark.
    return {"organization": organization, "projectID": project_id}


def _oldest_first(
    spool: Spool, bookmark: Bookmark, end: datetime, server_time: datetime
) -> Iterator[BookmarkedRow]:
    """Yield the events of a range, each once: new events push others to the next page, too."""
    start = bookmark.start
    sent: deque[set[str]] = deque(maxlen=_OVERLAP)
    for body in spool.backwards():
        rows = {str(row["eventID"]): (_created(row), row) for row in decode_objects(body) if row}
        sent.append(set(rows))
        before = set().union(*list(sent)[:-1])
        for key, (created, row) in sorted(rows.items(), key=lambda item: (item[1][0], item[0])):
            if key not in before and created < end and (start is None or created >= start):
                yield BookmarkedRow(row, bookmark, key, created, server_time)


def _created(row: Row) -> datetime:
    return parse_time(str(row["dateCreated"]))
