"""A signal that comes while a message stands in a full pipe, or a log line."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from testing.fake_sentry import FakeSentry, Log
from testing.reading import MILLISECOND, START
from testing.sentry_tap import command, config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STOPS = pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])


@pytest.fixture(name="sentry")
def _sentry() -> Iterator[FakeSentry]:
    # More ids than a pipe holds: the last STATE stands in it for a while.
    log = Log([START + number * MILLISECOND for number in range(6000)])
    with FakeSentry({"acme": log}) as sentry:
        yield sentry


def started(sentry: FakeSentry, folder: Path, stderr: int) -> subprocess.Popen[bytes]:
    settings = folder / "config.json"
    settings.write_text(json.dumps(config(sentry, requests_per_second=1000)))
    return subprocess.Popen(
        command("--config", str(settings)), stdout=subprocess.PIPE, stderr=stderr
    )


def ids_in_states(lines: list[bytes]) -> list[int]:
    """How many ids each STATE has; none may be cut."""
    states = [json.loads(line) for line in lines if line.startswith(b'{"type":"STATE"')]
    bookmarks = [state["value"]["bookmarks"]["audit_logs"] for state in states]
    return [len(of["partitions"][0].get("lookback", {"ids": ()})["ids"]) for of in bookmarks]


def test_a_signal_breaks_off_no_state(sentry: FakeSentry, tmp_path: Path) -> None:
    with started(sentry, tmp_path, subprocess.DEVNULL) as process:
        assert process.stdout
        records, lines = 0, []
        while records < 6000:
            lines.append(process.stdout.readline())
            records += lines[-1].startswith(b'{"type":"RECORD"')
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        lines += process.stdout

    assert process.returncode == 0
    assert ids_in_states(lines)[-1] == 6000


@pytest.mark.parametrize(("stop", "read"), [(signal.SIGTERM, 0), (signal.SIGINT, 5980)])
def test_a_signal_ends_a_run_whose_target_reads_no_more(
    stop: signal.Signals, read: int, sentry: FakeSentry, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("w+") as log, started(sentry, tmp_path, log.fileno()) as process:
        assert process.stdout
        records, lines = 0, []
        while records < read:
            lines.append(process.stdout.readline())
            records += lines[-1].startswith(b'{"type":"RECORD"')
        select.select([process.stdout], [], [], 30)
        time.sleep(0.7)
        process.send_signal(stop)
        began = time.monotonic()
        process.wait(10)
        took = time.monotonic() - began
        lines += process.stdout
        log.seek(0)
        said = log.read()

    assert process.returncode == 1
    assert took < 5
    ids_in_states(lines)
    assert said.endswith(
        f"was stopped by {stop.name}: it could not write a last STATE within 3 seconds\n"
    )
    assert "Traceback" not in said


@STOPS
def test_a_signal_ends_a_run_whose_log_nobody_reads(
    stop: signal.Signals, sentry: FakeSentry, tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    with started(sentry, tmp_path, writer) as process:
        assert process.stdout
        time.sleep(2.0)
        process.send_signal(stop)
        began = time.monotonic()
        lines = list(process.stdout)
        process.wait(10)
        took = time.monotonic() - began
    os.close(reader)
    os.close(writer)

    assert took < 5
    ids_in_states(lines)
