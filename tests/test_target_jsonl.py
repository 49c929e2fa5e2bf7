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
    from collections.abc import Mapping, Sequence

    from testing.forked import Run

pytestmark = pytest.mark.slow

TARGET = Path(__file__).parents[1] / ".meltano/loaders/target-jsonl/venv/bin/target-jsonl"
MINUTE = 60_000_000


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


def written(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "audit_logs.jsonl").read_text().splitlines()]


def ids(records: Sequence[Mapping[str, Any] | None]) -> list[str]:
    return sorted(record["id"] for record in records if record)


def test_recorded_entries_and_odd_ones_pass_the_targets_validation(tmp_path: Path) -> None:
    odd = [
        entries.row("1", 0, actor={"name": None}),
        entries.row("2", 1, actor={"id": 7, "isActive": "yes", "emails": {}}, data=[1]),
        entries.row("3", 2, targetUser=3842558, targetObject=2**62),
        entries.row("4", 3, targetUser={"id": 5}, note=None, ipAddress=None),
    ]
    with FakeSentry({"acme": Log(rows=[*audit_rows(), *odd])}) as sentry:
        pipe(run_tap(config(sentry)), tmp_path)

    assert ids(written(tmp_path)) == ids([*audit_rows(), *odd])


def test_every_stream_passes_the_targets_validation(tmp_path: Path) -> None:
    streams = [stream.name for stream in STREAMS]
    acme = Inventory.made()
    with FakeSentry({"acme": Log(entries.even(5))}, inventories={"acme": acme}) as sentry:
        run = run_tap(config(sentry), catalog=selecting(*streams))
        pipe(run, tmp_path)

    lines = sum(len(path.read_text().splitlines()) for path in tmp_path.glob("*.jsonl"))
    assert {path.stem for path in tmp_path.glob("*.jsonl")} == set(streams)
    assert lines == len(run.records)


def test_ten_polls_of_a_living_log_leave_each_entry_once_in_the_file(tmp_path: Path) -> None:
    log = Log(entries.even(150))
    newest = entries.micros(entries.UNTIL)
    state = None
    with FakeSentry({"acme": log}) as sentry:
        for _ in range(10):
            newest += 7 * MINUTE
            # Two of one moment, and one that is late by half an hour.
            log.add([newest, newest, newest - 30 * MINUTE])
            state = pipe(run_tap(config(sentry), state=state), tmp_path)

    assert ids(written(tmp_path)) == ids(log.rows())
