"""The whole way: the Sentry tap, this target, a receiver, and every entry counted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import kills
from testing.fake_receiver import FakeReceiver, Reply
from testing.fake_sentry import FakeSentry, Log, entries
from testing.otlp_target import COMMAND, ENVIRONMENT, EXAMPLE, run_target, schema
from testing.recorded import audit_rows
from testing.sentry_tap import config

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

NODE_MODULES = Path(__file__).parents[1] / ".npm" / "node_modules"
needs_node = pytest.mark.skipif(
    not (shutil.which("node") and (NODE_MODULES / "@elastic" / "mockotlpserver").is_dir()),
    reason="npm's mock receiver is not installed: `make` installs it where npm is there",
)


class Pipe:
    """`tap-sentry-audit | target-otlp`, with settings and state in a folder."""

    def __init__(self, folder: Path, sentry: FakeSentry, endpoint: str, **target: object) -> None:
        self._folder = folder
        self._write("tap.json", config(sentry))
        self._write("target.json", EXAMPLE | {"endpoint": endpoint} | target)

    def run(self) -> int:
        """Run both as processes, keep the last state, and return the target's exit code."""
        state = self._folder / "state.json"
        tap = [sys.executable, "-m", "tap_sentry_audit", f"--config={self._folder / 'tap.json'}"]
        if state.exists():
            tap.append(f"--state={state}")
        with (
            (self._folder / "stderr").open("ab") as stderr,
            subprocess.Popen(tap, stdout=subprocess.PIPE, stderr=stderr) as source,
        ):
            done = subprocess.run(
                [*COMMAND, f"--config={self._folder / 'target.json'}"],
                stdin=source.stdout,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=ENVIRONMENT,
                check=False,
            )
            # What a shell does: the tap hears that nobody reads any more.
            if source.stdout:
                source.stdout.close()
        if done.stdout:
            state.write_bytes(done.stdout.splitlines()[-1])
        return done.returncode

    def _write(self, name: str, content: object) -> None:
        (self._folder / name).write_text(json.dumps(content))


@contextmanager
def mock_receiver(written: Path) -> Iterator[str]:
    """Run npm's mock receiver, which writes what it decodes into a file, and return its URL."""
    script = Path(__file__).with_name("mock_receiver.js")
    with subprocess.Popen(
        ["node", script, written],  # noqa: S607  (wherever it is)
        env={**os.environ, "NODE_PATH": str(NODE_MODULES)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.terminate()


def test_a_receiver_that_dies_in_the_middle_misses_nothing_in_the_end(tmp_path: Path) -> None:
    log = Log(entries.even(900))
    dies = [Reply(), Reply(), Reply(500, b"disk full", keeps=True)]
    with FakeSentry({"acme": log}) as sentry, FakeReceiver(*dies) as receiver:
        pipe = Pipe(tmp_path, sentry, receiver.url, max_batch_size=100)
        assert pipe.run() == 1
        told = (tmp_path / "stderr").read_text()
        assert f"{receiver.url}/v1/logs answered 500 disk full. 200 records were accepted" in told
        receiver.replies = [Reply()]
        assert pipe.run() == 0
        # It kept what it said that it had not: such entries come again, with the same id.
        assert len(receiver.ids) > 900
        assert set(receiver.ids) == {f"acme/{row['id']}" for row in log.rows() if row}

        receiver.kept.clear()
        new = log.add(entries.micros(entries.UNTIL) + number for number in range(7))
        assert pipe.run() == 0
        assert receiver.ids == [f"acme/{each}" for each in new]


def test_the_targets_line_is_the_last_when_the_receiver_refuses_everything(tmp_path: Path) -> None:
    log = Log(entries.even(3_000))
    with FakeSentry({"acme": log}) as sentry, FakeReceiver(Reply(401, b"bad key")) as receiver:
        assert Pipe(tmp_path, sentry, receiver.url).run() == 1

    told = (tmp_path / "stderr").read_text().splitlines()
    assert "| ERROR    | target-otlp " in told[-1]
    assert "answered 401 bad key" in told[-1]
    assert [line for line in told if "| ERROR" in line] == told[-1:]


def test_whenever_the_target_is_killed_nothing_is_lost() -> None:
    measured = kills.kill(times=3, count=10_000, seed=7)

    assert measured.lost == 0
    assert max(measured.repeats) <= 1_500  # from one STATE to the next, and a batch


@needs_node
@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_another_receiver_decodes_the_same(encoding: str, tmp_path: Path) -> None:
    rows = [{**row, "organization": "acme"} for row in audit_rows()]
    odd: dict[str, Any] = {
        "id": "odd",
        "organization": "acme",
        "event": "a\0b",
        "actor": {"id": None, "name": "\ud800", "email": "é"},
        "ipAddress": "",
        "dateCreated": "2026-01-02T03:04:05.123456Z",
        "data": {"big": 2**70, "empty": {}, "list": [[]]},
    }
    rows.append(odd)
    messages = [{"type": "RECORD", "stream": "audit_logs", "record": row} for row in rows]
    with mock_receiver(tmp_path / "received") as url:
        run = run_target([schema(), *messages], endpoint=url, encoding=encoding, **EXAMPLE)
    assert run.returncode == 0

    with (tmp_path / "received").open(encoding="utf-8") as lines:
        received = [json.loads(line) for line in lines]
    assert [json.loads(one["body"]) for one in received] == rows
    uids = [one["attributes"]["log.record.uid"] for one in received]
    assert uids == [f"acme/{row['id']}" for row in rows]
    assert received[-1]["attributes"] == {
        "singer.stream": "audit_logs",
        "event.name": "a\0b",
        "log.record.uid": "acme/odd",
        "user.id": None,
        "user.email": "é",
        "user.full_name": "\\ud800",
        "client.address": "",
        "sentry.organization": "acme",
    }
    assert [int(one["time"]) for one in received] == [
        round(datetime.fromisoformat(row["dateCreated"]).timestamp() * 1e6) * 1000 for row in rows
    ]
