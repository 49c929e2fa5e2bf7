"""A plain pipe into the real target-jsonl, which appends and gives the state back on stdout."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tap_sentry_audit.tap import STREAMS
from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.recorded import audit_rows
from testing.sentry_tap import config, run_tap, selecting

if TYPE_CHECKING:
    from testing.forked import Run

pytestmark = pytest.mark.slow

TARGET = Path(__file__).parents[1] / ".meltano/loaders/target-jsonl/venv/bin/target-jsonl"
MINUTE = 60_000_000
ODD = [
    entries.row("1", 0, actor={"name": None}),
    entries.row("2", 1, actor={"id": 7, "isActive": "yes", "emails": {}}, data=[1]),
    entries.row("3", 2, targetUser=3842558, targetObject=2**62),
    entries.row("4", 3, targetUser={"id": 5}, note=None, ipAddress=None),
]


def pipe(run: Run, folder: Path) -> dict[str, Any]:
    """Give a run's output to the target and return the state that it gives back."""
    settings = folder / "target.json"
    settings.write_text(json.dumps({"destination_path": str(folder), "do_timestamp_file": False}))
    done = subprocess.run(
        [TARGET, "--config", settings],
        input=run.stdout,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    state: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return state


def written(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_odd_and_recorded_entries_and_every_stream_pass_the_targets_validation(
    tmp_path: Path,
) -> None:
    log = Log(rows=[*audit_rows(), *ODD])
    with FakeSentry({"acme": log}, inventories={"acme": Inventory.made()}) as sentry:
        run = run_tap(config(sentry), catalog=selecting(*(stream.name for stream in STREAMS)))
    pipe(run, tmp_path)

    ids = {path.stem: written(path) for path in tmp_path.glob("*.jsonl")}
    assert ids.keys() == {stream.name for stream in STREAMS}
    assert sorted(ids["audit_logs"]) == sorted(row["id"] for row in log.rows() if row)
    assert sum(map(len, ids.values())) == len(run.records)


def test_polls_of_a_living_log_leave_each_entry_once_in_the_file(tmp_path: Path) -> None:
    log = Log(entries.even(150))
    newest = entries.micros(entries.UNTIL)
    state = None
    with FakeSentry({"acme": log}) as sentry:
        for _ in range(4):
            newest += 7 * MINUTE
            # Two of one moment, and one that is late by half an hour.
            log.add([newest, newest, newest - 30 * MINUTE])
            state = pipe(run_tap(config(sentry), state=state), tmp_path)

    ids = written(tmp_path / "audit_logs.jsonl")
    assert sorted(ids) == sorted(row["id"] for row in log.rows() if row)
