"""SIGINT and SIGTERM at any moment, seen from outside: messages, exit code, stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from testing import forked
from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.sentry_tap import command, config, run_tap, selecting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STOPS = [signal.SIGINT, signal.SIGTERM]

GIVEN: dict[str, Any] = {
    "bookmarks": {
        "audit_logs": {
            "partitions": [
                {
                    "context": {"organization": "acme"},
                    "replication_key": "dateCreated",
                    "replication_key_value": "2025-01-01T00:00:00.000000Z",
                    "lookback": {"seconds": 3600, "ids": {"1": 1735689600}},
                }
            ]
        }
    }
}


@pytest.fixture(name="sentry")
def _sentry() -> Iterator[FakeSentry]:
    with FakeSentry({"acme": Log()}, latency=0.4) as sentry:
        yield sentry


def options(folder: Path, **files: object) -> list[str]:
    """Write the files that the options name."""
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return [part for name in files for part in (f"--{name}", str(folder / f"{name}.json"))]


def messages_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def holds_what_was_given(state: dict[str, Any]) -> bool:
    """Whether a state has the given bookmark; the SDK also notes where a stream started."""
    [given], [partition] = (one["bookmarks"]["audit_logs"]["partitions"] for one in (GIVEN, state))
    return bool(given.items() <= partition.items())


def bookmark_in(state: dict[str, Any] | None) -> object:
    assert state
    [partition] = state["bookmarks"]["audit_logs"]["partitions"]
    return partition | {"last_read": ""}


def wait_for_reader(fifo: Path) -> int:
    """Open a FIFO for writing as soon as somebody reads it."""
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("option", "stop"), [("--state", signal.SIGTERM), ("--catalog", signal.SIGINT)]
)
def test_a_signal_before_the_state_is_read_leaves_one_line_and_no_state(
    option: str, stop: signal.Signals, sentry: FakeSentry, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    given = options(tmp_path, config=config(sentry))
    with subprocess.Popen(
        command(*given, option, str(fifo)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as tap:
        writer = wait_for_reader(fifo)
        tap.send_signal(stop)
        stdout, stderr = tap.communicate(timeout=10)
        os.close(writer)

    assert tap.returncode == 128 + stop
    assert stdout == ""
    assert stderr.splitlines()[-1] == (
        f"tap-sentry-audit was stopped by {stop.name}: no state was written"
    )
    assert "Traceback" not in stderr


@pytest.mark.parametrize("stop", STOPS)
def test_a_signal_at_any_moment_of_a_start_keeps_the_given_state(
    stop: signal.Signals, sentry: FakeSentry, tmp_path: Path
) -> None:
    given = options(tmp_path, config=config(sentry), state=GIVEN)
    codes = set()
    for number in range(16):

        def stop_it(pid: int, after: float = 0.005 * number) -> None:
            time.sleep(after)
            os.kill(pid, stop)

        done = forked.run("tap_sentry_audit", given, dict(os.environ), meanwhile=stop_it)

        assert "Traceback" not in done.stderr
        states = [m["value"] for m in messages_of(done.stdout) if m["type"] == "STATE"]
        assert all(holds_what_was_given(state) for state in states)
        assert done.returncode in {0, 128 + stop}
        assert (done.returncode == 0) == bool(states)
        codes.add(done.returncode)

    assert 128 + stop in codes


@pytest.mark.parametrize(
    ("after", "stop"), [(1, signal.SIGINT), (50, signal.SIGTERM), (110, signal.SIGINT)]
)
def test_a_signal_while_a_list_is_read_ends_with_a_state_behind_the_last_record(
    after: int, stop: signal.Signals, tmp_path: Path
) -> None:
    log, inventory = Log(entries.even(20)), Inventory.made("acme", members=300)
    with FakeSentry({"acme": log}, inventories={"acme": inventory}, latency=0.2) as sentry:
        catalog = selecting("audit_logs", "members")
        first = run_tap(config(sentry), catalog=catalog)
        given = options(tmp_path, config=config(sentry), catalog=catalog, state=first.state)
        lines = []
        with subprocess.Popen(
            command(*given), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
        ) as tap:
            assert tap.stdout
            for line in tap.stdout:
                lines.append(line)
                if sum('"stream":"members","record"' in one for one in lines) == after:
                    tap.send_signal(stop)

    last = json.loads(lines[-1])
    assert tap.returncode == 0
    assert last["type"] == "STATE"
    assert bookmark_in(last["value"]) == bookmark_in(first.state)


def test_a_run_that_has_failed_does_not_succeed_by_being_stopped(tmp_path: Path) -> None:
    with FakeSentry({"acme": Log(entries.even(300))}, latency=0.3) as sentry:
        both = config(sentry, organization=None, organizations=["missing", "acme"])
        given = options(tmp_path, config=both)

        def stop_it(pid: int) -> None:
            while len(sentry.requests) < 3:
                time.sleep(0.01)
            os.kill(pid, signal.SIGTERM)

        done = forked.run("tap_sentry_audit", given, dict(os.environ), meanwhile=stop_it)

    assert done.returncode == 1
    assert messages_of(done.stdout)[-1]["type"] == "STATE"


@pytest.mark.parametrize("stop", STOPS)
def test_a_connection_test_that_is_interrupted_is_none_that_succeeded(
    stop: signal.Signals, sentry: FakeSentry, tmp_path: Path
) -> None:
    given = options(tmp_path, config=config(sentry))

    def stop_it(pid: int) -> None:
        while not sentry.requests:
            time.sleep(0.01)
        os.kill(pid, stop)

    done = forked.run("tap_sentry_audit", [*given, "--test"], dict(os.environ), meanwhile=stop_it)

    assert done.returncode == 128 + stop
    assert '"STATE"' not in done.stdout
