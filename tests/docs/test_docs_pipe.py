"""The scripts that pipe the tap into a target, and the queries of what they load."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.postgres import Postgres, postgres
from testing.recipes import (
    BIN,
    LOADERS,
    NEEDS_A_WHEEL,
    duckdb_rows,
    ended,
    environment,
    filled_in,
    follow,
    ids_in,
    ids_of,
    recipes,
)
from testing.sentry_tap import config, run_tap, selecting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

Row = dict[str, Any]

PIPE = recipes("docs/pipe.md")
JSONL = recipes("docs/targets/jsonl.md")
DUCKDB = recipes("docs/targets/duckdb.md")
POSTGRES = recipes("docs/targets/postgres.md")


def write_config(folder: Path, sentry: FakeSentry) -> None:
    (folder / "config.json").write_text(json.dumps(config(sentry)))


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        running.run(POSTGRES["database"])
        # For everybody but the loader: times must be right also on a server that is far from UTC.
        running.run("ALTER DATABASE sentry SET TimeZone = 'Pacific/Kiritimati'")
        yield running


class Pipe:
    """The script in a folder, with its `target.json`, into a database."""

    def __init__(
        self,
        folder: Path,
        target: str,
        settings: str,
        ask: Callable[[str], list[Row]],
        **variables: str,
    ) -> None:
        self.folder = folder
        self.target = LOADERS / target / "venv/bin" / target
        self.ask = ask
        (folder / "target.json").write_text(settings)
        self._script = folder / "pipe"
        self._script.write_text(PIPE["upserting"].replace("target-postgres", target))
        self._variables = environment(folder / "home", BIN, self.target.parent, **variables)

    def run(self) -> None:
        follow(f"bash {self._script}", self.folder, self._variables)

    def load(self, messages: str) -> None:
        """Give the target what the tap has written."""
        subprocess.run(
            [self.target, "--config", "target.json"],
            input=messages,
            cwd=self.folder,
            env=self._variables,
            stdout=subprocess.DEVNULL,
            encoding="utf-8",
            check=True,
        )


def pipe_into_postgres(folder: Path, server: Postgres) -> Pipe:
    def ask(query: str) -> list[Row]:
        return server.rows(query, "sentry")

    server.run("DROP SCHEMA IF EXISTS sentry CASCADE", "sentry")
    # The server is not on the network, but on a socket in a folder.
    settings = filled_in(POSTGRES["target.json"], localhost="")
    return Pipe(folder, "target-postgres", settings, ask, PGHOST=str(server.folder))


def pipe_into_duckdb(folder: Path) -> Pipe:
    def ask(query: str) -> list[Row]:
        return duckdb_rows(folder / "audit.duckdb", query)

    return Pipe(folder, "target-duckdb", DUCKDB["target.json"], ask)


@pytest.fixture(params=["postgres", pytest.param("duckdb", marks=NEEDS_A_WHEEL)])
def pipe(request: pytest.FixtureRequest, tmp_path: Path) -> Pipe:
    """Return the pipe into an empty database."""
    if request.param == "duckdb":
        return pipe_into_duckdb(tmp_path)
    return pipe_into_postgres(tmp_path, request.getfixturevalue("server"))


def test_the_pipe_loads_every_entry_once_and_then_what_is_new(pipe: Pipe) -> None:
    log = Log(entries.even(1100))
    newest = entries.micros(entries.UNTIL)
    with FakeSentry({"acme": log}) as sentry:
        write_config(pipe.folder, sentry)
        pipe.run()
        log.add([newest, newest, newest - 30 * entries.MINUTE])
        before = len(sentry.requests)
        pipe.run()
        asked = len(sentry.requests) - before

    found = pipe.ask("SELECT id FROM sentry.audit_logs")
    assert sorted(row["id"] for row in found) == ids_of(log)
    # The second run went on from the state of the first.
    assert asked < before


def test_the_pipe_fails_with_the_tap_and_says_when_it_runs_already(pipe: Pipe) -> None:
    with FakeSentry({"acme": Log(entries.even(5))}, tokens={"another": "ok"}) as sentry:
        write_config(pipe.folder, sentry)
        script, variables = f"bash {pipe.folder}/pipe", environment(pipe.folder / "home", BIN)
        assert ended(script, pipe.folder, variables).returncode != 0
        locked = ended(f"exec 8> lock; flock 8; {script}", pipe.folder, variables)

    assert locked.returncode != 0
    assert locked.stderr == "another run is under way\n"


def test_the_query_knows_that_times_are_utc(pipe: Pipe) -> None:
    border = datetime.now(UTC) - timedelta(days=30)
    times = {
        "older": border - timedelta(minutes=5),
        "newer": border + timedelta(minutes=5),
        "new": border + timedelta(days=29),
    }
    actor = {"id": "1", "email": "ada@acme.example"}
    rows = [
        entries.row(str(number), entries.micros(at), event="member.edit", note=note, actor=actor)
        for number, (note, at) in enumerate(times.items())
    ]
    rows.append(entries.row("9", entries.micros(times["new"]), event="team.edit"))
    with FakeSentry({"acme": Log(rows=rows)}) as sentry:
        pipe.load(run_tap(config(sentry)).stdout)

    asked = {"target-postgres": POSTGRES["query"], "target-duckdb": DUCKDB["query"]}
    found = pipe.ask(asked[pipe.target.name].strip().rstrip(";"))
    assert [(row["note"], row["who"]) for row in found] == [
        ("new", "ada@acme.example"),
        ("newer", "ada@acme.example"),
    ]


def test_the_join_finds_the_member_behind_each_entry(pipe: Pipe) -> None:
    organizations = {slug: Inventory.made(slug, members=4) for slug in ("acme", "other")}
    users = [member["user"] for member in organizations["acme"].members if member["user"]]
    # Each of them is in both organizations, with a role of their own in each.
    for slug, role in ("acme", "owner"), ("other", "member"):
        for number, member in enumerate(organizations[slug].members):
            member |= {"role": role, "id": f"{slug}-{number}"}
            if member["user"]:
                member["user"] = users[number % len(users)]
    at = entries.micros(entries.UNTIL)
    rows = [entries.row(f"{n}", at + n, actor=user) for n, user in enumerate(users)]
    rows.append(entries.row("99", at + 99, actor={"name": "SCIM"}))
    with FakeSentry({"acme": Log(rows=rows), "other": Log()}, inventories=organizations) as sentry:
        settings = config(sentry, organization=None, organizations=["acme", "other"])
        run = run_tap(settings, catalog=selecting("audit_logs", "members"))
        assert run.returncode == 0, run.stderr
        pipe.load(run.stdout)

    found = pipe.ask(DUCKDB["join"].strip().rstrip(";"))
    assert len(users) > 1
    assert [(row["email"], row["role"]) for row in found] == [
        (None, None),
        *((user["email"], "owner") for user in reversed(users)),
    ]


# Into a file that is appended to


def appending_script() -> str:
    """The script in which the block for append-only files has taken its place."""
    script = PIPE["upserting"].splitlines()
    begin = next(n for n, line in enumerate(script) if line.startswith("tap-sentry-audit "))
    end = next(n for n, line in enumerate(script) if line.startswith("tail "))
    return "\n".join([*script[:begin], PIPE["appending"], *script[end + 1 :]])


@pytest.fixture
def appending(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a way to run the script, with other programs before those that it names."""
    (tmp_path / "pipe").write_text(appending_script())
    (tmp_path / "target.json").write_text(JSONL["target.json"])
    loader = LOADERS / "target-jsonl/venv/bin"

    def run(*programs: Path) -> subprocess.CompletedProcess[str]:
        variables = environment(tmp_path / "home", *programs, BIN, loader)
        return ended("bash pipe", tmp_path, variables)

    return run


