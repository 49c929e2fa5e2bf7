"""The blocks of docs/fleet.md: the fleet, the handover, a group by itself, meltano side by side."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from sentry_fleet.settings import read_fleet
from testing.fake_sentry import FakeSentry, Log, entries
from testing.fake_sentry.log import FIRST_ID, IDS
from testing.postgres import Postgres, postgres
from testing.recipes import (
    BIN,
    LOADERS,
    ROOT,
    Project,
    ended,
    environment,
    filled_in,
    follow,
    recipes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLEET = recipes("docs/fleet.md")
GROUPS = {"eu": ["acme", "globex"], "us": ["initech"]}
SIDE_BY_SIDE = ROOT / "examples/meltano/side-by-side"
DATABASE = {"PATH": os.environ["PATH"], "MELTANO_DATABASE_URI": "sqlite://"}
PYTHON = {"uv run python": sys.executable}


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture(name="logs")
def _logs() -> dict[str, Log]:
    slugs = [slug for group in GROUPS.values() for slug in group]
    slugs.append("hooli")
    return {
        slug: Log(entries.even(300, seed=number), first_id=FIRST_ID + number * IDS)
        for number, slug in enumerate(slugs)
    }


def variables(folder: Path, server: Postgres, host: str, toml: str) -> dict[str, str]:
    """A worker's environment, with a fleet.toml in its folder."""
    (folder / "fleet.toml").write_text(f'host = "{host}"\n{toml}')
    return environment(
        folder / "home",
        BIN,
        LOADERS / "target-postgres/venv/bin",
        PYTHONPATH=str(ROOT / "examples/fleet"),
        FLEET_DATABASE_URL=f"postgresql://postgres@/postgres?host={server.folder}",
        SENTRY_TOKEN_EU="token",  # noqa: S106  (the stand-in's)
        SENTRY_TOKEN_US="token",  # noqa: S106
    )


def test_the_fleet_that_is_shown_has_ranges_that_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET["fleet.toml"])
    monkeypatch.setenv("FLEET", str(tmp_path / "fleet.toml"))
    monkeypatch.setenv("FLEET_DATABASE_URL", "postgresql://db/sentry")
    fleet = read_fleet()

    assert {group.name: list(group.organizations) for group in fleet.groups} == GROUPS
    assert fleet.ranges[0].start is None
    ends = [each.end for each in fleet.ranges]
    assert [each.start for each in fleet.ranges[1:]] == ends[:-1]


def test_the_handover_names_what_was_not_loaded(tmp_path: Path, server: Postgres) -> None:
    worker = variables(tmp_path, server, "http://127.0.0.1:9", FLEET["fleet.toml"])
    recipe = filled_in(FLEET["handover"], **PYTHON)
    said = follow(f"! {recipe}", tmp_path, worker)

    assert [line.partition(":")[0] for line in said.splitlines()] == ["acme", "globex", "initech"]


@pytest.mark.slow
def test_a_group_goes_on_from_its_state(
    tmp_path: Path, server: Postgres, logs: dict[str, Log]
) -> None:
    toml = FLEET["fleet.toml"].partition("[backfill]")[0]
    with FakeSentry(logs) as sentry:
        worker = variables(tmp_path, server, sentry.url, toml)
        once = filled_in(FLEET["group"], **PYTHON)
        follow(once, tmp_path, worker)
        before = len(sentry.requests)
        newest = entries.micros(entries.UNTIL)
        for slug in GROUPS["eu"]:
            logs[slug].add([newest, newest - 30 * entries.MINUTE])
        follow(once, tmp_path, worker)
        asked = len(sentry.requests) - before

    rows = server.rows("SELECT id FROM sentry.audit_logs")
    assert sorted(row["id"] for row in rows) == sorted(
        row["id"] for slug in GROUPS["eu"] for row in logs[slug].rows() if row
    )
    assert asked < before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fleet.toml", "home"]


def test_the_recipe_fails_if_one_of_its_runs_does_after_all_have_run(tmp_path: Path) -> None:
    (tmp_path / "meltano").write_text("#!/bin/sh\n")
    script = f'#!/bin/sh\necho "$*" >> {tmp_path}/runs\n[ $1 = $TAP_SENTRY_AUDIT_ORGANIZATION ]\n'
    (tmp_path / "side-by-side").write_text(f"{script}[ $1 != acme ]\n")
    for name in "meltano", "side-by-side":
        (tmp_path / name).chmod(0o755)
    done = ended(FLEET["meltano"], tmp_path, environment(tmp_path / "home", tmp_path))

    assert done.returncode != 0
    assert sorted((tmp_path / "runs").read_text().splitlines()) == [
        f"{slug} tap-sentry-audit target-postgres"
        for slug in ("acme", "globex", "hooli", "initech")
    ]


