"""How the export is doing, from the runs that Meltano 4 records in its system database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sentry_audit_detections.database import POSTGRES, opened
from sentry_audit_detections.exceptions import DetectionsError

if TYPE_CHECKING:
    from collections.abc import Mapping

SILENT = timedelta(minutes=5)
"""Meltano considers a run dead after this long without a heartbeat; it sends one a second."""

SQLITE = "sqlite:///"

# The payload also holds the state, which can be large.
_LAST = """SELECT state, started_at, ended_at, last_heartbeat_at, {error}
FROM runs WHERE {found} AND state {states} ORDER BY started_at DESC, id DESC LIMIT 1"""
_ANY, _FAILED = "<> 'STATE_EDIT'", "IN ('FAIL', 'DEAD')"
_NO_RUN = "The state of the export is unknown: Meltano has not recorded a run of it."
_UNREADABLE = (
    "The state of the export is unknown: Meltano's system database cannot be read. "
    "Set MELTANO_DATABASE_URI to its address."
)


@dataclass(frozen=True, slots=True)
class Run:
    """A run of Meltano. Times are UTC without a zone; `seen`: its last sign of life."""

    state: str
    started: datetime
    seen: datetime
    error: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the export is doing: a level, a sentence, and the last error with its time."""

    level: str
    sentence: str
    error: str = ""


def verdict(address: str, job: str, overdue: timedelta, now: datetime) -> Verdict:
    """Return how the export is doing.

    `address` is that of Meltano's system database, `job` the name of the export's runs, with its
    environment (`prod:`) or without it, and `overdue` how old the last one may be.
    """
    try:
        last, failed = _last_runs(address, job)
    except (sqlite3.Error, DetectionsError) as unreadable:
        return Verdict("info", _UNREADABLE, str(unreadable))
    if last is None:
        return Verdict("info", _NO_RUN)
    error = f"Last error, {_when(failed.seen)}: {failed.error or 'not recorded'}" if failed else ""
    age, when = now - last.seen, _when(last.seen)
    late = f" Overdue: that was {_span(age)} ago." if age > overdue else ""
    if last.state == "RUNNING" and age > SILENT:
        sentence = f"The last export died silently: no heartbeat since {when}."
        return Verdict("error", sentence + late, error)
    if last.state == "RUNNING":
        return Verdict("info", f"An export has been running since {_when(last.started)}.", error)
    if last.state == "SUCCESS":
        level = "warning" if late else "success"
        return Verdict(level, f"The last export succeeded at {when}.{late}", error)
    return Verdict("error", f"The last export failed at {when}.{late}", error)


def system_database(variables: Mapping[str, str]) -> str:
    """Return the address of Meltano's system database, from Meltano's own variables."""
    project = Path(variables.get("MELTANO_PROJECT_ROOT", ""))
    folder = variables.get("MELTANO_SYS_DIR_ROOT", project / ".meltano")
    return variables.get("MELTANO_DATABASE_URI") or f"{SQLITE}{folder}/meltano.db"


def _last_runs(address: str, job: str) -> tuple[Run | None, Run | None]:
    """Return the last run, and the last one that failed."""
    if POSTGRES.match(address):
        query = _LAST.format(
            error="CAST(payload AS json)->>'error'",
            found="right(':' || job_name, length($1) + 1) = ':' || $1",
            states="{}",
        )
        with opened(address, "public") as database:
            found = [database.query(query.format(states), [job]) for states in (_ANY, _FAILED)]
    elif address.startswith(SQLITE):
        query = _LAST.format(
            error="json_extract(payload, '$.error')",
            found="substr(':' || job_name, -length(?1) - 1) = ':' || ?1",
            states="{}",
        )
        file = Path(address.removeprefix(SQLITE)).absolute()
        if not file.is_file():
            message = f"{file} is no file."
            raise DetectionsError(message)
        path = quote(str(file))
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)) as connection:
            found = [
                connection.execute(query.format(states), [job]).fetchall()
                for states in (_ANY, _FAILED)
            ]
    else:
        message = "only sqlite:///… and postgresql://… can be read here"
        raise DetectionsError(message)
    last, failed = (_run(*rows[0]) if rows else None for rows in found)
    return last, failed


def _run(state: str, started: Any, ended: Any, heartbeat: Any, error: str | None) -> Run:  # noqa: ANN401  (SQLite's are texts)
    times = [datetime.fromisoformat(str(time)) for time in (ended, heartbeat, started) if time]
    return Run(state, times[-1], times[0], error or "")


def _when(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _span(age: timedelta) -> str:
    """Return an age in the largest unit of which it spans at least two."""
    for unit, seconds in (("days", 86_400), ("hours", 3_600)):
        if age.total_seconds() >= 2 * seconds:
            return f"{age.total_seconds() // seconds:.0f} {unit}"
    return f"{age.total_seconds() // 60:.0f} minutes"
