"""Reads a list that the server orders by date alone without loss. Sentry's releases are one.

Sentry 23.7.1 pages releases by OFFSET over `date_added DESC`. Releases of one date have no order
among themselves, and PostgreSQL may choose another one for the next page: of 2,438 releases, 43
never came, the same ones in every walk. A release that is deleted during a walk moves all those
after it up one place, and the next page starts one release too late.

So each page is requested by date, from just above the end of the one before. A response is a
single query on the server: whatever appears, disappears or changes places between two of them, a
release that exists from the first to the last is in one of them.

Where one date has more releases than a page, offsets are the only way. A walk over them passes as
many rows as there are, in whatever order; if different queries show as many different releases,
none is missing. Otherwise the reader reports the gap.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from tap_sentry_audit.api.exceptions import AccessDeniedError, BadRequestError, SentryError
from tap_sentry_audit.api.pagination import PAGE_SIZE, pages
from tap_sentry_audit.api.timestamps import EPOCH, format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from tap_sentry_audit.api.pagination import ListPage

    Fetch = Callable[[Mapping[str, str]], ListPage]

MOST_WALKS = 6
"""Walks over one date, or over a list that cannot be read by date."""

_FEWER_ROWS = 3
"""By how many rows the pages of each walk are shorter than those of the walk before."""

_MARGIN = timedelta(milliseconds=1)
"""Added to each range, for servers that exclude its end or truncate its digits."""


class _NotByDateError(Exception):
    """The server does not follow `start` and `end`, or does not order by `dateCreated`.

    A Sentry of 2020 orders releases by `dateReleased` where there is one.
    """


def read_whole(first: ListPage, fetch: Fetch) -> Iterator[ListPage]:
    """Yield pages that together hold every row of a list, some rows more than once.

    `first` is the list's first page. `fetch` requests another one, given the parameters that
    differ from that request's: `start` and `end` (UTC, both inclusive), `cursor`, `per_page`
    and `project`. Rows have an `id`, and a `dateCreated` by which the server orders them, newest
    first. Rows from before 1970 are not read.

    The pages include every row that exists from the first request to the last, and perhaps rows
    that are added or deleted in between. A row can still get lost unnoticed, on a server that does
    not accept dates or inside a date of several pages, if one row is added and one is deleted
    during the same walk.

    Raises:
        SentryError: A request failed; or, after the last page, more rows were counted than shown.

    """
    try:
        gaps = yield from _read_by_date(first, fetch)
    except _NotByDateError:
        gaps = yield from _read_by_walks(fetch, _Span())
    if gaps:
        message = f"some rows may be missing, so run the tap again: {'; '.join(gaps)}"
        raise SentryError(message)


def _read_by_date(first: ListPage, fetch: Fetch) -> Generator[ListPage, None, list[str]]:
    """Yield the pages of a list, and return descriptions of its gaps."""
    gaps: list[str] = []
    page, span, is_second_try = first, _Span(), False
    while True:
        yield page
        if page.older is None:
            return gaps
        if not page.rows:
            # Null rows have no date to continue from.
            for following in span.pages(fetch, page.older):
                page = following
                if page.rows or page.older is None:
                    break
                yield page
            continue
        oldest, last = span.times(page)[-1], page.rows[-1]
        below = _Span(EPOCH, oldest + _MARGIN)
        following = below.fetch(fetch)
        times = below.times(following)
        if following.older and times and times[-1] >= oldest:
            # The span overlaps with the next page, in case the server excludes either end.
            gaps += yield from _read_by_walks(fetch, _Span(oldest - 2 * _MARGIN, oldest + _MARGIN))
            span = _Span(EPOCH, oldest - _MARGIN)
            page, is_second_try = span.fetch(fetch), False
        elif any(row["id"] == last["id"] for row in following.rows):
            page, span, is_second_try = following, below, False
        else:
            # The last row was deleted in between, or the server omits rows of the span.
            page = span.fetch(fetch)
            if is_second_try or any(row["id"] == last["id"] for row in page.rows):
                raise _NotByDateError
            is_second_try = True


def _read_by_walks(fetch: Fetch, span: _Span) -> Generator[ListPage, None, list[str]]:
    """Yield the pages of walks over offsets, until two in a row prove that nothing is missing.

    If none do, return a description of the gap.
    """
    walks: list[_Walk] = []
    for number in range(MOST_WALKS):
        walk = _Walk()
        walks.append(walk)
        # Another page size moves the page borders to other rows.
        for page in span.pages(fetch, per_page=str(PAGE_SIZE - number * _FEWER_ROWS)):
            walk.passed += len(page.rows) + page.null_rows
            walk.null_rows += page.null_rows
            walk.add(page)
            yield replace(page, null_rows=0) if number else page
        walk.repeats = walk.passed - walk.null_rows - len(walk.ids)
        if span.start is not None and not walk.passed:
            # A moment ago there was more than a page of them.
            raise _NotByDateError
        for project in sorted(walk.projects) if number else []:
            if _are_complete(walks):
                break
            try:
                for page in span.pages(fetch, project=project):
                    walk.add(page)
                    yield replace(page, null_rows=0)
            except (AccessDeniedError, BadRequestError):
                # A release names all of its projects, even those that the token may not read.
                continue
        if _are_complete(walks):
            return []
    numbers = ", ".join(f"{walk.passed:,}" for walk in walks)
    shown = len(set().union(*(walk.ids for walk in walks)))
    null_rows = max(walk.most_null_rows for walk in walks)
    null = f", at least {null_rows:,} of them null rows," if null_rows else ""
    walked = f"{MOST_WALKS} passes over {span} read {numbers} rows{null}"
    return [f"{walked} but showed {shown:,} different ones"]


@dataclass
class _Walk:
    """What a walk over all offsets passed, and what it and the queries after it showed.

    `passed` includes null rows and repeated ones; `most_null_rows` came in a single page.
    """

    passed: int = 0
    null_rows: int = 0
    repeats: int = 0
    most_null_rows: int = 0
    ids: set[str] = field(default_factory=set)
    projects: set[str] = field(default_factory=set)

    def add(self, page: ListPage) -> None:
        self.most_null_rows = max(self.most_null_rows, page.null_rows)
        for row in page.rows:
            self.ids.add(str(row["id"]))
            projects = row.get("projects")
            for project in projects if isinstance(projects, list) else []:
                if isinstance(project, dict) and "id" in project:
                    self.projects.add(str(project["id"]))


def _are_complete(walks: list[_Walk]) -> bool:
    """Whether the last walks showed as many different rows as each of them passed.

    A walk counts only if the one before it passed as many: if a row was deleted during that one,
    it may have shown the row, and this one cannot.

    Missing rows are null rows if one page had as many of them, or if each walk had as many and
    none showed a row twice.
    """
    passed = walks[-1].passed
    ids: set[str] = set()
    most_null_rows = 0
    has_repeats = False
    for before, walk in reversed(list(pairwise(walks))):
        if before.passed != passed or walk.passed != passed:
            return False
        ids |= walk.ids
        missing = passed - len(ids)
        most_null_rows = max(most_null_rows, walk.most_null_rows)
        has_repeats = has_repeats or bool(before.repeats or walk.repeats)
        are_null = not has_repeats and before.null_rows == walk.null_rows == missing
        if missing == most_null_rows or are_null:
            return True
    return False


@dataclass(frozen=True, slots=True)
class _Span:
    """A range of dates, both inclusive; None is unlimited."""

    start: datetime | None = None
    end: datetime | None = None

    def __str__(self) -> str:
        """Return the name for messages."""
        if self.end is None:
            return "the list"
        return f"the rows created about {format_time(self.end - _MARGIN)}"

    def fetch(self, fetch: Fetch, **parameters: str) -> ListPage:
        """Fetch a page, and check that the server accepts and follows the dates."""
        if self.start is None or self.end is None:
            return fetch(parameters)
        dates = {"start": format_time(self.start), "end": format_time(self.end)}
        try:
            page = fetch(dates | parameters)
        except BadRequestError as error:
            raise _NotByDateError from error
        self.times(page)
        return page

    def pages(
        self, fetch: Fetch, first: str | None = None, **parameters: str
    ) -> Iterator[ListPage]:
        """Yield the pages of the span along the server's cursors, beginning at `first`."""

        def fetch_at(cursor: str | None) -> ListPage:
            return self.fetch(fetch, **parameters, **({"cursor": cursor} if cursor else {}))

        return pages(fetch_at, first)

    def times(self, page: ListPage) -> list[datetime]:
        """Return when a page's rows were created; they must be in order and in the span."""
        try:
            times = [parse_time(str(row["dateCreated"])) for row in page.rows]
        except (KeyError, OverflowError, ValueError):
            raise _NotByDateError from None
        if any(newer < older for newer, older in pairwise(times)):
            raise _NotByDateError
        is_early = times and self.start is not None and times[-1] < self.start
        is_late = times and self.end is not None and times[0] > self.end
        if is_early or is_late:
            raise _NotByDateError
        return times
