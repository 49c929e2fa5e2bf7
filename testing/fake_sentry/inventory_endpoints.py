"""The endpoints of an organization's inventory, its issues and its events."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from . import entries, inventory_paging, releases
from .answers import Answer, detail, json_answer
from .endpoint import CURSOR, MAX_PER_PAGE, Query, complaint_of_paging, internal_error, link
from .entries import Row
from .inventory import Inventory, brief, moment, newest_first
from .inventory_paging import BadOffsetError, Part
from .paging import Cursor, parse
from .releases import ReleaseList

MAX_HITS = 1000
COMPARED = re.compile(r"lastSeen:(>=|<=|>|<|)(.+)")
COMPARE: dict[str, Callable[[str, str], bool]] = {
    ">=": lambda seen, given: seen >= given,
    "<=": lambda seen, given: seen <= given,
    ">": lambda seen, given: seen > given,
    "<": lambda seen, given: seen < given,
}

Count = Callable[[Cursor, int, int], Part]
Fits = Callable[[Row], bool]


@dataclass(frozen=True, slots=True)
class Asked:
    resource: str
    project: str | None
    host: str
    path: str
    query: Query
    region_url: str | None
    honours_dates: bool
    release_list: ReleaseList
    is_plain_member: bool

    @property
    def url(self) -> str:
        return self.host + self.path


def answer(inventory: Inventory, asked: Asked) -> Answer:
    try:
        return ANSWERS[asked.resource](inventory, asked)
    except BadOffsetError as error:
        return detail(400, str(error))
    except LookupError:
        return internal_error()


def _organization(inventory: Inventory, asked: Asked) -> Answer:
    links = {"organizationUrl": asked.host}
    if asked.region_url is not None:
        links["regionUrl"] = asked.region_url
    short = [
        {name: team[name] for name in team if name not in {"externalTeams", "projects"}}
        for team in inventory.teams
    ]
    lists = {"teams": short, "projects": inventory.projects}
    if dict(asked.query).get("detailed") == "0":
        lists = {}
    role: dict[str, object] = {}
    if asked.is_plain_member:
        role = {"role": "member", "access": ["org:read", "member:read", "event:read"]}
    return json_answer(200, {**inventory.organization, "links": links, **lists, **role})


def _releases(inventory: Inventory, asked: Asked) -> Answer:
    way, known = asked.release_list, {int(row["id"]) for row in inventory.projects}
    try:
        rows = releases.chosen(inventory.releases, known, asked.query, way)
    except releases.NotOkError as error:
        status, text = error.args
        return detail(status, text)
    if rows is None:
        return json_answer(200, [])
    return _page(rows, asked, show=lambda part: releases.shown(rows, part, asked.query, way))


def _events(inventory: Inventory, asked: Asked) -> Answer:
    rows = newest_first(inventory.events.get(asked.project or "", []), "dateCreated")
    query = dict(asked.query)
    if asked.honours_dates and ("start" in query or "end" in query):
        if not query.get("start") or not query.get("end"):
            return detail(400, "start and end are both required")
        start, end = _time(query["start"]), _time(query["end"])
        if start is None or end is None:
            return detail(400, "Invalid date. Expected ISO 8601.")
        rows = [row for row in rows if start <= moment(row, "dateCreated") < end]
    # Like Sentry, take "0" for a yes.
    form = None if query.get("full") else brief
    return _page(rows, asked, inventory_paging.by_offset, form)


def _page(
    rows: list[Row],
    asked: Asked,
    count: Count = inventory_paging.by_number,
    form: Callable[[Row], Row] | None = None,
    show: Callable[[Part], Sequence[Row | None]] | None = None,
) -> Answer:
    query = {"per_page": str(MAX_PER_PAGE)} | dict(asked.query)
    cursor = query.get("cursor") or "0:0:0"
    complaint = complaint_of_paging(query["per_page"], cursor)
    if complaint:
        return json_answer(400, complaint)
    part = count(parse(cursor), int(query["per_page"]), len(rows))
    if show:
        return _shown(show(part), part, asked)
    page = rows[part.shown.start : part.shown.stop]
    return _shown([form(row) for row in page] if form else page, part, asked)


def _issues(inventory: Inventory, asked: Asked) -> Answer:
    query = {"limit": "100", "query": "is:unresolved", "sort": "date"} | dict(asked.query)
    cursor, limit = query.get("cursor"), query["limit"] or "100"
    if not _all_projects(asked) or not inventory.projects:
        return json_answer(200, [])
    if not limit.isdecimal():
        return detail(400, "invalid limit")
    if query["sort"] != "date":
        return detail(400, f"Sort key '{query['sort']}' not supported.")
    if cursor and not CURSOR.fullmatch(cursor):
        return detail(400, "Invalid cursor parameter.")
    terms = [_term(text) for text in query["query"].split()]
    for term in terms:
        if isinstance(term, str):
            return detail(400, f"Error parsing search query: {term}")
    fits = [term for term in terms if not isinstance(term, str)]
    found = [row for row in inventory.issues if all(fit(row) for fit in fits)]
    ranked = sorted(
        ((_milliseconds(row["lastSeen"]), int(row["id"]), row) for row in found),
        key=lambda rank: rank[:2],
        reverse=True,
    )
    scores = [score for score, _, _ in ranked]
    part = inventory_paging.by_score(parse(cursor) if cursor else None, int(limit), scores)
    hits = {"X-Hits": str(min(len(found), MAX_HITS)), "X-Max-Hits": str(MAX_HITS)}
    rows = [ranked[place][2] for place in part.shown]
    return _shown(rows, part, asked, hits if part.counted else {})


def _term(text: str) -> Fits | str:
    """Read a term of a search, or tell what is wrong with it."""
    if text == "is:unresolved":
        return lambda row: row["status"] == "unresolved"
    compared = COMPARED.fullmatch(text)
    given = _time(compared[2]) if compared else None
    if compared and given is None:
        expected = "Expected +/-duration (e.g. +1h) or ISO 8601-like (e.g. 2026-11-21T05:07:13.12)"
        return f"last_seen: Invalid date: {compared[2]}. {expected}."
    compare = COMPARE.get(compared[1]) if compared else None
    if given is None or compare is None:
        return f"This server does not know {text}"
    return lambda row: compare(moment(row, "lastSeen"), given)


def _all_projects(asked: Asked) -> bool:
    """Whether it is not just about the projects of the token's user, who has none."""
    return ("project", "-1") in asked.query


def _time(text: str) -> str | None:
    """Write a time as moments are, where a time without a zone is in UTC."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    utc = when.astimezone(UTC) if when.tzinfo else when
    return utc.replace(tzinfo=None).isoformat()


@lru_cache(maxsize=100_000)
def _milliseconds(when: str) -> int:
    return entries.micros(when) // 1000


def _shown(
    rows: Sequence[Row | None], part: Part, asked: Asked, headers: dict[str, str] | None = None
) -> Answer:
    way = link(asked.url, asked.query, part.previous, part.next)
    return json_answer(200, msgspec.json.encode(rows), **(headers or {}), Link=way)


ANSWERS: dict[str, Callable[[Inventory, Asked], Answer]] = {
    "organization": _organization,
    "projects": lambda inventory, asked: _page(inventory.projects, asked),
    "teams": lambda inventory, asked: _page(inventory.teams, asked),
    "members": lambda inventory, asked: _page(inventory.members, asked),
    "releases": _releases,
    "issues": _issues,
    "events": _events,
}