def test_a_file_has_each_entry_once_after_a_kill_too(
    appending: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    log = Log(entries.even(1200))
    newest = entries.micros(entries.UNTIL)
    killed = tmp_path / "killed"
    killed.mkdir()
    # The tap, killed in the middle of a line behind its first STATE messages.
    tap = killed / "tap-sentry-audit"
    tap.write_text(f'#!/bin/bash\n{BIN}/tap-sentry-audit "$@" | head -c 1000000; kill -9 $$\n')
    tap.chmod(0o755)
    with FakeSentry({"acme": log}) as sentry:
        write_config(tmp_path, sentry)
        assert appending(killed).returncode == 137
        written = ids_in(tmp_path / "out/audit_logs.jsonl")
        assert 0 < len(written) < len(log)
        assert not (tmp_path / "run.singer").read_text().endswith("}\n")
        assert appending().returncode == 0
        log.add([newest, newest, newest - 30 * entries.MINUTE])
        assert appending().returncode == 0

    assert ids_in(tmp_path / "out/audit_logs.jsonl") == ids_of(log)


def test_a_target_that_cannot_write_a_file_fails_the_script_and_keeps_the_state(
    appending: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "out").touch()  # where a folder is needed
    log = Log(entries.even(50))
    with FakeSentry({"acme": log}) as sentry:
        write_config(tmp_path, sentry)
        assert appending().returncode != 0
        assert (tmp_path / "state.json").read_text() == "{}\n"
        (tmp_path / "out").unlink()
        assert appending().returncode == 0

    assert ids_in(tmp_path / "out/audit_logs.jsonl") == ids_of(log)
