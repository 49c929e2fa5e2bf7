"""Blocks that run in the Meltano project of a checkout, followed to the letter."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from testing.fake_receiver import FakeReceiver
from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.postgres import Postgres, postgres
from testing.recipes import (
    BIN,
    NEEDS_A_WHEEL,
    Project,
    duckdb_rows,
    ended,
    environment,
    filled_in,
    ids_in,
    ids_of,
    lines,
    recipes,
)
from testing.sentry_tap import config, run_tap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

README = recipes("README.md")
INSTALL = recipes("docs/install.md")
JSONL = recipes("docs/targets/jsonl.md")
DUCKDB = recipes("docs/targets/duckdb.md")
POSTGRES = recipes("docs/targets/postgres.md")
OTLP = recipes("docs/targets/otlp.md")
SCHEDULING = recipes("docs/scheduling.md")
STATE = recipes("docs/state.md")
PRIVACY = recipes("docs/privacy.md")
OTHER = recipes("docs/targets/other.md")

KEEP_OPEN = """
import duckdb
database = duckdb.connect("output/audit.duckdb", read_only=True)
print("open", flush=True)
input()
"""
EVERY_ID = "SELECT id FROM sentry.audit_logs"


def rewrite(project: Project, change: Callable[[Any], None]) -> None:
    """Change a project's meltano.yml."""
    yaml, path = YAML(pure=True), project.folder / "meltano.yml"
    content = yaml.load(path)
    change(content)
    yaml.dump(content, path)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        running.run(POSTGRES["database"])
        # For everybody but the loader: times must be right also on a server that is far from UTC.
        running.run("ALTER DATABASE sentry SET TimeZone = 'Pacific/Kiritimati'")
        yield running


def logged_in(recipe: str) -> str:
    """Fill in where PostgreSQL is: not on the network, but on a socket in a folder."""
    return filled_in(recipe, localhost="", **{"…": "any"})


# Files and DuckDB


def test_files_and_their_query_and_sqlite(tmp_path: Path) -> None:
    log = Log(entries.even(300))
    with FakeSentry({"acme": log}) as sentry:
        project = Project.made(tmp_path / "project", sentry)
        for _ in range(2):
            project.follow(JSONL["meltano"])

    file = project.folder / "output" / "audit_logs.jsonl"
    assert ids_in(file) == ids_of(log)
    removed = [row for row in lines(file) if row["event"] == "member.remove"]
    query = JSONL["query"].replace("output/audit_logs.jsonl", str(file))
    found = duckdb_rows(Path(":memory:"), query)
    assert [row["note"] for row in found] == [row["note"] for row in reversed(removed)] != []
    assert [row["who"] for row in found] == [
        (row["actor"] or {}).get("email") for row in reversed(removed)
    ]

    for _ in range(2):
        project.follow(f'PATH=".venv/bin:$PATH"\n{OTHER["sqlite"]}')
    in_sqlite = project.follow(
        'python3 -c "import sqlite3; '
        "print(*sqlite3.connect('output/audit.sqlite').execute("
        "'SELECT id FROM audit_logs ORDER BY id'))\""
    )
    assert re.findall(r"'(\d+)'", in_sqlite) == ids_of(log)


@NEEDS_A_WHEEL
def test_a_question_is_answered_as_the_readme_shows(tmp_path: Path) -> None:
    """Entries in the form in which Sentry 23.7.1 wrote them, among others."""
    changes = [
        ("2026-03-02T09:14:07Z", "ada@acme.example", "203.0.113.9", "to True"),
        ("2026-08-19T16:40:51Z", "hugo@acme.example", "198.51.100.77", "from True to False"),
        ("2026-08-19T17:05:22Z", "ada@acme.example", "203.0.113.9", "from False to True"),
        ("2026-10-30T08:31:15Z", "ada@acme.example", "2001:db8::7", "to False when enabling SSO"),
    ]
    rows = [
        entries.row(
            f"9{number}",
            entries.micros(at),
            event="org.edit",
            actor={"id": str(number), "email": who},
            ipAddress=address,
            note=f"edited the organization setting: require_2fa {change}",
            data={"require_2fa": change},
        )
        for number, (at, who, address, change) in enumerate(changes)
    ]
    log = Log(entries.even(300), rows=rows)
    with FakeSentry({"acme": log}) as sentry:
        project = Project.made(tmp_path / "project", sentry)
        project.follow(DUCKDB["meltano"])

    ask = f"""
import duckdb
database = duckdb.connect("output/audit.duckdb", read_only=True)
database.sql('''{README["ask"]}''').show()
"""
    (project.folder / "ask.py").write_text(ask)
    shown = project.follow(".meltano/loaders/target-duckdb/venv/bin/python ask.py")
    assert shown.strip() == README["answer"].strip()
    # What the page about DuckDB does, in its own words.
    assert "entries" in project.follow(DUCKDB["ask"])
    written = OTHER["parquet"].replace("output/", f"{project.folder}/output/").replace(";", "")
    (project.folder / "parquet.py").write_text(
        f"import duckdb\nduckdb.connect('output/audit.duckdb').execute('''{written}''')"
    )
    project.follow(".meltano/loaders/target-duckdb/venv/bin/python parquet.py")
    parquet = f"SELECT id FROM '{project.folder}/output/audit_logs.parquet'"  # noqa: S608  (ours)
    assert sorted(row["id"] for row in duckdb_rows(Path(":memory:"), parquet)) == ids_of(log)


