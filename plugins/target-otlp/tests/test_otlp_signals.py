"""SIGINT and SIGTERM at any moment: before the first line, and when the work is over."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from testing.fake_receiver import FakeReceiver, Reply
from testing.otlp_target import COMMAND, ENVIRONMENT, record, schema, state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.forked import Message

both = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])

PIPE = subprocess.PIPE


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


def give(process: subprocess.Popen[str], *messages: Message) -> None:
    assert process.stdin
    for message in messages:
        process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()


def bytes_in(pipe: int) -> int:
    """How much is in a pipe that nobody has read."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


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
