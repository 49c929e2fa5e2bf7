"""The tap in a Meltano project, as most people run it. Nothing is asked of Meltano Hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ruamel.yaml import YAML

from testing.fake_receiver import FakeReceiver, attributes
from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.ocsf_schema import flaws

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
NO_HUB = {"MELTANO_HUB_URL": "http://127.0.0.1:9"}


def meltano(project: Path, *arguments: str, **environment: str) -> str:
    """Run Meltano and return what it wrote to stdout."""
    done = subprocess.run(
        [Path(sys.executable).with_name("meltano"), *arguments],
        cwd=project,
        env={**os.environ, **NO_HUB, **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def log() -> Log:
    return Log(entries.even(120))


@pytest.fixture
def sentry(log: Log) -> Iterator[FakeSentry]:
    inventories = {"acme": Inventory.made(members=5)}
    with FakeSentry({"acme": log}, inventories=inventories) as server:
        yield server


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return this project with a state of its own, and with the plugins that `make` installed."""
    shutil.copy(ROOT / "meltano.yml", tmp_path)
    (tmp_path / ".meltano").mkdir()
    for kind in ("extractors", "loaders", "mappers"):
        (tmp_path / ".meltano" / kind).symlink_to(ROOT / ".meltano" / kind)
    return tmp_path


def of(sentry: FakeSentry) -> dict[str, str]:
    """The environment of a run against the stand-in."""
    return {
        "MELTANO_AUTO_INSTALL": "false",
        "TAP_SENTRY_AUDIT_HOST": sentry.host,
        "TAP_SENTRY_AUDIT_AUTH_TOKEN": "token",
        "TAP_SENTRY_AUDIT_ORGANIZATION": "acme",
    }


def test_each_run_writes_what_is_new_of_the_streams_that_meltano_select_chose(
    project: Path, sentry: FakeSentry, log: Log
) -> None:
    settings = of(sentry)
    meltano(project, "run", "tap-sentry-audit", "target-jsonl", **settings)
    assert [path.name for path in (project / "output").iterdir()] == ["audit_logs.jsonl"]
    log.add(entries.micros(entries.UNTIL) + number for number in range(5))
    meltano(project, "select", "tap-sentry-audit", "members", "*", **settings)
    meltano(project, "run", "tap-sentry-audit", "target-jsonl", **settings)

    lines = {path.stem: path.read_text().splitlines() for path in project.glob("output/*")}
    assert [json.loads(line)["id"] for line in lines["audit_logs"]] == [
        row["id"] for row in log.rows() if row
    ]
    assert len(lines["members"]) == 5
    assert lines.keys() == {"audit_logs", "members"}


def test_the_log_goes_to_an_opentelemetry_receiver_mapped_as_it_should_be(
    project: Path, sentry: FakeSentry, log: Log
) -> None:
    with FakeReceiver() as receiver:
        settings = of(sentry) | {"TARGET_OTLP_ENDPOINT": receiver.url}
        meltano(project, "run", "tap-sentry-audit", "target-otlp", **settings)

        assert receiver.ids == [f"acme/{row['id']}" for row in log.rows() if row]
        assert attributes(receiver.kept[0]).keys() >= {"event.name", "user.full_name"}
        (resource_logs,) = receiver.requests[0].decoded.resource_logs
        assert attributes(resource_logs.resource) == {"service.name": "sentry"}


def test_the_log_becomes_ocsf_events_and_the_state_comes_back(
    project: Path, sentry: FakeSentry, log: Log
) -> None:
    settings = of(sentry) | {"MAPPER_SENTRY_OCSF_INCLUDE_RAW_DATA": "false"}
    run = ("run", "--state-id-suffix=ocsf", "tap-sentry-audit", "sentry-ocsf", "target-jsonl")
    meltano(project, *run, **settings)
    log.add(entries.micros(entries.UNTIL) + number for number in range(5))
    meltano(project, *run, **settings)

    [path] = (project / "output").iterdir()
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert path.name == "ocsf_events.jsonl"
    assert [event["uid"] for event in found] == [row["id"] for row in log.rows() if row]
    assert [event for event in found if flaws(event) or "raw_data" in event] == []


def test_meltano_add_installs_the_tap_from_its_definition(tmp_path: Path) -> None:
    definition = YAML(typ="safe", pure=True).load(ROOT / "hub" / "tap-sentry-audit.yml")
    local = json.dumps(definition | {"pip_url": str(ROOT)})
    (tmp_path / "definition.yml").write_text(local)
    (tmp_path / "meltano.yml").write_text("send_anonymous_usage_stats: false")

    meltano(tmp_path, "add", "--from-ref=definition.yml", "tap-sentry-audit")
    told = meltano(tmp_path, "invoke", "tap-sentry-audit", "--about", "--format=json")

    assert json.loads(told)["name"] == "tap-sentry-audit"
