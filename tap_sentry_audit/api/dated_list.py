"""A list that the server orders by date alone, read whole. Sentry's releases are one.

Sentry 23.7.1 pages releases by OFFSET over `date_added DESC`. Releases of one date have no order
among themselves, and PostgreSQL may choose another one for the next page: of 2,438 releases, 43
never came, the same ones in every walk. A release that is deleted meanwhile moves all behind it
one place forward, and the next page begins one release too late.

So each page is asked for by date, from just above where the last one ended. An answer is one
query of the server: whatever comes, goes or changes places between two of them, a release that is
there from the first to the last is in one of them.

Where one date has more releases than a page, offsets are the only way. A walk over them passes as
many rows as there are, in whatever order; if different ways to ask show as many different
releases, none is missing. Otherwise the reader says so.
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

    from tap_sentry_audit.api.pagination import ListPage, Row

    Fetch = Callable[[Mapping[str, str]], ListPage]

MOST_WALKS = 6
"""Walks over one date, or over a list that cannot be asked for by date."""

_FEWER_ROWS = 3
"""By so many rows are the pages of a walk shorter than those of the one before."""

_MARGIN = timedelta(milliseconds=1)
"""Asked for on top, so that it does not matter if a server counts the end in or cuts its digits."""


class _NotByDateError(Exception):
    """The server's answers do not follow `start` and `end`, or not `dateCreated`.

    A Sentry of 2020 orders releases by `dateReleased` where there is one.
    """


def read_whole(first: ListPage, fetch: Fetch) -> Iterator[ListPage]:
    """Yield pages that together hold every row of a list, some rows more than once.

    `first` is the list's first page; `fetch` asks for another one, given the parameters that
    differ from that request's: `start` and `end` (UTC, both inclusive), `cursor`, `per_page`
    and `project`. Rows have an `id`, and a `dateCreated` by which the server orders them, newest
    first. Rows from before 1970 are not looked for.

    What comes is every row that is there from the first request to the last. Rows that are added
    or deleted meanwhile may come. One way to lose a row unseen remains, on a server that does not
    take dates, or inside a date of several pages: one row added and one deleted during one walk.

    Raises:
        SentryError: A request failed; or, after the last page, more rows were counted than shown.

    """
    try:
        gaps = yield from _by_date(first, fetch)
    except _NotByDateError:
        gap = yield from _by_walks(fetch)
        gaps = [gap] if gap else []
    if gaps:
        message = f"some rows may be missing, so run the tap again: {'; '.join(gaps)}"
        raise SentryError(message)


def _by_date(first: ListPage, fetch: Fetch) -> Generator[ListPage, None, list[str]]:
    """Yield the pages of a list, and return what could not be read whole."""
    gaps: list[str] = []
    page, asked, is_asked_again = first, _Span(), False
    while True:
        yield page
        if page.older is None:
            return gaps
        if not page.rows:
            # Null rows have no date to go on from.
            for following in asked.pages(fetch, page.older):
                page = following
                if page.rows or page.older is None:
                    break
                yield page
            continue
        oldest, last = asked.times(page)[-1], page.rows[-1]
        below = _Span(EPOCH, oldest + _MARGIN)
        following = below.fetch(fetch)
        times = below.times(following)
        if following.older and times and times[-1] >= oldest:
            # It overlaps with the next page, in case the server leaves out either end.
            gap = yield from _by_walks(fetch, _Span(oldest - 2 * _MARGIN, oldest + _MARGIN))
            gaps += [gap] if gap else []
            asked = _Span(EPOCH, oldest - _MARGIN)
            page, is_asked_again = asked.fetch(fetch), False
        elif any(row["id"] == last["id"] for row in following.rows):
            page, asked, is_asked_again = following, below, False
        else:
            # It was deleted meanwhile, or the server leaves out what it was asked for.
            page = asked.fetch(fetch)
            if is_asked_again or any(row["id"] == last["id"] for row in page.rows):
                raise _NotByDateError
            is_asked_again = True


def _by_walks(fetch: Fetch, span: _Span | None = None) -> Generator[ListPage, None, str | None]:
    """Yield what walks over offsets show, until two in a row prove that it is all.

    Where they do not, return their numbers.
    """
    span = span or _Span()
    walks: list[_Walk] = []
    for number in range(MOST_WALKS):
        walk = _Walk()
        walks.append(walk)
        # Other pages end at other rows.
        size = {"per_page": str(PAGE_SIZE - number * _FEWER_ROWS)}
        for page in span.pages(fetch, more=size):
            walk.passed += len(page.rows) + page.null_rows
            walk.null_rows += page.null_rows
            walk.take(page)
            yield replace(page, null_rows=0) if number else page
        walk.repeats = walk.passed - walk.null_rows - len(walk.ids)
        if span.start is not None and not walk.passed:
            # There were more than a page of them a moment ago.
            raise _NotByDateError
        for project in sorted(walk.projects) if number else []:
            if _prove(walks):
                break
            try:
                for page in span.pages(fetch, more={"project": project}):
                    walk.take(page)
                    yield replace(page, null_rows=0)
            except (AccessDeniedError, BadRequestError):
                # A release names all of its projects, even those that the token may not read.
                continue
        if _prove(walks):
            return None
    numbers = ", ".join(f"{walk.passed:,}" for walk in walks)
    shown = len(set().union(*(walk.ids for walk in walks)))
    null_rows = max(walk.most_null_rows for walk in walks)
    null = f", at least {null_rows:,} of them null rows," if null_rows else ""
    return (
        f"{MOST_WALKS} walks over {span} passed {numbers} rows{null} "
        f"and showed {shown:,} different ones"
    )


@dataclass
class _Walk:
    """What a walk over all offsets passed, and what it and the questions after it showed.

    `passed` counts null rows, too, and rows that come twice; `most_null_rows` came in one answer.
    """

    passed: int = 0
    null_rows: int = 0
    repeats: int = 0
    most_null_rows: int = 0
    ids: set[str] = field(default_factory=set)
    projects: set[str] = field(default_factory=set)

    def take(self, page: ListPage) -> None:
        self.most_null_rows = max(self.most_null_rows, page.null_rows)
        for row in page.rows:
            self.ids.add(str(row["id"]))
            self.projects |= _projects(row)


def _prove(walks: list[_Walk]) -> bool:
    """Whether the last walks showed as many different rows as each of them passed.

    A walk counts where the one before it passed as many: if a row was deleted during that one,
    it may have shown the row, and this one cannot.

    Rows that are lacking are null rows if so many came in one answer, or in each walk, none of
    which showed a row twice.
    """
    passed = walks[-1].passed
    ids: set[str] = set()
    most_null_rows = 0
    is_plain = True
    for before, walk in reversed(list(pairwise(walks))):
        if before.passed != passed or walk.passed != passed:
            return False
        ids |= walk.ids
        lacking = passed - len(ids)
        most_null_rows = max(most_null_rows, walk.most_null_rows)
        is_plain = is_plain and not before.repeats and not walk.repeats
        are_null = is_plain and before.null_rows == walk.null_rows == lacking
        if lacking == most_null_rows or are_null:
            return True
    return False


@dataclass(frozen=True, slots=True)
class _Span:
    """The dates to ask for, both inclusive; all of them where there are none."""

    start: datetime | None = None
    end: datetime | None = None

    def __str__(self) -> str:
        """Return how a message names it."""
        if self.start is None or self.end is None:
            return "the list"
        return f"the rows created about {format_time(self.end - _MARGIN)}"

    def fetch(self, fetch: Fetch, more: Mapping[str, str] | None = None) -> ListPage:
        """Return a page of these dates.

        Raises:
            _NotByDateError: The server does not take them, or shows others.

        """
        if self.start is None or self.end is None:
            return fetch(more or {})
        dates = {"start": format_time(self.start), "end": format_time(self.end)}
        try:
            page = fetch(dates | dict(more or {}))
        except BadRequestError as error:
            raise _NotByDateError from error
        self.times(page)
        return page

    def pages(
        self, fetch: Fetch, cursor: str | None = None, more: Mapping[str, str] | None = None
    ) -> Iterator[ListPage]:
        """Yield the pages of these dates along the server's cursors, from one on.

        Raises:
            _NotByDateError: As `fetch` does.
            SentryError: The server leads in a circle.

        """
        return pages(
            lambda cursor: self.fetch(
                fetch, {**(more or {}), **({"cursor": cursor} if cursor else {})}
            ),
            cursor,
        )

    def times(self, page: ListPage) -> list[datetime]:
        """Return when a page's rows were created, newest first.

        Raises:
            _NotByDateError: They are not in this order, or not of these dates.

        """
        try:
            times = [parse_time(str(row["dateCreated"])) for row in page.rows]
        except (KeyError, OverflowError, ValueError):
            raise _NotByDateError from None
        is_ordered = all(newer >= older for newer, older in pairwise(times))
        is_between = not times or (
            (self.start is None or self.start <= times[-1])
            and (self.end is None or times[0] <= self.end)
        )
        if not is_ordered or not is_between:
            raise _NotByDateError
        return times


def _projects(row: Row) -> set[str]:
    """Return the ids of the projects that a row names."""
    found = row.get("projects")
    named = found if isinstance(found, list) else []
    return {
        str(project["id"]) for project in named if isinstance(project, dict) and "id" in project
    }
