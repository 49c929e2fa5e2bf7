"""SIGINT and SIGTERM at any moment: no traceback, and no state that lacks what was given."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testing.captivateiq_tap import ENVIRONMENT, NOW, config, hours, run_tap
from testing.fake_captivateiq import FakeCaptivateIQ, Log, row
from testing.waiting import wait_until, wait_until_full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testing.forked import Message

CATALOG = Path(__file__).with_name("catalog.json")


def ids(state: Message | None) -> set[str]:
    """The ids that a state knows to be sent."""
    assert state
    return set(state["bookmarks"]["audit_logs"]["lookback"]["ids"])


def ending(signum: int, end: str) -> str:
    return f"tap-captivateiq-audit was stopped by {signal.Signals(signum).name}: {end}"


def at_request(server: FakeCaptivateIQ, number: int, signum: int) -> Callable[[int], None]:
    """Let a request hang, and send a signal meanwhile."""
    server.requests.clear()
    server.hangs_from = number - 1

    def send(process: int) -> None:
        wait_until(lambda: len(server.requests) >= number)
        os.kill(process, signum)

    return send


@pytest.fixture
def server() -> Iterator[FakeCaptivateIQ]:
    with FakeCaptivateIQ(Log(hours(9))) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "signum"), [("state", signal.SIGTERM), ("catalog", signal.SIGINT)]
)
def test_a_signal_while_a_file_is_read_writes_no_state(
    name: str, signum: int, server: FakeCaptivateIQ, tmp_path: Path
) -> None:
    settings = config(server)
    files = {"catalog": CATALOG, "state": tmp_path / "state.json", name: tmp_path / "pipe"}
    (tmp_path / "state.json").write_text(json.dumps(run_tap(settings).state))
    os.mkfifo(tmp_path / "pipe")

    def stop(process: int) -> None:
        with (tmp_path / "pipe").open("w"):  # as soon as the tap reads it
            os.kill(process, signum)
            time.sleep(0.05)

    options = [f"--{option}={path}" for option, path in files.items()]
    run = run_tap(settings, *options, meanwhile=stop)

    assert (run.returncode, run.stdout) == (128 + signum, "")
    assert run.stderr.splitlines()[-1] == ending(signum, "no state was written")
    assert "Traceback" not in run.stderr


def test_a_signal_before_anything_is_read_ends_with_the_state_that_was_given(
    server: FakeCaptivateIQ,
) -> None:
    state = run_tap(config(server)).state
    stop = at_request(server, 1, signal.SIGTERM)
    run = run_tap(config(server), state=state, meanwhile=stop)

    # After SCHEMA, because a target may have forgotten the STATE at the start.
    assert [message["type"] for message in run.messages] == ["STATE", "SCHEMA", "STATE"]
    assert ids(run.state) == ids(state)
    assert run.stderr.splitlines()[-1] == ending(
        signal.SIGTERM, "its last STATE covers everything that it sent"
    )
    assert run.returncode == 0


def test_a_signal_during_a_later_request_ends_with_a_state_of_all_that_was_sent() -> None:
    with FakeCaptivateIQ(Log(hours(600))) as server:
        settings = config(server, start_date=hours(600)[0]["created_at"])
        run = run_tap(settings, meanwhile=at_request(server, 5, signal.SIGINT))

    assert 0 < len(run.ids) < 600
    assert run.messages[-1]["type"] == "STATE"
    bookmark = run.messages[-1]["value"]["bookmarks"]["audit_logs"]
    assert bookmark["replication_key_value"] == run.records[-1]["created_at"]
    assert run.ids[-1] in bookmark["lookback"]["ids"]
    assert run.returncode == 0


def test_a_connection_test_that_is_stopped_has_failed_and_writes_no_state(
    server: FakeCaptivateIQ,
) -> None:
    run = run_tap(config(server), "--test", meanwhile=at_request(server, 1, signal.SIGINT))

    assert '"STATE"' not in run.stdout
    assert run.stderr.splitlines()[-1] == ending(signal.SIGINT, "no state was written")
    assert "Traceback" not in run.stderr
    assert run.returncode == 128 + signal.SIGINT


def piped(folder: Path, settings: Message) -> subprocess.Popen[str]:
    """Start the tap with pipes for its output, which only the test reads."""
    (folder / "config.json").write_text(json.dumps(settings))
    return subprocess.Popen(
        [sys.executable, "-m", "tap_captivateiq_audit", f"--config={folder / 'config.json'}"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_signal_while_a_record_is_written_ends_with_a_state_that_has_it(tmp_path: Path) -> None:
    rows = [row(number, NOW, data={"text": "x" * 300_000}) for number in range(3)]
    with FakeCaptivateIQ(Log(rows)) as server:
        settings = config(server, start_date=f"{NOW:%Y-%m-%d}")
        with piped(tmp_path, settings) as process:
            assert process.stdout
            wait_until_full(process.stdout)
            process.send_signal(signal.SIGTERM)
            messages = [json.loads(line) for line in process.stdout]

    sent = {message["record"]["id"] for message in messages if message["type"] == "RECORD"}
    assert 0 < len(sent) < 3
    assert ids(messages[-1]["value"]) == sent


def test_a_run_that_failed_has_failed_though_a_signal_comes_before_its_end(tmp_path: Path) -> None:
    at = NOW - timedelta(days=9)
    # More than a pipe holds: the STATE after the error stays in it for a while.
    rows = [row(number, at, id=f"{number:0200}") for number in range(400)]
    with FakeCaptivateIQ(Log(rows)) as server:
        settings = config(server, start_date=at.isoformat())
        run_tap(settings)
        server.fails_from = len(server.requests) - 1  # the days after those of the rows
        server.requests.clear()
        with piped(tmp_path, settings) as process:
            assert process.stdout
            assert process.stderr
            lines: list[str] = []
            while sum('"RECORD"' in line for line in lines) < 400:
                lines.append(process.stdout.readline())
            while "api_token is not accepted" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            lines += process.stdout
            log = process.stderr.read()

    assert ids(json.loads(lines[-1])["value"]) == {each["id"] for each in rows}
    assert log.splitlines()[-1] == ending(
        signal.SIGTERM, "its last STATE covers everything that it sent"
    )
    assert "Traceback" not in log
    assert process.returncode == 1


def test_a_state_that_cannot_be_written_is_reported(
    server: FakeCaptivateIQ, tmp_path: Path
) -> None:
    server.hangs_from = 0
    with piped(tmp_path, config(server)) as process:
        wait_until(lambda: server.requests)
        assert process.stdout
        process.stdout.close()
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=20)

    assert stderr.splitlines()[-1] == ending(signal.SIGTERM, "its last STATE could not be written")
    assert "Traceback" not in stderr
    assert process.returncode == 128 + signal.SIGTERM


def stop_after(seconds: float, signum: int, process: int) -> None:
    time.sleep(seconds)
    with suppress(ProcessLookupError):  # it has ended
        os.kill(process, signum)


def test_no_signal_at_any_moment_of_a_run_loses_what_the_state_holds(
    server: FakeCaptivateIQ,
) -> None:
    state = run_tap(config(server)).state
    server.log.rows.append(row(900, NOW))
    began = time.monotonic()
    run_tap(config(server), state=state)
    whole = time.monotonic() - began
    codes = set()
    for number in range(24):
        signum = (signal.SIGINT, signal.SIGTERM)[number % 2]
        stop = partial(stop_after, whole * number / 24, signum)
        run = run_tap(config(server), state=state, meanwhile=stop)

        codes.add(run.returncode)
        assert "Traceback" not in run.stderr
        if run.returncode:
            assert (run.returncode, run.stdout) == (128 + signum, "")
        if run.state is not None:
            assert run.messages[-1]["type"] == "STATE"
            assert ids(run.state) == ids(state) | set(run.ids)
    assert len(codes) > 1
    assert 0 in codes
