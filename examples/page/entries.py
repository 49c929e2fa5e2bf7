"""The page's queries to the log. Each function opens the database, queries it, and closes it.

A reader that stays open would make target-duckdb fail. SQL does the counting and limiting; what
somebody typed is only ever a bound value. Times are UTC without a zone.
"""

# ruff: noqa: S608  (queries consist of constants and of $1, $2 and so on)

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sentry_audit_detections.catalog import SEVERITIES, Detection, detections
from sentry_audit_detections.database import Database, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NOBODY = "(nobody)"
"""The actor of entries that do not name one."""

ON_A_PAGE = 100
HITS_OF_EACH = 100
DETECTED_DAYS = 1
AT_ONCE = 2
"""How many detections run side by side, each with a connection of its own."""

FIELDS = (
    *("dateCreated", "event", "organization", "id", "note", "data", "ipAddress"),
    *("targetObject", "targetUser", "actor", "targetUserDetail", "additionalFields"),
)
_JSONS = ("actor", "data", "targetUserDetail", "additionalFields")
_TEXTS = (*("id", "organization", "event", "ipAddress", "note", "targetObject", "targetUser"),)
_ACTOR = f"coalesce(actorName, '{NOBODY}')"
_ROW = f"organization, id, dateCreated, event, {_ACTOR}, ipAddress"
# GROUPING has a bit for each of three columns.
_WHOLE_LOG = 0b111
# Sentry leaves many notes empty.
_WHAT = "left(coalesce(nullif(note, ''), CAST(data AS text)), 300)"

_UNITS = (
    (timedelta(hours=3), "minute"),
    (timedelta(days=4), "hour"),
    (timedelta(days=200), "day"),
    (timedelta(days=1200), "week"),
)


class Row(NamedTuple):
    """A line of the list: an entry without its nested fields."""

    organization: str
    id: str
    at: datetime
    event: str
    actor: str
    address: str | None
    what: str | None


class Bar(NamedTuple):
    """How many entries of an event there are in a unit of time."""

    at: datetime
    event: str
    entries: int


@dataclass(frozen=True, slots=True)
class Place:
    """A DuckDB file, a JSON Lines file, or a PostgreSQL URL; and the schema in it."""

    database: str
    schema: str


@dataclass(frozen=True, slots=True)
class Filters:
    """Which entries to show: those that match every filter; an empty filter matches all."""

    search: str = ""
    events: Sequence[str] = ()
    organizations: Sequence[str] = ()
    actors: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """What the log holds: choices for the filters, most frequent first, and its extent."""

    organizations: list[str]
    events: list[str]
    actors: list[str]
    count: int
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True, slots=True)
class Found:
    """A page of entries, newest first, and how all matches are spread over time."""

    rows: list[Row]
    count: int
    bars: list[Bar]
    unit: str


@dataclass(frozen=True, slots=True)
class Hits:
    """What a detection found: the newest, and how many there are."""

    detection: Detection
    rows: list[Row]
    count: int


@dataclass(slots=True)
class _Where:
    """Conditions, and the values of $1, $2 and so on in them."""

    conditions: list[str] = field(default_factory=lambda: ["dateCreated IS NOT NULL"])
    values: list[object] = field(default_factory=list)

    @classmethod
    def of(cls, filters: Filters) -> _Where:
        """Return the conditions on a row, without the search text."""
        where = cls()
        for column, wanted in (
            ("event", filters.events),
            ("organization", filters.organizations),
            (_ACTOR, filters.actors),
        ):
            if wanted:
                where.add(f"{column} = ANY({where.bind(list(wanted))})")
        if filters.since:
            where.add(f"dateCreated >= {where.bind(filters.since)}")
        if filters.until:
            where.add(f"dateCreated < {where.bind(filters.until)}")
        return where

    def bind(self, value: object) -> str:
        self.values.append(value)
        return f"${len(self.values)}"

    def add(self, condition: str) -> None:
        self.conditions.append(condition)

    def __str__(self) -> str:
        return " AND ".join(self.conditions)


def contents(place: Place) -> Contents:
    """Return what there is to choose from.

    Raises:
        DetectionsError: The log cannot be read; all functions here raise it.

    """
    # PostgreSQL reads the log with several processes only if it is counted without grouping sets.
    counted = (
        f"SELECT organization, event, {_ACTOR} AS actor, count(*) AS entries, "
        "min(dateCreated) AS first, max(dateCreated) AS last FROM audit_logs GROUP BY 1, 2, 3"
    )
    with _log(place) as (database, log):
        rows = database.query(
            f"{log} SELECT GROUPING(organization, event, actor), organization, event, actor, "
            f"CAST(sum(entries) AS bigint), min(first), max(last) FROM ({counted}) AS counted "
            "GROUP BY GROUPING SETS ((organization), (event), (actor), ()) ORDER BY 5 DESC"
        )
    choices: tuple[list[str], ...] = ([], [], [])
    count, first, last = 0, None, None
    for which, *names, number, oldest, newest in rows:
        if which == _WHOLE_LOG:
            count, first, last = number, oldest, newest
        for name, chosen in zip(names, choices, strict=True):
            if name is not None:
                chosen.append(name)
    organizations, events, actors = choices
    return Contents(organizations, events, actors, count, first, last)


