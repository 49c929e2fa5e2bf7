"""How the export is doing, told from Meltano's table of runs."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import psycopg
import pytest
from loaded import NOON

from runs import system_database, verdict

if TYPE_CHECKING:
    from pathlib import Path

JOB = "tap-sentry-audit-to-target-duckdb"
HOUR = timedelta(hours=1)

# As Meltano 4.4 makes it.
TABLE = """CREATE TABLE runs (id INTEGER NOT NULL PRIMARY KEY, job_name VARCHAR, state VARCHAR(10),
started_at {time}, ended_at {time}, payload VARCHAR, payload_flags INTEGER, run_id CHAR(32),
"trigger" VARCHAR, last_heartbeat_at {time})"""
INSERT = """INSERT INTO runs (id, job_name, state, started_at, ended_at, payload, last_heartbeat_at)
VALUES ({0}, {0}, {0}, {0}, {0}, {0}, {0})"""


class Run(tuple[object, ...]):
    """A row of the table; times are minutes before noon."""

    __slots__ = ()

    @classmethod
    def of(
        cls, state: str, began: int, ended: int | None, error: str = "", job: str = f"dev:{JOB}"
    ) -> Run:
        payload: dict[str, object] = {"singer_state": {"bookmarks": {}}} | (
            {"error": error} if error else {}
        )
        started = NOON - timedelta(minutes=began)
        end = None if ended is None else NOON - timedelta(minutes=ended)
        return cls((job, state, started, end, json.dumps(payload), end or started))


class Noted(Protocol):
    def __call__(self, *runs: Run) -> str: ...


@pytest.fixture(params=["sqlite", "postgres"])
def noted(request: pytest.FixtureRequest, tmp_path: Path) -> Noted:
    """What writes runs into Meltano's database, and returns its address."""

    def in_sqlite(*runs: Run) -> str:
        with closing(sqlite3.connect(tmp_path / "meltano.db")) as database:
            database.execute(TABLE.format(time="DATETIME"))
            for number, run in enumerate(runs):
                row = [str(each) if hasattr(each, "year") else each for each in run]
                database.execute(INSERT.format("?"), [number, *row])
            database.commit()
        return f"sqlite:///{tmp_path}/meltano.db"

    def in_postgres(*runs: Run) -> str:
        url: str = request.getfixturevalue("server")
        with psycopg.connect(url) as database:
            database.execute("DROP TABLE IF EXISTS runs")
            database.execute(TABLE.format(time="TIMESTAMP").encode())
            for number, run in enumerate(runs):
                database.execute(INSERT.format("%s").encode(), [number, *run])
        return url.replace("postgresql://", "postgresql+psycopg://")

    return in_sqlite if request.param == "sqlite" else in_postgres


def told(address: str) -> tuple[str, str, str]:
    found = verdict(address, JOB, HOUR, NOON)
    return found.level, found.sentence, found.error


def test_a_failure_is_an_error_with_its_reason(noted: Noted) -> None:
    address = noted(
        Run.of("SUCCESS", 40, 39),
        Run.of("FAIL", 10, 8, "Extractor failed"),
    )

    assert told(address) == (
        "error",
        "The last export failed at 2026-11-20 11:52 UTC.",
        "Last error, 2026-11-20 11:52 UTC: Extractor failed",
    )


def test_the_last_error_is_told_also_when_a_later_run_succeeded(noted: Noted) -> None:
    address = noted(
        Run.of("FAIL", 90, 88, "Loader failed"),
        Run.of("FAIL", 50, 48, "Extractor failed"),
        Run.of("SUCCESS", 10, 8),
    )

    assert told(address) == (
        "success",
        "The last export succeeded at 2026-11-20 11:52 UTC.",
        "Last error, 2026-11-20 11:12 UTC: Extractor failed",
    )


def test_a_run_that_is_older_than_it_should_be_is_overdue(noted: Noted) -> None:
    assert told(noted(Run.of("SUCCESS", 190, 185))) == (
        "warning",
        "The last export succeeded at 2026-11-20 08:55 UTC. Overdue: that was 3 hours ago.",
        "",
    )


@pytest.mark.parametrize(
    ("minutes", "told_so"),
    [(61, "61 minutes"), (7 * 60, "7 hours"), (9 * 1440, "9 days")],
)
def test_a_failure_can_be_overdue_as_well(noted: Noted, minutes: int, told_so: str) -> None:
    level, sentence, _ = told(noted(Run.of("FAIL", minutes + 1, minutes)))

    assert level == "error"
    assert sentence.endswith(f"Overdue: that was {told_so} ago.")


def test_a_run_without_heartbeats_has_died(noted: Noted) -> None:
    assert told(noted(Run.of("RUNNING", 6, None))) == (
        "error",
        "The last export died silently: no heartbeat since 2026-11-20 11:54 UTC.",
        "",
    )


def test_a_run_with_heartbeats_is_running(noted: Noted) -> None:
    assert told(noted(Run.of("RUNNING", 4, None))) == (
        "info",
        "An export has been running since 2026-11-20 11:56 UTC.",
        "",
    )


def test_other_jobs_and_edits_of_the_state_do_not_count(noted: Noted) -> None:
    address = noted(
        Run.of("SUCCESS", 30, 29),
        Run.of("STATE_EDIT", 3, 3),
        Run.of("FAIL", 2, 1, job="dev:tap-github-to-target-duckdb"),
    )

    assert told(address)[:2] == ("success", "The last export succeeded at 2026-11-20 11:31 UTC.")


def test_a_run_with_a_suffix_is_of_another_export(noted: Noted) -> None:
    address = noted(
        Run.of("FAIL", 30, 29, "Extractor failed"),
        Run.of("SUCCESS", 10, 9, job=f"dev:{JOB}:ocsf"),
        Run.of("SUCCESS", 8, 7, job=f"dev:other-{JOB}"),
    )

    assert told(address)[1] == "The last export failed at 2026-11-20 11:31 UTC."
    for job in (f"{JOB}:ocsf", f"dev:{JOB}:ocsf"):
        assert verdict(address, job, HOUR, NOON).level == "success"


def test_no_run_at_all_is_said(noted: Noted) -> None:
    assert told(noted())[1].endswith("Meltano has not recorded a run of it.")


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:////nowhere/meltano.db",
        "postgresql://loader:hunter2@127.0.0.1:1/meltano",
        "mysql://loader:hunter2@127.0.0.1/meltano",
        "",
    ],
)
def test_a_database_that_cannot_be_read_is_said_without_its_password(address: str) -> None:
    found = verdict(address, JOB, HOUR, NOON)

    assert found.level == "info"
    assert "cannot be read" in found.sentence
    assert "hunter2" not in found.error


def test_meltanos_own_variables_say_where_its_database_is() -> None:
    assert system_database({}) == "sqlite:///.meltano/meltano.db"
    project = {"MELTANO_PROJECT_ROOT": "/srv/audit"}
    assert system_database(project) == "sqlite:////srv/audit/.meltano/meltano.db"
    root = project | {"MELTANO_SYS_DIR_ROOT": "/var/meltano"}
    assert system_database(root) == "sqlite:////var/meltano/meltano.db"
    assert system_database(root | {"MELTANO_DATABASE_URI": "postgresql://m"}) == "postgresql://m"
