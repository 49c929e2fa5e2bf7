"""The stream `events`: what each project has received since the run before."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from tap_sentry_audit.api.concurrency import WorkerPool
from tap_sentry_audit.api.decoding import decode_objects
from tap_sentry_audit.api.exceptions import ForbiddenError, NotFoundError, SentryError
from tap_sentry_audit.api.pagination import PAGE_SIZE, ListPage, pages, parse_list
from tap_sentry_audit.api.search import search_text
from tap_sentry_audit.api.spool import Spool
from tap_sentry_audit.api.timestamps import parse_time
from tap_sentry_audit.streams.bookmark import VALUE, Bookmark
from tap_sentry_audit.streams.incremental import BookmarkedRow, IncrementalStream
from tap_sentry_audit.streams.lists import Projects
from tap_sentry_audit.streams.progress import LINE_SECONDS, Summary, is_relevant
from tap_sentry_audit.streams.schemas import schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from singer_sdk.helpers.types import Context, Record

    from tap_sentry_audit.api.pagination import Row
    from tap_sentry_audit.api.regions import Region
    from tap_sentry_audit.streams.base import SentryTap

_TICK = 1.0
"""Seconds to wait for a project at a time: a STATE message may be due."""

_SECOND = timedelta(seconds=1)
"""The server's clock is known to a second, rounded up."""

_OVERLAP = 20
"""Pages that events which arrive between two requests can push others back by, and far more."""

_AHEAD = 4
"""Projects that may be read ahead of the output, for each request at once."""


@dataclass(frozen=True, slots=True)
class _Project:
    """One to read, from its bookmark on; or why its bookmark cannot be read."""

    organization: str
    id: str
    slug: str
    base_url: str
    end: datetime
    bookmark: Bookmark | SentryError


@dataclass(frozen=True, slots=True)
class _Walk:
    """The pages of one project, newest first, and the server's clock when they were read."""

    spool: Spool
    server_time: datetime