@NEEDS_A_WHEEL
def test_a_reader_that_keeps_the_file_open_makes_the_load_fail(tmp_path: Path) -> None:
    with FakeSentry({"acme": Log(entries.even(30))}) as sentry:
        project = Project.made(tmp_path / "project", sentry)
        project.follow(DUCKDB["meltano"])
        reader = subprocess.Popen(
            [project.folder / ".meltano/loaders/target-duckdb/venv/bin/python", "-c", KEEP_OPEN],
            cwd=project.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert reader.stdout
        assert reader.stdout.readline() == b"open\n"
        failed = project.ended(DUCKDB["meltano"])
        reader.communicate(b"\n")

    assert failed.returncode != 0
    assert "Could not set lock on file" in failed.stderr + failed.stdout


# PostgreSQL, cron, and alarms


def test_postgres_hourly_with_alarms(tmp_path: Path, server: Postgres) -> None:
    log = Log(entries.even(200))
    server.run("DROP SCHEMA IF EXISTS sentry CASCADE", "sentry")
    with FakeSentry({"acme": log}) as sentry:
        project = Project.made(tmp_path / "project", sentry, PGHOST=str(server.folder))
        project.follow(logged_in(POSTGRES["meltano"]))
        assert sorted(row["id"] for row in server.rows(EVERY_ID, "sentry")) == ids_of(log)

        # A schedule of Meltano's.
        log.add([entries.micros(entries.UNTIL) + 1])
        project.follow(SCHEDULING["schedule"])
        assert len(server.rows(EVERY_ID, "sentry")) == 201

        # Hourly, with an alarm.
        [line] = SCHEDULING["cron"].splitlines()
        schedule, command = line[:11], line[11:]
        assert schedule == "7 * * * *  "
        alarm = tmp_path / "bin" / "mail"
        alarm.parent.mkdir()
        alarm.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/alarms\n')
        alarm.chmod(0o755)
        job = filled_in(command, **{"/srv/sentry-audit": project.folder})
        cron = {**project.variables, "PATH": f"{alarm.parent}:/usr/bin:/bin"}
        log.add([entries.micros(entries.UNTIL) + 2])
        subprocess.run(["/bin/sh", "-c", job], env=cron, check=True)
        assert not (tmp_path / "alarms").exists()
        assert len(server.rows(EVERY_ID, "sentry")) == 202
        assert "1, all read to their end" in project.follow(SCHEDULING["unread"])
        wrong = cron | {"TAP_SENTRY_AUDIT_AUTH_TOKEN": "wrong"}
        subprocess.run(["/bin/sh", "-c", job], env=wrong, check=True)
        assert "soc@example.com" in (tmp_path / "alarms").read_text()


def test_the_step_of_the_workflow_loads_and_keeps_its_state(
    tmp_path: Path, server: Postgres
) -> None:
    workflow = YAML(typ="safe", pure=True).load(SCHEDULING["actions"])
    [job] = workflow["jobs"].values()
    step = job["steps"][-1]
    server.run("DROP SCHEMA IF EXISTS sentry CASCADE", "sentry")
    log = Log(entries.even(100))
    with FakeSentry({"acme": log}) as sentry:
        project = Project.made(tmp_path / "project", sentry)
        (project.folder / ".env").unlink()
        url = server.url.replace("/postgres?", "/sentry?")
        secrets = {"${{ secrets.SENTRY_TOKEN }}": "token", "${{ secrets.DATABASE_URL }}": url}
        given = {name: secrets.get(value, value) for name, value in step["env"].items()}
        plugin = project.folder / ".meltano/loaders/target-postgres/venv/bin"
        path = f"{project.folder}/.venv/bin:{plugin}:{project.variables['PATH']}"
        variables = {**project.variables, **given, "PATH": path}
        variables["TAP_SENTRY_AUDIT_HOST"] = sentry.url
        for _ in range(2):
            # As GitHub runs a step whose shell is bash.
            done = subprocess.run(
                ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=project.folder,
                env=variables,
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
            assert done.returncode == 0, done.stderr
            log.add([entries.micros(entries.UNTIL) + 1])

    assert step["shell"] == "bash"
    assert len(server.rows(EVERY_ID, "sentry")) == 101


@NEEDS_A_WHEEL
def test_a_part_of_a_backfill_has_a_state_of_its_own(tmp_path: Path) -> None:
    times = [entries.micros(datetime(year, 6, 1, tzinfo=UTC)) for year in (2024, 2025, 2026)]
    log = Log([first + number for first in times for number in range(100)])
    with FakeSentry({"acme": log}) as sentry:
        project = Project.made(tmp_path / "project", sentry)
        project.follow(SCHEDULING["years"])

    found = duckdb_rows(project.folder / "output/audit.duckdb", EVERY_ID)
    assert sorted(row["id"] for row in found) == sorted(ids_of(log)[100:200])
    assert "-duckdb:2025" in project.follow(".venv/bin/meltano state list")


def test_the_log_goes_to_an_opentelemetry_receiver(tmp_path: Path) -> None:
    log = Log(entries.even(200))
    with FakeSentry({"acme": log}) as sentry, FakeReceiver() as receiver:
        project = Project.made(tmp_path / "project", sentry)
        filled = {"https://otlp.example.com": receiver.url, "…": "key"}
        project.follow(filled_in(OTLP["otlp"], **filled))

    assert sorted(str(each).rpartition("/")[2] for each in receiver.ids) == ids_of(log)
    assert receiver.requests[0].headers["authorization"] == "Bearer key"


# State


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[tuple[Project, Log, FakeSentry]]:
    """A project that has loaded into a file."""
    day = entries.micros(datetime(2026, 1, 31, tzinfo=UTC))
    log = Log(day + hours * 3_600_000_000 for hours in (-3, -2, 0, 1))
    with FakeSentry({"acme": log, "acme-inc": log}) as sentry:
        project = Project.made(tmp_path / "project", sentry)
        project.follow(JSONL["meltano"])
        yield project, log, sentry


def again(project: Project) -> list[str]:
    """Load into a file, and return the ids that were added."""
    file = project.folder / "output" / "audit_logs.jsonl"
    file.unlink()
    project.follow(JSONL["meltano"])
    return ids_in(file) if file.exists() else []


def test_a_state_is_shown_set_and_cleared(loaded: tuple[Project, Log, FakeSentry]) -> None:
    project, log, _ = loaded
    shown = project.follow(STATE["get"])
    assert "dev:tap-sentry-audit-to-target-jsonl" in shown
    assert '"last_read"' in shown

    for recipe in STATE["set"], STATE["set-one"]:
        project.follow(recipe)
        # That very moment comes again, and what is later.
        assert again(project) == ids_of(log)[2:]
    project.follow(STATE["clear"])
    assert again(project) == ids_of(log)


def test_a_renamed_organization_goes_on_where_it_was(
    loaded: tuple[Project, Log, FakeSentry],
) -> None:
    project, log, _ = loaded
    project.follow(STATE["rename"])
    path = project.folder / ".env"
    path.write_text(path.read_text().replace("='acme'", "='acme-inc'"))
    log.add([entries.micros(datetime(2026, 2, 1, tzinfo=UTC))])

    assert again(project) == ids_of(log)[4:]


# Selecting


def test_members_are_selected_beside_the_audit_log_where_nothing_was_selected(
    tmp_path: Path,
) -> None:
    acme = Inventory.made(members=5)
    with FakeSentry({"acme": Log(entries.even(30))}, inventories={"acme": acme}) as sentry:
        project = Project.made(tmp_path / "project", sentry)
        rewrite(project, lambda content: content["plugins"]["extractors"][0].pop("select"))
        project.follow(f'PATH=".venv/bin:$PATH"\n{INSTALL["select"]}')
        project.follow(JSONL["meltano"])

    found = {path.stem: len(lines(path)) for path in (project.folder / "output").iterdir()}
    assert found == {"audit_logs": 30, "members": 5}


def test_a_field_that_is_deselected_does_not_come(tmp_path: Path) -> None:
    [extractor] = YAML(typ="safe", pure=True).load(PRIVACY["deselect"])
    with FakeSentry({"acme": Log(entries.even(3))}) as sentry:
        project = Project.made(tmp_path / "project", sentry)
        selected = extractor["select"]
        rewrite(
            project, lambda content: content["plugins"]["extractors"][0].update(select=selected)
        )
        project.follow(JSONL["meltano"])

    [first, *_] = lines(project.folder / "output" / "audit_logs.jsonl")
    assert "ipAddress" not in first
    assert {"id", "dateCreated", "actor"} <= first.keys()
    assert "ipAddress" in json.dumps(selected)


# Without Meltano


def test_the_tap_reads_what_connect_has_written(tmp_path: Path) -> None:
    log = Log(entries.even(30))
    with FakeSentry({"acme": log}) as sentry:
        project = Project.made(tmp_path / "project", sentry)
        project.follow(f'PATH=".venv/bin:$PATH"\n{INSTALL["dotenv"]}')

    messages = lines(project.folder / "run.singer")
    found = [message["record"]["id"] for message in messages if message["type"] == "RECORD"]
    assert sorted(found) == ids_of(log)


def test_the_check_for_addresses_counts_the_entries_that_have_one(tmp_path: Path) -> None:
    log = Log(entries.even(40))
    with FakeSentry({"acme": log}) as sentry:
        (tmp_path / "config.json").write_text(json.dumps(config(sentry)))
        done = ended(PRIVACY["check"], tmp_path, environment(tmp_path / "home", BIN))
        records = run_tap(config(sentry)).records

    assert int(done.stdout) == sum("@" in json.dumps(record) for record in records) > 0
