"""Runs that follow each other, whatever ended the one before."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tap_sentry_audit.tap import TapSentryAudit
from testing.fake_sentry import FakeSentry, Log, entries, faults
from testing.sentry_tap import config, run_tap

if TYPE_CHECKING:
    from testing.forked import Run

DAY = 86_400_000_000
NEW_YEAR = entries.micros("2025-01-01T00:00:00Z")


def read(log: Log, state: object = None, clock: datetime | None = None, **settings: object) -> Run:
    """Run the tap on a log; `clock` is the server's, if it is not right."""
    shown = clock.timestamp if clock else time.time
    with FakeSentry({"acme": log}, clock=shown) as sentry:
        return run_tap(config(sentry, **settings), state=state)


def ids(log: Log) -> list[str]:
    return [row["id"] for row in log.rows() if row]


def partition_of(run: Run) -> dict[str, Any]:
    assert run.state is not None
    [partition] = run.state["bookmarks"]["audit_logs"]["partitions"]
    return {**partition}


def newest_of(run: Run) -> str:
    return str(partition_of(run)["replication_key_value"])


def bookmark(value: str) -> dict[str, Any]:
    """A state as a person writes it."""
    partition = {"context": {"organization": "acme"}, "replication_key_value": value}
    return {"bookmarks": {"audit_logs": {"partitions": [partition]}}}


def test_the_next_run_sends_what_is_new_or_late_and_nothing_else() -> None:
    log = Log(entries.even(120))
    first = read(log)
    newest = entries.micros(first.records[-1]["dateCreated"])
    added = log.add([newest - 3_599_000_000, NEW_YEAR + 1, NEW_YEAR + 2])
    second = read(log, first.state)
    third = read(log, second.state)

    assert second.ids == added
    assert third.ids == []
    assert partition_of(third) | {"last_read": ""} == partition_of(second) | {"last_read": ""}


def test_a_failed_run_continues_after_its_last_state() -> None:
    log = Log(entries.even(1200))
    refusing = FakeSentry(
        {"acme": log}, faults=lambda number, _: faults.status(403) if number > 8 else None
    )
    with refusing as sentry:
        first = run_tap(config(sentry))
    second = read(log, first.state)

    assert first.returncode == 1
    assert 0 < len(first.ids) < 1200
    assert first.ids + second.ids == ids(log)


def test_a_state_that_is_due_comes_even_while_a_request_hangs(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr("tap_sentry_audit.streams.incremental.STATE_SECONDS", 0.2)
    monkeypatch.setattr("tap_sentry_audit.audit_log.reader.TICK", 0.1)
    with FakeSentry({"acme": Log(entries.even(250))}, faults={3: "hang"}) as sentry:
        one_by_one = config(sentry, max_concurrent_requests=1, request_timeout_seconds=1)
        TapSentryAudit(config=one_by_one).sync_all()

    created: list[str] = []
    written: list[tuple[int, str]] = []
    for line in capfdbinary.readouterr().out.splitlines():
        message = json.loads(line)
        if message["type"] == "RECORD":
            created.append(message["record"]["dateCreated"])
        elif message["type"] == "STATE":
            [partition] = message["value"]["bookmarks"]["audit_logs"]["partitions"]
            written.append((len(created), partition.get("replication_key_value")))
    assert len(created) == 250
    assert (198, created[197]) in written


# --- first runs


def test_without_backfill_a_first_run_of_an_empty_log_misses_nothing_that_comes() -> None:
    log = Log()
    first = read(log, backfill=False)
    new = log.add([NEW_YEAR])

    assert read(log, first.state, backfill=False).ids == new


def test_without_backfill_an_entry_of_the_future_hides_nothing_that_comes() -> None:
    log = Log([NEW_YEAR, entries.micros(datetime.now(UTC)) + 300 * DAY])
    first = read(log, backfill=False)
    new = log.add([entries.micros(datetime.now(UTC)) - DAY // 48])

    assert first.ids == []
    assert read(log, first.state, backfill=False).ids == new


# --- ranges


def test_a_range_without_entries_keeps_its_end_as_the_position() -> None:
    log = Log(entries.even(30))
    quiet = read(log, start_date="2025-02-01", end_date="2025-03-01")
    late, new = log.add([entries.micros("2025-02-28T23:30:00Z"), NEW_YEAR + 60 * DAY])

    assert newest_of(quiet) == "2025-03-01T00:00:00.000000Z"
    assert read(log, quiet.state).ids == [late, new]


def test_a_range_with_entries_keeps_the_newest_as_its_bookmark() -> None:
    run = read(Log(entries.even(30)), end_date="2025-03-01")

    assert newest_of(run) == run.records[-1]["dateCreated"]


def test_a_range_of_null_rows_alone_keeps_no_position() -> None:
    log = Log()
    log.put(None, NEW_YEAR)
    run = read(log, end_date="2025-03-01")

    assert "replication_key_value" not in json.dumps(run.state)


@pytest.mark.parametrize("days", [1, -1])
def test_a_range_that_ends_in_the_future_keeps_no_position_ahead_of_either_clock(days: int) -> None:
    server_time = datetime.now(UTC) + timedelta(days=days)
    run = read(Log(), clock=server_time, end_date="2206-01-01")

    assert datetime.fromisoformat(newest_of(run)) < min(server_time, datetime.now(UTC))


def test_a_range_in_the_future_hides_nothing_from_the_next_run() -> None:
    log = Log()
    mistyped = read(log, start_date="2206-01-01", end_date="2207-01-01")
    new = log.add([entries.micros(datetime.now(UTC))])

    assert read(log, mistyped.state).ids == new


# --- bookmarks ahead of a clock


def test_a_bookmark_ahead_of_both_clocks_is_an_error_with_the_cure_and_kept() -> None:
    ahead = bookmark("2206-11-21T00:00:00Z")
    with FakeSentry({"acme": Log(entries.even(5)), "beta": Log(entries.even(5))}) as sentry:
        both = config(sentry, organization=None, organizations=["acme", "beta"])
        run = run_tap(both, state=ahead)

    assert run.returncode == 1
    [error] = run.errors
    assert error.startswith(
        "acme: the bookmark in the state, 2206-11-21T00:00:00.000000Z, is ahead"
    )
    assert "set replication_key_value to the time of the newest record" in error
    assert {record["organization"] for record in run.records} == {"beta"}
    assert run.state is not None
    kept = run.state["bookmarks"]["audit_logs"]["partitions"][0]
    assert ahead["bookmarks"]["audit_logs"]["partitions"][0].items() <= kept.items()


@pytest.mark.parametrize(("bookmark_hours", "server_hours"), [(2, 3), (-2, -3)])
def test_a_bookmark_ahead_of_one_clock_alone_is_taken_up(
    bookmark_hours: int, server_hours: int
) -> None:
    now = datetime.now(UTC)
    at = now + timedelta(hours=bookmark_hours)
    log = Log([entries.micros(at)])
    run = read(log, bookmark(at.isoformat()), clock=now + timedelta(hours=server_hours))

    assert run.returncode == 0
    assert run.ids == ids(log)