class Events(IncrementalStream):
    """The events of all projects, each in full: stack traces, tags, contexts."""

    name = "events"
    path = "projects/{organization}/{project}/events/"
    primary_keys = ("projectID", "eventID")
    replication_key = "dateCreated"
    selected_by_default = False
    permission = "the token may not read events. It needs the scope event:read"
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
        self.logger.addFilter(is_relevant)
        self._summary = Summary(what="events")
        self._done = 0
        self._forbidden = 0
        self._missing: list[_Project] = []
        self._line_due = time.monotonic() + LINE_SECONDS

    @property
    def partitions(self) -> list[dict[str, str]]:
        """One partition, and so one bookmark, for each project."""
        return [_context(project) for project in self._projects] if self.selected else []

    def read(self, context: Context) -> Iterator[Record]:
        """Yield the new events of a project, oldest first.

        Projects are read ahead, side by side; here they come in the order of `partitions`. One
        that has been deleted meanwhile is left out, with a warning.
        """
        project = self._projects[self._done]
        self._done += 1
        try:
            walk = self._take()
            if isinstance(project.bookmark, Bookmark):
                with walk.spool:
                    rows = _oldest_first(walk, project.bookmark, project.end)
                    yield from self.unsent(rows, self._summary)
                # What came since the run began is left to the next one.
                self.end(project.bookmark, context, min(walk.server_time, project.end))
        except NotFoundError:
            self._missing.append(project)
        except ForbiddenError:
            self._forbidden += 1
        except SentryError as error:
            self.report(project.organization, error)
        self.write_state_if_due()
        self._say(project)

    @cached_property
    def _projects(self) -> list[_Project]:
        """Every project of every organization that can be read, as the run begins."""
        found = []
        for organization in self.settings.slugs:
            try:
                projects = self._projects_of(organization)
                found += projects[:1] if self.ABORT_AT_RECORD_COUNT == 1 else projects
            except SentryError as error:
                self.report(organization, error)
        return found

    def _projects_of(self, organization: str) -> list[_Project]:
        region = self.tap.client.region(organization)
        end = min(self.settings.end_date or region.server_time, region.server_time)
        earlier = self._earliest_bookmark(organization)
        return [
            _Project(
                organization,
                key,
                slug,
                region.base_url,
                end,
                self._begin(organization, key, earlier or end - _SECOND, region),
            )
            for key, slug in self._slugs(organization).items()
        ]

    def _slugs(self, organization: str) -> dict[str, str]:
        """Return the slugs of an organization's projects by id, as they are now."""
        return {
            str(row["id"]): str(row["slug"])
            for row in Projects(self.tap).rows({"organization": organization})
        }

    def _earliest_bookmark(self, organization: str) -> datetime | None:
        """Return where the first project stands, if a run before has read some.

        A project that is new since then is read from there on, even without back-fill.
        """
        times = [
            parse_time(str(partition[VALUE]))
            for partition in self.stream_state.get("partitions", [])
            if partition.get("context", {}).get("organization") == organization
            and _is_time(partition.get(VALUE))
        ]
        return min(times, default=None)

    def _begin(
        self, organization: str, project: str, past: datetime, region: Region
    ) -> Bookmark | SentryError:
        context = {"organization": organization, "projectID": project}
        lookback = self.settings.lookback
        try:
            return self.begin(
                context, lambda: Bookmark.at(past, lookback), lambda: region.server_time
            )
        except SentryError as error:
            return error

    @cached_property
    def _reading(self) -> WorkerPool[_Project, _Walk]:
        self._summary = self.begin_summary("events")
        threads = self.settings.max_concurrent_requests
        return WorkerPool(self._walk, self._projects, threads, _AHEAD * threads)

    def _take(self) -> _Walk:
        while (walk := self._reading.take(_TICK)) is None:
            self.write_state_if_due()
        return walk

    def _walk(self, project: _Project) -> _Walk:
        """Read a project's events from the newest back to where the run before ended."""
        if isinstance(project.bookmark, SentryError):
            raise project.bookmark
        since = project.bookmark.start
        if since is not None and since >= project.end:
            return _Walk(Spool(), project.end)
        asked = {"full": "1", "per_page": str(PAGE_SIZE)}
        if since is not None:
            # Sentry 23.7.1 does not look at these, so the pages themselves tell where to stop.
            asked |= {"start": search_text(since), "end": search_text(project.end, rounded_up=True)}
        path = self.path.format(organization=project.organization, project=project.slug)

        def fetch(cursor: str | None) -> ListPage:
            parameters = asked | ({"cursor": cursor} if cursor else {})
            return self.tap.client.get(
                path, parameters, _parse_events, self.permission, project.base_url
            )

        spool = Spool()
        for page in pages(fetch):
            self.warn_of_null_rows(project.organization, page.null_rows)
            spool.put(page.body)
            if since and page.rows and min(map(_created, page.rows)) < since:
                break
        return _Walk(spool, page.server_time)

    def _say(self, project: _Project) -> None:
        """Tell how far it is, now and then and at an organization's end."""
        organization = project.organization
        count, last = self._sizes[organization]
        if self._done == last:
            self.end_summary(organization, self._summary)
            if self._forbidden:
                what = f"{self._forbidden} of {count} projects: {self.permission}"
                self.report(organization, what)
            if self._missing:
                self._say_missing(organization)
            self._summary = self.begin_summary("events")
            self._forbidden, self._missing = 0, []
        elif time.monotonic() > self._line_due:
            self._line_due = time.monotonic() + LINE_SECONDS
            self.logger.info(
                "%s: %d of %d projects, %s events",
                organization,
                self._done - (last - count),
                count,
                f"{self._summary.new:,}",
            )

    def _say_missing(self, organization: str) -> None:
        """Tell of projects that answered 404: deleted or renamed meanwhile, or not to be read."""
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
                    "%s: project %s is left out: it is no longer there", organization, project.slug
                )

    @cached_property
    def _sizes(self) -> dict[str, tuple[int, int]]:
        """For each organization the number of its projects, and how many come up to its last."""
        ends = {project.organization: n for n, project in enumerate(self._projects, start=1)}
        counts = Counter(project.organization for project in self._projects)
        return {organization: (counts[organization], end) for organization, end in ends.items()}


def _context(project: _Project) -> dict[str, str]:
    # By its id: a project that gets another slug keeps its bookmark.
    return {"organization": project.organization, "projectID": project.id}


def _oldest_first(walk: _Walk, bookmark: Bookmark, end: datetime) -> Iterator[BookmarkedRow]:
    """Yield the events of a range, each once: what arrives pushes others to the next page too."""
    start = bookmark.start
    sent: deque[set[str]] = deque(maxlen=_OVERLAP)
    for body in walk.spool.backwards():
        rows = {str(row["eventID"]): (_created(row), row) for row in decode_objects(body) if row}
        sent.append(set(rows))
        before = set().union(*list(sent)[:-1])
        for key, (created, row) in sorted(rows.items(), key=lambda item: (item[1][0], item[0])):
            if key not in before and created < end and (start is None or created >= start):
                yield BookmarkedRow(row, bookmark, key, created, walk.server_time)


def _parse_events(body: bytes, headers: Mapping[str, str]) -> ListPage:
    return parse_list(body, headers, "eventID", "projectID", time="dateCreated")


def _is_time(text: object) -> bool:
    try:
        parse_time(str(text))
    except (OverflowError, ValueError):
        return False
    return True


def _created(row: Row) -> datetime:
    return parse_time(str(row["dateCreated"]))
