"""What a person sees while the target runs and when it ends, and who has the last word."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from target_otlp.progress import Progress
from testing.fake_receiver import FakeReceiver, Reply
from testing.otlp_target import COMMAND, ENVIRONMENT, record, run_target, schema, state
from testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINE = f"{json.dumps(record(1))}\n".encode()
BATCH = f"{json.dumps(schema())}\n".encode() + LINE * 500
FAILS = Reply(401, b"invalid key")


@contextmanager
def failed(server: FakeReceiver) -> Iterator[subprocess.Popen[bytes]]:
    """Run the target until its first request has failed; its input stays open."""
    with subprocess.Popen(
        [*COMMAND, "--config=ENV"],
        env={**ENVIRONMENT, "TARGET_OTLP_ENDPOINT": server.url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        try:
            process.stdin.write(BATCH)
            process.stdin.flush()
            wait_until(lambda: server.requests)
            yield process
        finally:
            process.kill()


def test_a_line_comes_every_ten_seconds_with_what_was_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    progress = Progress("http://localhost/v1/logs")
    with progress.lines(seconds=0.05):
        wait_until(lambda: caplog.messages)
        progress.accepted = 12_500
        progress.rejected = 2
        progress.retries = 3
        progress.last_error = "answered 503 busy"
        seen = len(caplog.messages)
        wait_until(lambda: len(caplog.messages) > seen)

    assert caplog.messages[0] == (
        "0 records accepted by http://localhost/v1/logs, 0 a second, 0 retries"
    )
    assert re.fullmatch(
        r"12,500 records accepted by http://localhost/v1/logs, [\d,]+ a second, 2 rejected, "
        "3 retries; the last error: answered 503 busy",
        caplog.messages[seen],
    )
    before = len(caplog.messages)
    time.sleep(0.2)
    assert len(caplog.messages) == before


@pytest.mark.slow
def test_a_line_comes_while_the_target_waits_for_the_receiver() -> None:
    with FakeReceiver(Reply(503, b"busy", headers={"Retry-After": "11"}), Reply()) as server:
        ended = run_target([schema(), record(1)], endpoint=server.url)

    name = f"{server.url}/v1/logs"
    *_, line, last = ended.log("INFO")
    assert line.startswith(
        f"0 records accepted by {name}, 0 a second, 0 retries; the last error: {name} answered 503"
    )
    assert "1 retry; the last error" in last


def test_the_last_line_says_how_many_were_accepted_and_what_was_in_the_way() -> None:
    busy = Reply(503, b"busy", {"Retry-After": "0"})
    with FakeReceiver(busy, busy, Reply()) as server:
        ended = run_target([schema(), record(1), state(1)], endpoint=server.url)

    name = f"{server.url}/v1/logs"
    last = ended.stderr.splitlines()[-1].partition(" | ")[2]
    assert last.startswith("INFO ")
    assert re.fullmatch(
        rf"1 record accepted by {name}, \d a second, 2 retries; the last error: {name} answered "
        "503 busy",
        ended.log("INFO")[-1],
    )


def test_after_a_failure_the_tap_can_write_to_its_end() -> None:
    with FakeReceiver(FAILS) as server, failed(server) as process:
        assert process.stdin
        time.sleep(0.2)  # until the answer is there
        for _ in range(5_000):
            process.stdin.write(LINE)
        process.stdin.write(f"{json.dumps(state(1))}\n".encode())
        stdout, stderr = process.communicate(timeout=10)

        assert len(server.requests) == 1
    assert (process.returncode, stdout) == (1, b"")
    assert b"answered 401 invalid key" in stderr.splitlines()[-1]
    assert stderr.count(b"| ERROR") == 1


def test_a_tap_that_does_not_end_is_told_of_and_a_signal_ends_the_wait() -> None:
    with FakeReceiver(FAILS) as server, failed(server) as process:
        assert process.stderr
        told = next(line for line in process.stderr if b"for up to 30 s" in line)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=5)

    assert b"answered 401 invalid key" in told
    assert process.returncode == 1
    assert b"answered 401 invalid key" in stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_tap_that_does_not_end_is_left_after_half_a_minute() -> None:
    began = time.monotonic()
    with FakeReceiver(FAILS) as server, failed(server) as process:
        assert process.wait(60) == 1
    assert 29 < time.monotonic() - began < 40


def test_a_failure_with_input_from_a_file_leaves_stdin_alone(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(BATCH)
    with (
        FakeReceiver(FAILS) as server,
        subprocess.Popen(
            [*COMMAND, "--config=ENV", f"--input={path}"],
            env={**ENVIRONMENT, "TARGET_OTLP_ENDPOINT": server.url},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        assert process.wait(20) == 1