def find(place: Place, filters: Filters, span: timedelta, page: int = 1) -> Found:
    """Return a page of the entries that match, and bars for about this span of time.

    If there is no such page, return the first.
    """
    unit = next((unit for most, unit in _UNITS if span <= most), "month")
    where = _Where.of(filters)
    if filters.search:
        where.add(_matches(where, filters.search))
    with _log(place) as (database, log):
        bars = database.query(
            f"{log} SELECT date_trunc('{unit}', dateCreated), event, count(*) FROM audit_logs "
            f"WHERE {where} GROUP BY 1, 2 ORDER BY 1, 2",
            where.values,
        )
        count = sum(bar[2] for bar in bars)
        if (page - 1) * ON_A_PAGE >= count:
            page = 1
        # A page has entries of few units of time: the database need not search the others.
        units, offset = _units_of(page, bars)
        rows = []
        if units:
            these = [where.bind(each) for each in units]
            rows = database.query(
                f"{log} SELECT {_ROW}, {_WHAT} FROM audit_logs WHERE dateCreated >= {these[-1]} "
                f"AND dateCreated < {these[0]} + INTERVAL '1 {unit}' "
                f"AND date_trunc('{unit}', dateCreated) IN ({', '.join(these)}) AND {where} "
                f"ORDER BY dateCreated DESC, id DESC LIMIT {ON_A_PAGE} OFFSET {offset}",
                where.values,
            )
    return Found([Row(*row) for row in rows], count, [Bar(*bar) for bar in bars], unit)


def entry(place: Place, organization: str, key: str) -> dict[str, Any] | None:
    """Return all fields of an entry, or None if it is not in the log."""
    with _log(place) as (database, log):
        rows = database.query(
            f"{log} SELECT {', '.join(FIELDS)} FROM audit_logs WHERE organization = $1 AND id = $2",
            [organization, key],
        )
    if not rows:
        return None
    found = dict(zip(FIELDS, rows[0], strict=True))
    return {name: _parsed(value) if name in _JSONS else value for name, value in found.items()}


def names_of(place: Place, actor: object) -> list[str]:
    """Return the names that the log has for somebody; an address can change."""
    if not isinstance(actor, dict):
        return [NOBODY]
    if not actor.get("id"):
        return [actor.get("email") or actor.get("name") or NOBODY]
    with _log(place) as (database, log):
        rows = database.query(
            f"{log} SELECT DISTINCT {_ACTOR} FROM audit_logs WHERE actorId = $1 ORDER BY 1",
            [str(actor["id"])],
        )
    return [found for (found,) in rows]


def hits(place: Place, filters: Filters, now: datetime) -> list[Hits]:
    """Return what each detection finds in the period, the worst first; by default in a day."""
    until = filters.until or now
    since = filters.since or until - timedelta(days=DETECTED_DAYS)
    where = _Where.of(filters)
    period = (
        f"SELECT CAST({where.bind(since)} AS timestamp) AS since, "
        f"CAST({where.bind(until)} AS timestamp) AS until"
    )
    waiting = iter(detections())

    def work() -> list[Hits]:
        found = []
        with _log(place) as (database, log):
            for each in waiting:
                rows = database.query(
                    f"{log}, period AS ({period}) SELECT {_ROW}, detail, count(*) OVER () "
                    f"FROM (\n{each.sql}\n) AS found WHERE {where} "
                    f"ORDER BY dateCreated DESC, id DESC LIMIT {HITS_OF_EACH}",
                    where.values,
                )
                if rows:
                    found.append(Hits(each, [Row(*row[:-1]) for row in rows], rows[0][-1]))
        return found

    with ThreadPoolExecutor(AT_ONCE) as pool:
        workers = [pool.submit(work) for _ in range(AT_ONCE)]
        found = [hit for worker in workers for hit in worker.result()]
    return sorted(found, key=_badness)


def _badness(each: Hits) -> tuple[int, str]:
    """Return what sorts the worst first."""
    return -SEVERITIES.index(each.detection.severity), each.detection.number


@contextmanager
def _log(place: Place) -> Iterator[tuple[Database, str]]:
    with opened(place.database, place.schema) as database:
        yield database, f"WITH audit_logs AS NOT MATERIALIZED (\n{database.log()}\n)"


def _matches(where: _Where, words: str) -> str:
    """Return a condition: a field of the entry contains this text, in upper or lower case."""
    written = json.dumps(words)[1:-1], json.dumps(words, ensure_ascii=False)[1:-1]
    texts = where.bind(_pattern(words))
    # target-duckdb escapes non-ASCII characters, PostgreSQL does not.
    jsons = [where.bind(_pattern(text)) for text in dict.fromkeys(written)]
    conditions = [f"{name} ILIKE {texts} ESCAPE '!'" for name in _TEXTS]
    conditions += [
        f"CAST({name} AS text) ILIKE {each} ESCAPE '!'" for name in _JSONS for each in jsons
    ]
    return f"({' OR '.join(conditions)})"


def _pattern(text: str) -> str:
    """Return a pattern for ILIKE that matches texts that literally contain this one."""
    for special in "!%_":
        text = text.replace(special, f"!{special}")
    return f"%{text}%"


def _units_of(page: int, bars: Sequence[tuple[datetime, str, int]]) -> tuple[list[datetime], int]:
    """Return the units of time with the entries of a page, and how many entries to skip."""
    counts = Counter[datetime]()
    for at, _, count in bars:
        counts[at] += count
    offset, wanted = (page - 1) * ON_A_PAGE, ON_A_PAGE
    units: list[datetime] = []
    for at in sorted(counts, reverse=True):
        if not units and offset >= counts[at]:
            offset -= counts[at]
            continue
        units.append(at)
        if offset + wanted <= sum(counts[unit] for unit in units):
            break
    return units, offset


def _parsed(value: Any) -> Any:  # noqa: ANN401  (JSON)
    return json.loads(value) if isinstance(value, str) else value


def now_utc() -> datetime:
    """Return the time in UTC, without a zone, as in the log."""
    return datetime.now(UTC).replace(tzinfo=None)
