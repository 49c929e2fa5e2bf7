"""SIGINT and SIGTERM while the target reads, sends, waits and writes."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from testing.fake_receiver import FakeReceiver, Reply
from testing.otlp_target import COMMAND, ENVIRONMENT, record, run_target_in, schema, state
from testing.waiting import wait_until, wait_until_full

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testing.forked import Message, Run

PIPE = subprocess.PIPE
Process = subprocess.Popen[str]
FULL = [schema(), *(record(number) for number in range(500)), state(500)]
"""A batch that is sent at once, and a state."""


@contextmanager
def running(server: FakeReceiver, *messages: Message, **environment: str) -> Iterator[Process]:
    """Run the target, and give it messages after which its input stays open."""
    variables = {**ENVIRONMENT, "TARGET_OTLP_ENDPOINT": server.url, **environment}
    with subprocess.Popen(
        [*COMMAND, "--config=ENV"], env=variables, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            # A state for which nothing waits comes out at once: then the target is there.
            for message in (state(0), *messages):
                process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == '{"done": 0}\n'
            yield process
        finally:
            process.kill()


def run_full(server: FakeReceiver, stop: Callable[[int], None]) -> Run:
    """Send a full batch, and stop the run when the first request is under way."""

    def meanwhile(process: int) -> None:
        wait_until(lambda: server.requests)
        stop(process)

    return run_target_in({}, FULL, endpoint=server.url, meanwhile=meanwhile)


def test_what_waits_is_sent_when_the_target_is_told_to_stop() -> None:
    with FakeReceiver() as server, running(server, schema(), record(1), state(1)) as process:
        time.sleep(0.2)  # until the record is read
        process.send_signal(signal.SIGTERM)
        stdout, _ = process.communicate(timeout=20)

        assert (process.returncode, stdout) == (0, '{"done": 1}\n')
        assert len(server.kept) == 1


@pytest.mark.parametrize("status", [403, 503])
def test_a_receiver_that_fails_while_the_target_stops_is_a_failure_at_once(status: int) -> None:
    with (
        FakeReceiver(Reply(status, b"no")) as server,
        running(server, schema(), record(1), state(1)) as process,
    ):
        time.sleep(0.2)  # until the record is read
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=5)

    assert (process.returncode, stdout) == (1, "")
    told = "0 records were accepted before that; the state covers the first 0."
    assert stderr.count(told) == 1
    assert "Traceback" not in stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_state_of_what_was_accepted_comes_out_though_the_receiver_is_gone(
    number: signal.Signals,
) -> None:
    with (
        FakeReceiver(Reply(), Reply(503, b"gone")) as server,
        running(server, *FULL, record(500), state(501)) as process,
    ):
        wait_until(lambda: server.requests)
        time.sleep(0.2)  # until the rest is read
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=5)

    assert (process.returncode, stdout) == (1, '{"done": 500}\n')
    last = "500 records were accepted before that; the state covers the first 500."
    assert stderr.splitlines()[-1].endswith(last)


@pytest.mark.parametrize("moment", [0, 1], ids=["in the request", "in the wait"])
def test_a_signal_ends_a_wait_before_another_try(moment: float) -> None:
    def stop(process: int) -> None:
        time.sleep(moment)
        os.kill(process, signal.SIGTERM)

    began = time.monotonic()
    fails = Reply(503, headers={"Retry-After": "60"}, after_seconds=0.5)
    with FakeReceiver(fails, Reply()) as server:
        run = run_full(server, stop)

        assert len(server.kept) == 500
    assert run.returncode == 0
    assert time.monotonic() - began < 30


def test_a_second_signal_stops_at_once() -> None:
    def stop(process: int) -> None:
        os.kill(process, signal.SIGTERM)
        time.sleep(0.2)
        os.kill(process, signal.SIGTERM)

    with FakeReceiver(Reply(after_seconds=4)) as server:
        assert run_full(server, stop).returncode == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_that_is_under_way_is_not_sent_twice(number: signal.Signals) -> None:
    with FakeReceiver(Reply(after_seconds=0.3), Reply()) as server:
        run = run_full(server, lambda process: os.kill(process, number))

        assert [len(request.log_records) for request in server.requests] == [500]
    assert run.returncode == 0
    # Whether a line was read after the signal is left to chance.
    assert run.messages in ([], [{"done": 500}])


@pytest.mark.parametrize(("number", "unbuffered"), [(signal.SIGINT, ""), (signal.SIGTERM, "1")])
def test_a_signal_truncates_no_state(number: signal.Signals, unbuffered: str) -> None:
    long: Message = {"type": "STATE", "value": {"text": "x" * 300_000}}
    with (
        FakeReceiver() as server,
        running(server, schema(), record(1), long, PYTHONUNBUFFERED=unbuffered) as process,
    ):
        assert process.stdin
        assert process.stdout
        process.stdin.close()
        wait_until_full(process.stdout)
        process.send_signal(number)
        stdout, stderr = process.stdout.read(), process.stderr.read() if process.stderr else ""
        process.wait(60)

    assert process.returncode == 0
    assert {json.loads(line)["text"] for line in stdout.splitlines()} == {"x" * 300_000}
    assert "Traceback" not in stderr


@contextmanager
def stuck(server: FakeReceiver, *messages: Message) -> Iterator[tuple[Process, int]]:
    """Run the target with a pipe for stdout that is full; yield it and the pipe's other end."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"-" * 4095 + b"\n")
    variables = {**ENVIRONMENT, "TARGET_OTLP_ENDPOINT": server.url}
    with subprocess.Popen(
        [*COMMAND, "--config=ENV"],
        env=variables,
        stdin=PIPE,
        stdout=writer,
        stderr=PIPE,
        text=True,
    ) as process:
        os.close(writer)
        assert process.stdin
        try:
            for message in messages:
                process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            wait_until(lambda: server.requests)
            time.sleep(0.3)  # until it is stuck
            yield process, reader
        finally:
            process.kill()
            os.close(reader)


LONG: Message = {"type": "STATE", "value": {"text": "x" * 3_000_000}}


@pytest.mark.parametrize("last", [state(500), LONG], ids=["short", "longer than any pipe"])
def test_one_signal_ends_a_run_whose_state_nobody_reads(last: Message) -> None:
    with FakeReceiver() as server, stuck(server, *FULL[:-1], last) as (process, reader):
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=20)

        assert 2 < time.monotonic() - began < 8
        assert os.read(reader, 1 << 20) == b"-" * 4095 + b"\n"
    assert process.returncode == 1
    told = "The state cannot be written to stdout: nobody read it for 3 s after the signal."
    assert stderr.splitlines()[-1].endswith(told)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_such_a_run_at_once(number: signal.Signals) -> None:
    with FakeReceiver() as server, stuck(server, *FULL) as (process, _):
        process.send_signal(number)
        time.sleep(0.2)
        process.send_signal(number)

        assert process.wait(1) == -number


def test_a_reader_that_comes_back_in_time_gets_the_state_whole() -> None:
    with FakeReceiver() as server, stuck(server, *FULL) as (process, reader):
        process.send_signal(signal.SIGTERM)
        time.sleep(1)
        os.read(reader, 4096)

        assert process.wait(20) == 0
        assert os.read(reader, 4096) == b'{"done": 500}\n'
