"""SIGINT and SIGTERM at any moment: before the first line, and when the work is over."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import pytest

from testing import forked
from testing.fake_receiver import FakeReceiver, Reply
from testing.otlp_target import COMMAND, ENVIRONMENT, record, schema, state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testing.forked import Message

both = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])

PIPE = subprocess.PIPE


def stopped_by(number: signal.Signals) -> str:
    return f"target-otlp was stopped by {number.name} before it began: nothing was sent\n"


@contextmanager
def started(*command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command whose input stays open; it does not outlive the test."""
    variables = {**ENVIRONMENT, **environment}
    with subprocess.Popen(
        command, env=variables, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_until(stream: IO[str] | None, text: str) -> list[str]:
    """Read lines up to the one that has a text in it."""
    assert stream
    lines = []
    for line in stream:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(lines)


def give(process: subprocess.Popen[str], *messages: Message) -> None:
    assert process.stdin
    for message in messages:
        process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()


def bytes_in(pipe: int) -> int:
    """How much is in a pipe that nobody has read."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


@both
@pytest.mark.parametrize("module", ["simplejson", "requests", "singer_sdk"])
def test_a_signal_while_the_program_is_being_imported_is_one_line(
    number: signal.Signals, module: str
) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "target_otlp", "--config=/nowhere"]
    with started(*command) as process:
        lines_until(process.stderr, f" {module}\n")
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)

    told = [line for line in stderr.splitlines(keepends=True) if "import time:" not in line]
    assert (process.returncode, stdout, told) == (128 + number, "", [stopped_by(number)])


@both
def test_a_signal_while_the_settings_are_read_is_one_line(
    number: signal.Signals, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "config.json")
    # To open it waits until the target has opened it too.
    with (
        started(*COMMAND, f"--config={tmp_path / 'config.json'}") as process,
        (tmp_path / "config.json").open("w"),
    ):
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)

    assert (process.returncode, stdout, stderr) == (128 + number, "", stopped_by(number))


@both
def test_a_signal_before_the_first_line_is_no_success(number: signal.Signals) -> None:
    with (
        FakeReceiver() as server,
        started(*COMMAND, "--config=ENV", TARGET_OTLP_ENDPOINT=server.url) as process,
    ):
        lines_until(process.stderr, "Parsing 'endpoint' config")
        time.sleep(0.3)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)

    assert (process.returncode, stdout, stderr) == (128 + number, "", stopped_by(number))


@both
def test_a_signal_at_any_moment_is_no_success_unless_a_line_was_read(
    number: signal.Signals, tmp_path: Path
) -> None:
    with FakeReceiver() as server:
        longest = _run_until(None, number, server, tmp_path / "whole")
        moments = 40
        for moment in range(moments):
            folder = tmp_path / str(moment)
            _run_until(longest * 1.2 * moment / moments, number, server, folder)


def _run_until(
    seconds: float | None, number: signal.Signals, server: FakeReceiver, folder: Path
) -> float:
    """Stop a target some time after its start, or once it has let a state out; return the time."""
    folder.mkdir()
    os.mkfifo(folder / "stdin")
    given = json.dumps(state(0)).encode() + b"\n"
    pipe = os.open(folder / "stdin", os.O_RDWR)
    try:
        os.write(pipe, given)
        environment = {**ENVIRONMENT, "TARGET_OTLP_ENDPOINT": server.url}
        process = forked.start("target_otlp", ["--config=ENV"], environment, folder)
        stdout, stderr = folder / "stdout", folder / "stderr"
        while not stderr.exists():
            time.sleep(0.001)
        began = time.monotonic()
        if seconds is None:
            while not stdout.read_text():
                time.sleep(0.001)
        else:
            time.sleep(seconds)
        took = time.monotonic() - began
        assert process.pid
        os.kill(process.pid, number)
        process.join(60)
        unread = bytes_in(pipe)
    finally:
        os.close(pipe)
    told = stderr.read_text()
    assert "Traceback" not in told
    assert stdout.read_text() in ({""} if unread else {"", '{"done": 0}\n'})
    if process.exitcode != 0 or unread:
        assert process.exitcode == 128 + number
        assert told.endswith(f"was stopped by {number.name} before it began: nothing was sent\n")
    return took


@both
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_signal_breaks_off_no_state(number: signal.Signals, unbuffered: str) -> None:
    long: Message = {"type": "STATE", "value": {"text": "x" * 300_000}}
    environment = {"PYTHONUNBUFFERED": unbuffered}
    with (
        FakeReceiver() as server,
        started(
            *COMMAND, "--config=ENV", TARGET_OTLP_ENDPOINT=server.url, **environment
        ) as process,
    ):
        give(process, schema(), record(1), long)
        assert process.stdin
        process.stdin.close()
        assert process.stdout
        assert process.stderr
        # A pipe takes so much, and then its writer waits.
        while bytes_in(process.stdout.fileno()) < 1 << 16:
            time.sleep(0.01)
        process.send_signal(number)
        stdout, stderr = process.stdout.read(), process.stderr.read()
        process.wait(60)

    assert process.returncode == 0
    assert {json.loads(line)["text"] for line in stdout.splitlines()} == {"x" * 300_000}
    assert "Traceback" not in stderr


@pytest.mark.parametrize(("reply", "code"), [(Reply(), 0), (Reply(500, b"no"), 1)])
def test_a_signal_when_the_work_is_over_changes_nothing(reply: Reply, code: int) -> None:
    with (
        FakeReceiver(reply) as server,
        started(*COMMAND, "--config=ENV", TARGET_OTLP_ENDPOINT=server.url) as process,
    ):
        give(process, schema(), record(1), state(1))
        assert process.stdin
        process.stdin.close()
        # Whether it is an error or not, the last line has this.
        lines_until(process.stderr, "accepted")
        while process.poll() is None:
            for number in (signal.SIGINT, signal.SIGTERM):
                process.send_signal(number)
            time.sleep(0.001)
        assert process.stdout
        assert process.stderr
        stdout, stderr = process.stdout.read(), process.stderr.read()

    assert (process.returncode, stdout, stderr) == (code, "" if code else '{"done": 1}\n', "")


@both
def test_a_request_that_is_under_way_is_not_sent_twice(number: signal.Signals) -> None:
    full = [record(each) for each in range(500)]
    with (
        FakeReceiver(Reply(after_seconds=1), Reply()) as server,
        started(*COMMAND, "--config=ENV", TARGET_OTLP_ENDPOINT=server.url) as process,
    ):
        give(process, schema(), *full, state(500), record(500), state(501))
        while not server.requests:
            time.sleep(0.01)
        process.send_signal(number)
        assert process.stdout
        stdout = process.stdout.read()
        process.wait(60)

        assert len(server.requests[0].log_records) == 500
        assert len(server.kept) == len({one.body.string_value for one in server.kept})
    assert process.returncode == 0
    # Whether a line was read after the signal is left to chance.
    assert [json.loads(line)["done"] for line in stdout.splitlines()] in ([], [500], [500, 501])
