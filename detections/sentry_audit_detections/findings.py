"""What the detections find in a period."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sentry_audit_detections.catalog import Detection
    from sentry_audit_detections.database import Database

LIMITS = (
    "This log holds no sign-ins, no changes to IP rules, no data exports, and no personal tokens, "
    "so none of those can be found in it."
)

_WITH = """WITH audit_logs AS NOT MATERIALIZED (
{log}
), period AS (
  SELECT TIMESTAMP '{since}' AS since, TIMESTAMP '{until}' AS until
)
"""
_FINDINGS = """SELECT organization, id, dateCreated, event, actorName, ipAddress, detail
FROM (
{sql}
) AS found
ORDER BY dateCreated, id"""
_COUNT = "SELECT count(*) FROM audit_logs CROSS JOIN period WHERE dateCreated >= since AND \
dateCreated < until"


@dataclass(frozen=True, slots=True)
class Period:
    """From when, inclusive, until when, exclusive."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """An entry that a detection found, with a detail about it."""

    detection: Detection
    organization: str
    id: str
    at: datetime
    event: str
    actor: str | None
    address: str | None
    detail: str


def find(database: Database, detections: Iterable[Detection], period: Period) -> Iterator[Finding]:
    """Yield what each detection finds, oldest first.

    Raises:
        DetectionsError: The log cannot be read.

    """
    start = _start(database, period)
    for each in detections:
        for organization, key, at, event, actor, address, detail in database.query(
            start + _FINDINGS.format(sql=each.sql)
        ):
            when = at.replace(tzinfo=UTC)
            yield Finding(each, organization, key, when, event, actor, address, detail or "")


def count(database: Database, period: Period) -> int:
    """Return how many entries there are in the period.

    Raises:
        DetectionsError: The log cannot be read.

    """
    [(entries,)] = database.query(_start(database, period) + _COUNT)
    return int(entries)


def _start(database: Database, period: Period) -> str:
    since, until = (_text(each) for each in (period.since, period.until))
    return _WITH.format(log=database.log(), since=since, until=until)


def _text(when: datetime) -> str:
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
