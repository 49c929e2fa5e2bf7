"""SIGINT and SIGTERM at any moment: no traceback, and no state that lacks what was given."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testing.captivateiq_tap import ENVIRONMENT, config, run_tap
from testing.fake_captivateiq import FakeCaptivateIQ, Log, row
from testing.forked import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from testing.forked import Message

NOW = datetime.now(UTC).replace(microsecond=0)
CATALOG = Path(__file__).with_name("catalog.json")
MODULE = [sys.executable, "-m", "tap_captivateiq_audit"]
either_signal = pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])


def hours(count: int) -> list[Message]:
    return [row(number, NOW - timedelta(hours=count - number)) for number in range(count)]


def ids(state: Message | None) -> set[str]:
    """The ids that a state knows to be sent."""
    assert state
    return set(state["bookmarks"]["audit_logs"]["lookback"]["ids"])


def until(is_so: Callable[[], object]) -> None:
    limit = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < limit
        time.sleep(0.005)


class Started:
    """The installed tap as a process of its own, whose output goes to files."""

    def __init__(
        self,
        folder: Path,
        settings: Message,
        *arguments: str,
        command: list[str] = MODULE,
        state: object = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        options = []
        for name, content in {"config": settings, "state": state}.items():
            if content is not None:
                (folder / f"{name}.json").write_text(json.dumps(content))
                options.append(f"--{name}={folder / name}.json")
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command, *options, *arguments],
                env={**ENVIRONMENT, **(environment or {})},
                stdout=stdout,
                stderr=stderr,
            )

    @property
    def log(self) -> str:
        return self._stderr.read_text()

    def stop(self, signum: int) -> Run:
        """Send a signal and wait for the end."""
        self.process.send_signal(signum)
        return self.end()

    def end(self) -> Run:
        try:
            code = self.process.wait(30)
        finally:
            self.process.kill()
        return Run(code, self._stdout.read_text(), self.log)


def assert_left_quietly(run: Run, signum: int) -> None:
    """What a run says that was stopped before it took up its state."""
    name = signal.Signals(signum).name
    assert run.stderr.splitlines()[-1] == (
        f"tap-captivateiq-audit was stopped by {name}: no state was written"
    )
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
    assert run.returncode == 128 + signum


@pytest.mark.parametrize(
    ("name", "signum"),
    [("state", signal.SIGTERM), ("catalog", signal.SIGINT)],
)
def test_a_signal_while_a_file_is_read_ends_the_program_quietly(
    name: str, signum: int, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    tap = Started(tmp_path, {"api_token": "x"}, f"--{name}={pipe}")
    opened: list[int] = []

    def is_read() -> bool:
        with suppress(OSError):  # nobody reads it yet
            opened.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        return bool(opened)

    until(is_read)
    time.sleep(0.05)
    run = tap.stop(signum)
    os.close(opened[0])

    assert_left_quietly(run, signum)


def test_a_signal_before_the_state_is_taken_up_writes_none(tmp_path: Path) -> None:
    # So many streams that it takes seconds to read them; the state's turn is after that.
    catalog = json.loads(CATALOG.read_text())
    ours = catalog["streams"][0]
    others = [{**ours, "stream": str(number), "tap_stream_id": str(number)} for number in range(9)]
    catalog["streams"] += others * 500
    large = tmp_path / "large.json"
    large.write_text(json.dumps(catalog))
    with FakeCaptivateIQ(Log(hours(9))) as server:
        state = run_tap(config(server)).state
        tap = Started(tmp_path, config(server), f"--catalog={large}", state=state)
        until(lambda: "Skipping parse of env var settings" in tap.log)
        time.sleep(0.3)
        run = tap.stop(signal.SIGTERM)

    assert_left_quietly(run, signal.SIGTERM)


@either_signal
def test_a_signal_before_anything_is_read_ends_with_the_state_that_was_given(
    signum: int, tmp_path: Path
) -> None:
    with FakeCaptivateIQ(Log(hours(9))) as server:
        state = run_tap(config(server)).state
        server.hangs_from = 0
        server.requests.clear()
        tap = Started(tmp_path, config(server), state=state)
        until(lambda: server.requests)
        run = tap.stop(signum)

    # Behind SCHEMA: a target may have forgotten the STATE at the start.
    assert [message["type"] for message in run.messages] == ["STATE", "SCHEMA", "STATE"]
    assert ids(run.state) == ids(state)
    assert run.stderr.splitlines()[-1] == (
        f"tap-captivateiq-audit was stopped by {signal.Signals(signum).name}: "
        "its last STATE holds all that it sent"
    )
    assert "Traceback" not in run.stderr
    assert run.returncode == 0


def test_a_signal_while_the_api_is_waited_for_ends_with_all_that_was_sent(tmp_path: Path) -> None:
    rows = hours(600)
    with FakeCaptivateIQ(Log(list(rows))) as server:
        settings = config(server, start_date=rows[0]["created_at"])
        whole = run_tap(settings)
        answers = len(server.requests)
        server.requests.clear()
        server.hangs_from = answers // 2
        tap = Started(tmp_path, settings)
        until(lambda: len(server.requests) > answers // 2)
        run = tap.stop(signal.SIGINT)

    assert 0 < len(run.ids) < 600
    assert run.ids == whole.ids[: len(run.ids)]
    assert run.messages[-1]["type"] == "STATE"
    bookmark = run.messages[-1]["value"]["bookmarks"]["audit_logs"]
    assert bookmark["replication_key_value"] == run.records[-1]["created_at"]
    assert run.ids[-1] in bookmark["lookback"]["ids"]
    assert run.returncode == 0


@either_signal
def test_a_connection_test_that_is_stopped_has_failed_and_writes_no_state(
    signum: int, tmp_path: Path
) -> None:
    with FakeCaptivateIQ(Log(hours(9))) as server:
        server.hangs_from = 0
        tap = Started(tmp_path, config(server), "--test")
        until(lambda: server.requests)
        run = tap.stop(signum)

    assert '"STATE"' not in run.stdout
    assert run.stderr.splitlines()[-1] == (
        f"tap-captivateiq-audit was stopped by {signal.Signals(signum).name}: no state was written"
    )
    assert "Traceback" not in run.stderr
    assert run.returncode == 128 + signum


def test_a_run_that_failed_has_failed_though_a_signal_comes_before_its_end(tmp_path: Path) -> None:
    # More than a pipe holds: the STATE after the error stands in it for a while.
    at = NOW - timedelta(days=9)
    rows = [row(number, at + timedelta(seconds=number)) for number in range(2500)]
    with FakeCaptivateIQ(Log(rows)) as server:
        settings = config(server, start_date=at.isoformat())
        run_tap(settings)
        server.fails_from = len(server.requests) - 1  # the days after those of the rows
        server.requests.clear()
        (tmp_path / "config.json").write_text(json.dumps(settings))
        with subprocess.Popen(
            [*MODULE, f"--config={tmp_path}/config.json"],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout
            assert process.stderr
            lines: list[str] = []
            while sum('"RECORD"' in line for line in lines) < 2500:
                lines.append(process.stdout.readline())
            while "api_token is not accepted" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            lines += process.stdout
            log = process.stderr.read()

    assert ids(json.loads(lines[-1])["value"]) == {each["id"] for each in rows}
    assert log.splitlines()[-1] == (
        "tap-captivateiq-audit was stopped by SIGTERM: its last STATE holds all that it sent"
    )
    assert "Traceback" not in log
    assert process.returncode == 1


def test_a_state_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with FakeCaptivateIQ(Log(hours(9))) as server:
        state = run_tap(config(server)).state
        server.hangs_from = 0
        server.requests.clear()
        (tmp_path / "config.json").write_text(json.dumps(config(server)))
        (tmp_path / "state.json").write_text(json.dumps(state))
        with subprocess.Popen(
            [*MODULE, f"--config={tmp_path}/config.json", f"--state={tmp_path}/state.json"],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            until(lambda: server.requests)
            assert process.stdout
            process.stdout.close()
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate(timeout=20)

    assert stderr.splitlines()[-1] == (
        "tap-captivateiq-audit was stopped by SIGTERM: its last STATE could not be written"
    )
    assert "Traceback" not in stderr
    assert process.returncode == 128 + signal.SIGTERM


def stopping(signum: int, after_seconds: float) -> Callable[[int], None]:
    def send(process: int) -> None:
        time.sleep(after_seconds)
        with suppress(ProcessLookupError):  # it has ended
            os.kill(process, signum)

    return send


def test_no_signal_at_any_moment_of_a_run_loses_what_the_state_holds() -> None:
    log = Log(hours(9))
    with FakeCaptivateIQ(log) as server:
        state = run_tap(config(server)).state
        log.rows.append(row(900, NOW))
        began = time.monotonic()
        run_tap(config(server), state=state)
        whole = time.monotonic() - began
        runs = []
        for number in range(24):
            signum = (signal.SIGINT, signal.SIGTERM)[number % 2]
            send = stopping(signum, whole * number / 24)
            runs.append((signum, run_tap(config(server), state=state, meanwhile=send)))

    for _, run in runs:
        if run.state is not None:
            assert run.messages[-1]["type"] == "STATE"
            assert ids(run.state) == ids(state) | set(run.ids)
    for signum, run in runs:
        assert "Traceback" not in run.stderr
        if run.returncode:
            assert run.stdout == ""
            assert run.returncode == 128 + signum
    assert {run.returncode == 0 for _, run in runs} == {True, False}


def test_no_signal_at_any_moment_of_a_discovery_writes_a_state() -> None:
    began = time.monotonic()
    run_tap({}, "--discover")
    whole = time.monotonic() - began
    for number in range(8):
        signum = (signal.SIGINT, signal.SIGTERM)[number % 2]
        run = run_tap({}, "--discover", meanwhile=stopping(signum, whole * number / 8))

        assert "STATE" not in run.stdout
        assert "Traceback" not in run.stderr
        assert run.returncode in {0, 128 + signum}
        assert run.returncode or json.loads(run.stdout)
