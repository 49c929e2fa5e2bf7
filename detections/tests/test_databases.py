"""The same on what real targets make of the log: in a DuckDB file and in PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sentry_audit_detections.catalog import Detection, detections
from sentry_audit_detections.database import Database, opened
from sentry_audit_detections.drift import drift
from testing.cases import expected, found_by, records
from testing.fake_sentry import FakeSentry, Inventory, Log
from testing.postgres import postgres
from testing.sentry_tap import config, run_tap, selecting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.forked import Run

pytestmark = pytest.mark.slow

LOADERS = Path(__file__).parents[2] / ".meltano" / "loaders"
NEEDS_A_WHEEL = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="DuckDB 1.2.2 has no wheel for Python 3.14"
)


def load(run: Run, target: str, settings: dict[str, Any], folder: Path) -> None:
    path = folder / "target.json"
    path.write_text(json.dumps(settings))
    subprocess.run(
        [LOADERS / target / "venv/bin" / target, "--config", path],
        input=run.stdout,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )


@pytest.fixture(scope="module")
def run() -> Run:
    """Run the tap over a server that has the entries of all cases."""
    logs = {
        organization: Log(rows=list(rows))
        for organization, rows in groupby(records(), key=lambda each: each["organization"])
    }
    inventories = {name: Inventory.made(name, members=2) for name in logs}
    with FakeSentry(logs, inventories=inventories) as sentry:
        settings = config(sentry, organization=None, organizations=list(logs))
        return run_tap(settings, catalog=selecting("audit_logs", "organizations", "members"))


@pytest.fixture(scope="module", params=["postgres", pytest.param("duckdb", marks=NEEDS_A_WHEEL)])
def log(
    request: pytest.FixtureRequest, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    folder = tmp_path_factory.mktemp("loaded")
    if request.param == "duckdb":
        path = str(folder / "audit.duckdb")
        settings = {"path": path, "default_target_schema": "sentry", "temp_dir": str(folder)}
        load(run, "target-duckdb", settings, folder)
        with opened(path, "sentry") as database:
            yield database
        return
    with postgres() as server:
        load(
            run,
            "target-postgres",
            {"sqlalchemy_url": server.url, "default_target_schema": "sentry"},
            folder,
        )
        with opened(server.url, "sentry") as database:
            yield database


@pytest.mark.parametrize("detection", detections(), ids=lambda each: each.name)
def test_a_detection_finds_the_same_in_what_a_target_has_loaded(
    log: Database, detection: Detection
) -> None:
    assert sorted(found_by(log, detection)) == sorted(expected(detection)) != []


def test_rows_that_a_target_has_loaded_are_compared_with_the_log(log: Database) -> None:
    found = {(each.organization, each.subject): each.detail for each in drift(log, None)}

    assert found["case-01", "require2FA"].endswith("the last entry says 'require_2fa to True'")
    assert ("case-13", "require2FA") not in found
    # The same rows as before: nobody is new, nobody is gone.
    assert set(drift(log, log)) == set(drift(log, None))