@pytest.mark.parametrize("given", ["", "acme", "acme tap-sentry-audit"])
def test_side_by_side_says_what_it_has_to_be_given(given: str, tmp_path: Path) -> None:
    (tmp_path / "meltano.yml").touch()
    done = ended(f"{SIDE_BY_SIDE} {given}", tmp_path, DATABASE)

    assert done.returncode == 2
    assert done.stderr == "usage: side-by-side SUFFIX TAP TARGET\n"


def test_side_by_side_runs_only_where_the_project_s_plugins_are(tmp_path: Path) -> None:
    done = ended(f"{SIDE_BY_SIDE} acme tap-sentry-audit target-postgres", tmp_path, DATABASE)

    assert done.returncode == 2
    assert done.stderr == "there is no meltano.yml here: run it in the project's folder\n"


POSTGRES = "MELTANO_DATABASE_URI=postgresql+psycopg://meltano:…@db.example.com/meltano"
BUCKET = "MELTANO_STATE_BACKEND_URI=s3://states/fleet"


@contextmanager
def bucket(programs: Path) -> Iterator[str]:
    """Serve S3 with an empty bucket, `states`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(programs / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    making = Request(f"http://127.0.0.1:{port}/states", method="PUT")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as served:
        try:
            for _ in range(600):
                assert served.poll() is None
                with suppress(URLError), closing(urlopen(making)):  # noqa: S310
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            served.terminate()


def runs_side_by_side(
    folder: Path, server: Postgres, logs: dict[str, Log], recipe: str, **variables: str
) -> str:
    """Follow the recipe twice, with an entry more in each log; return the states' names."""
    server.run("DROP SCHEMA IF EXISTS sentry CASCADE; CREATE SCHEMA sentry")
    with FakeSentry(logs) as sentry:
        project = Project.made(
            folder,
            sentry,
            PGHOST=str(server.folder),
            TARGET_POSTGRES_HOST="",
            TARGET_POSTGRES_USER="postgres",
            TARGET_POSTGRES_PASSWORD="any",  # noqa: S106  (nobody asks for it)
            TARGET_POSTGRES_DATABASE="postgres",
            **variables,
        )
        shutil.copy(SIDE_BY_SIDE, project.folder)
        project.follow(recipe)
        for log in logs.values():
            log.add([entries.micros(entries.UNTIL)])
        before = len(sentry.requests)
        project.follow(recipe)
        asked = len(sentry.requests) - before
        states = project.follow(recipe.partition("printf ")[0])

    rows = server.rows("SELECT id FROM sentry.audit_logs")
    assert sorted(row["id"] for row in rows) == sorted(
        row["id"] for log in logs.values() for row in log.rows() if row
    )
    assert asked <= 2 * len(logs)
    return states


@pytest.mark.slow
def test_meltano_runs_side_by_side_each_from_its_own_state(
    tmp_path: Path, server: Postgres, logs: dict[str, Log]
) -> None:
    server.run("CREATE DATABASE meltano")
    database = f"'postgresql+psycopg://postgres@/meltano?host={server.folder}'"
    recipe = filled_in(FLEET["meltano"], **{POSTGRES: f"MELTANO_DATABASE_URI={database}"})
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    states = runs_side_by_side(tmp_path / "project", server, logs, recipe, PATH=path)

    for slug in logs:
        assert f"dev:tap-sentry-audit-to-target-postgres:{slug}" in states


@pytest.mark.slow
def test_meltano_runs_side_by_side_with_their_states_in_a_bucket_and_no_database(
    tmp_path: Path, server: Postgres, logs: dict[str, Log]
) -> None:
    uv, venv = BIN / "uv", tmp_path / "venv"
    packages = [f"meltano[s3]=={version('meltano')}", "moto[server]>=5.2,<6"]
    subprocess.run([uv, "venv", "--quiet", venv], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", venv, *packages], check=True)
    with bucket(venv / "bin") as url:
        states = runs_side_by_side(
            tmp_path / "project",
            server,
            logs,
            filled_in(FLEET["meltano"], **{POSTGRES: BUCKET}),
            PATH=os.pathsep.join([str(venv / "bin"), os.environ["PATH"]]),
            # What the first program compiles of the new environment, the others find.
            PYTHONDONTWRITEBYTECODE="",
            AWS_ENDPOINT_URL=url,
            AWS_ACCESS_KEY_ID="any",
            AWS_SECRET_ACCESS_KEY="any",  # noqa: S106  (nobody asks for it)
        )

    for slug in logs:
        assert f"dev:tap-sentry-audit-to-target-postgres:{slug}" in states
