"""Several `meltano run` at once in one project, with their state in PostgreSQL."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from testing.fake_sentry import FakeSentry, Log, entries
from testing.fake_sentry.log import FIRST_ID, IDS
from testing.postgres import postgres
from testing.recipes import BIN, ROOT, Project

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "examples/meltano/side-by-side"
SLUGS = ["acme", "globex", "initech", "hooli"]


def test_four_runs_at_once_load_all_and_each_goes_on_from_its_own_state(tmp_path: Path) -> None:
    logs = {
        slug: Log(entries.even(300, seed=number), first_id=FIRST_ID + number * IDS)
        for number, slug in enumerate(SLUGS)
    }
    with FakeSentry(logs) as sentry, postgres() as server:
        server.run("CREATE SCHEMA sentry; CREATE DATABASE meltano")
        database = f"postgresql+psycopg://postgres@/meltano?host={server.folder}"
        project = Project.made(
            tmp_path / "project",
            sentry,
            MELTANO_DATABASE_URI=database,
            PGHOST=str(server.folder),
            TARGET_POSTGRES_HOST="",
            TARGET_POSTGRES_USER="postgres",
            TARGET_POSTGRES_PASSWORD="any",  # noqa: S106  (nobody asks for it)
            TARGET_POSTGRES_DATABASE="postgres",
        )
        shutil.copy(SCRIPT, project.folder)
        environment = {**project.variables, "PATH": f"{BIN}:{project.variables['PATH']}"}
        # Makes the tables, which four at once would do at the same time.
        project.follow(".venv/bin/meltano state list")

        def run_all() -> list[int]:
            running = [
                subprocess.Popen(
                    ["./side-by-side", slug, "tap-sentry-audit", "target-postgres"],
                    cwd=project.folder,
                    env={**environment, "TAP_SENTRY_AUDIT_ORGANIZATION": slug},
                )
                for slug in SLUGS
            ]
            return [process.wait() for process in running]

        assert run_all() == [0, 0, 0, 0]
        new = {slug: log.add([entries.micros(entries.UNTIL)]) for slug, log in logs.items()}
        before = len(sentry.requests)
        assert run_all() == [0, 0, 0, 0]
        found = server.rows("SELECT organization, id FROM sentry.audit_logs")
        states = project.follow(".venv/bin/meltano state list").split()

    assert sorted((row["organization"], row["id"]) for row in found) == sorted(
        (slug, row["id"]) for slug, log in logs.items() for row in log.rows() if row
    )
    assert len(new) == 4
    assert len(sentry.requests) - before <= 8
    assert {state.rpartition(":")[2] for state in states if "sentry" in state} == set(SLUGS)
    assert json.dumps(states).count("tap-sentry-audit-to-target-postgres") == 4
