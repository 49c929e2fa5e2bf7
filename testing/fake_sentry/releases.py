"""The list of releases: ordered by date alone, so that a page may lose some of one date."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import Literal
from zlib import crc32

from .endpoint import Query
from .entries import Row
from .inventory_paging import Part

_requests = count()


@dataclass(frozen=True, slots=True)
class ReleaseList:
    """How a server shows releases: by default as Sentry 23.7.1 does."""

    ties: Literal["by id", "by page", "shuffled"] = "by page"
    """How releases of one date are ordered: alike in every answer, alike in every answer to the
    same question, or anew each time. (23.7.1: by page where its database changes the plan.)"""
    dates: Literal["obeyed", "ignored", "refused", "exclusive", "whole seconds"] = "obeyed"
    order: Literal["dateCreated", "dateReleased"] = "dateCreated"
    """A Sentry of 2020 goes by dateReleased where there is one."""
    digits: Literal[0, 3, 6] = 6
    """How many of a second's digits it shows in dates; with none, no dates."""
    status: Literal["known", "refused", "unknown"] = "known"
    """Whether it takes an empty status; 2020's knew no status at all."""
    hidden: frozenset[int] = field(default_factory=frozenset)
    """Ids that never come where their date is on several pages: another row comes twice instead."""
    null: frozenset[int] = field(default_factory=frozenset)
    """Ids of rows that it cannot show."""


class NotOkError(Exception):
    """The status and the detail of an answer that is no 200."""


def chosen(rows: list[Row], known: set[int], query: Query, way: ReleaseList) -> list[Row] | None:
    """Filter and order them; where there is no project to look at, tell nothing."""
    asked = dict(query)
    start, end = _dates(asked, way)
    projects = _projects(query)
    if projects == {-1}:
        projects = known
    elif not projects <= known:
        raise NotOkError(403, "You do not have permission to perform this action.")
    if not projects:
        return None
    status = asked.get("status", "open") if way.status != "unknown" else ""
    if status not in {"", "open", "archived"} or (way.status == "refused" and "status" in asked):
        raise NotOkError(400, "invalid value for status")
    found = [
        row
        for row in rows
        if (not status or row["status"] == status)
        and (start is None or start <= when(row, way))
        and (end is None or when(row, way) <= end)
        and not projects.isdisjoint(project["id"] for project in row["projects"])
    ]
    return sorted(found, key=lambda row: (when(row, way), row["id"]), reverse=True)


def shown(rows: list[Row], part: Part, query: Query, way: ReleaseList) -> list[Row | None]:
    """Show a page of them; each page may have its own order of releases of one date."""
    seed = {"by id": "", "by page": f"{sorted(query)}", "shuffled": f"{next(_requests)}"}[way.ties]
    if seed:
        key = {row["id"]: crc32(f"{seed}/{row['id']}".encode()) for row in rows}
        rows = sorted(rows, key=lambda row: (when(row, way), key[row["id"]]), reverse=True)
    page = rows[part.shown.start : part.shown.stop]
    split = {when(row, way) for row in rows[: part.shown.start] + rows[part.shown.stop :]}
    page = [
        _instead(row, rows, way) if row["id"] in way.hidden and when(row, way) in split else row
        for row in page
    ]
    return [None if row["id"] in way.null else _cut(row, way) for row in page]


def when(row: Row, way: ReleaseList) -> datetime:
    """Tell the date that a server orders a release by."""
    released: str | None = row["dateReleased"] if way.order == "dateReleased" else None
    return _time(released or row["dateCreated"])


def _instead(row: Row, rows: list[Row], way: ReleaseList) -> Row:
    others = [other for other in rows if other["id"] not in way.hidden]
    return next((other for other in others if when(other, way) == when(row, way)), others[0])


def _cut(row: Row, way: ReleaseList) -> Row:
    text: str = row["dateCreated"]
    cut = {0: None, 3: f"{text.removesuffix('Z')[:23]}Z", 6: text}[way.digits]
    return {**row, "dateCreated": cut}


def _projects(query: Query) -> set[int]:
    try:
        return {int(value) for name, value in query if name == "project"}
    except ValueError:
        raise NotOkError(400, "Invalid project parameter. Values must be numbers.") from None


def _dates(asked: dict[str, str], way: ReleaseList) -> tuple[datetime | None, datetime | None]:
    if way.dates == "ignored" or not (asked.get("start") or asked.get("end")):
        return None, None
    if way.dates == "refused":
        raise NotOkError(400, "Invalid date range")
    if not asked.get("start") or not asked.get("end"):
        raise NotOkError(400, "Invalid date range: start and end are both required")
    start, end = _asked_time(asked["start"]), _asked_time(asked["end"])
    if way.dates == "whole seconds":
        start, end = start.replace(microsecond=0), end.replace(microsecond=0)
    if start >= end:
        raise NotOkError(400, "Invalid date range: start must be before end")
    if way.dates == "exclusive":
        start, end = (start + timedelta(microseconds=1), end - timedelta(microseconds=1))
    return start, end


def _asked_time(text: str) -> datetime:
    try:
        return _time(text)
    except ValueError:
        message = f"Invalid date range: {text} is not a valid ISO8601 date query"
        raise NotOkError(400, message) from None


@cache
def _time(text: str) -> datetime:
    """Read a time; one without a zone is in the server's, here UTC."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
