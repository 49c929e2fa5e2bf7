"""Runs that follow each other, whatever ended the one before."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tap_sentry_audit.tap import TapSentryAudit
from testing.fake_sentry import FakeSentry, Log, entries, faults
from testing.sentry_tap import command, config, run_tap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAY = 86_400_000_000
NEW_YEAR = entries.micros("2025-01-01T00:00:00Z")


def ids(log: Log) -> list[str]:
    return [row["id"] for row in log.rows() if row]


def bookmark(value: str, **more: object) -> dict[str, object]:
    """A state as a person writes it."""
    partition = {
        "context": {"organization": "acme"},
        "replication_key": "dateCreated",
        "replication_key_value": value,
        **more,
    }
    return {"bookmarks": {"audit_logs": {"partitions": [partition]}}}


def test_the_next_run_sends_what_came_after_and_nothing_else() -> None:
    log = Log(entries.even(120))
    with FakeSentry({"acme": log}) as sentry:
        first = run_tap(config(sentry))
        added = log.add([NEW_YEAR + 1, NEW_YEAR + 2])
        second = run_tap(config(sentry), state=first.state)
        third = run_tap(config(sentry), state=second.state)

    assert second.ids == added
    assert third.ids == []
    assert third.state == second.state


def test_a_late_entry_within_the_lookback_is_sent_once() -> None:
    log = Log(entries.even(120))
    with FakeSentry({"acme": log}) as sentry:
        first = run_tap(config(sentry))
        newest = entries.micros(first.records[-1]["dateCreated"])
        late = log.add([newest - 3_599_000_000])
        second = run_tap(config(sentry), state=first.state)
        third = run_tap(config(sentry), state=second.state)

    assert second.ids == late
    assert third.ids == []
    assert second.state is not None
    assert first.state is not None
    assert newest_of(second.state) == newest_of(first.state)


def newest_of(state: dict[str, Any]) -> str:
    [partition] = state["bookmarks"]["audit_logs"]["partitions"]
    return str(partition["replication_key_value"])


def test_a_killed_run_goes_on_after_its_last_state(tmp_path: Path) -> None:
    log = Log(entries.even(5000))
    settings = tmp_path / "config.json"
    seen: list[str] = []
    state: object = None
    with FakeSentry({"acme": log}, latency=0.02) as sentry:
        settings.write_text(json.dumps(config(sentry)))
        with subprocess.Popen(
            command("--config", str(settings)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        ) as tap:
            assert tap.stdout
            for line in tap.stdout:
                message = json.loads(line)
                if message["type"] == "RECORD":
                    seen.append(message["record"]["id"])
                elif message["type"] == "STATE":
                    state, sent_before = message["value"], len(seen)
                if len(seen) == 2500:
                    tap.send_signal(signal.SIGKILL)
                    break
        rest = run_tap(config(sentry), state=state)

    assert sent_before == 2000
    assert seen[:sent_before] + rest.ids == ids(log)


def test_a_state_that_is_due_comes_even_while_a_request_hangs(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr("tap_sentry_audit.streams.incremental.STATE_SECONDS", 0.2)
    monkeypatch.setattr("tap_sentry_audit.audit_log.reader.TICK", 0.1)
    with FakeSentry({"acme": Log(entries.even(250))}, faults={3: "hang"}) as sentry:
        one_by_one = config(sentry, max_concurrent_requests=1, request_timeout_seconds=1)
        TapSentryAudit(config=one_by_one).sync_all()

    messages = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    records = 0
    kept_at: list[int] = []
    for message in messages:
        records += message["type"] == "RECORD"
        if message["type"] == "STATE":
            kept_at.append(records)
    assert records == 250
    assert 198 in kept_at


def test_a_failed_run_goes_on_after_its_last_state() -> None:
    log = Log(entries.even(2500))
    with FakeSentry({"acme": log}) as sentry:
        sentry.faults = lambda number, _: faults.status(403) if number > 15 else None
        first = run_tap(config(sentry))
        sentry.faults = ()
        second = run_tap(config(sentry), state=first.state)

    assert first.returncode == 1
    assert 0 < len(first.ids) < 2500
    assert first.ids + second.ids == ids(log)


@pytest.mark.parametrize(
    "form",
    [
        "2024-12-31T12:00:00Z",
        "2024-12-31T12:00:00.000000Z",
        "2024-12-31T12:00:00+00:00",
        "2024-12-31T14:00:00+02:00",
        "2024-12-31 12:00:00",
        "2024-12-31T12:00:00",
    ],
)
def test_a_bookmark_of_any_form_is_taken_up_and_nothing_at_it_is_lost(form: str) -> None:
    noon = NEW_YEAR - DAY // 2
    log = Log([noon - 1, noon, noon + 1])
    with FakeSentry({"acme": log}) as sentry:
        run = run_tap(config(sentry), state=bookmark(form))

    assert run.ids == ids(log)[1:]


def test_a_bookmark_of_the_stream_serves_an_organization_without_its_own() -> None:
    log = Log([NEW_YEAR - 1, NEW_YEAR + 1])
    state = {
        "bookmarks": {
            "audit_logs": {
                "replication_key": "dateCreated",
                "replication_key_value": "2025-01-01T00:00:00Z",
            }
        }
    }
    with FakeSentry({"acme": log}) as sentry:
        run = run_tap(config(sentry), state=state)

    assert run.ids == ids(log)[1:]


@pytest.mark.parametrize(
    "state",
    [
        bookmark("yesterday"),
        bookmark("0001-01-01T00:00:00Z"),
        bookmark("0001-01-01T00:00:00Z", lookback={"seconds": 3600, "ids": {}}),
        bookmark("2025-01-01T00:00:00Z", lookback={"seconds": 3600, "ids": ["1"]}),
        bookmark("2025-01-01T00:00:00Z", lookback={"ids": {}}),
        bookmark("2025-01-01T00:00:00Z", lookback=[]),
    ],
)
def test_a_bookmark_that_cannot_be_read_is_an_error(state: object) -> None:
    with FakeSentry({"acme": Log()}) as sentry:
        run = run_tap(config(sentry), state=state)

    assert run.returncode == 1
    assert run.log("ERROR") == [
        "acme: the bookmark in the state cannot be read: mend it or leave it out",
    ]


@pytest.mark.parametrize(
    "state",
    [
        {"bookmarks": 5},
        {"bookmark": {"audit_logs": {}}},
        {"value": []},
        {"singer_state": None},
        {"type": "RECORD", "value": {"bookmarks": {}}},
        {"bookmarks": {"users": {"partitions": []}}},
        {"bookmarks": {"audit_logs": {"replication_key_value": None}}},
        {"bookmarks": {"audit_logs": {"replication_key_valu": "2025-01-01T00:00:00Z"}}},
        bookmark(""),
        {"bookmarks": {"audit_logs": {"partitions": [{"context": {"slug": "acme"}}]}}},
        {"bookmarks": {"audit_logs": []}},
        {"bookmarks": {"audit_logs": {"partitions": {}}}},
        {"bookmarks": {"audit_logs": {"partitions": [5]}}},
        {"bookmarks": {"audit_logs": {"partitions": [{}]}}},
        {"bookmarks": {"audit_logs": {"partitions": [{"context": {"organization": "a"}}] * 2}}},
    ],
)
def test_a_state_that_is_none_is_an_error_before_the_first_request(
    state: object,
) -> None:
    with FakeSentry({"acme": Log(entries.even(5))}) as sentry:
        run = run_tap(config(sentry), state=state)

    assert not sentry.requests
    assert run.returncode == 1
    assert run.stdout == ""
    [line] = run.log("ERROR")
    assert line.startswith("the state cannot be used: ")
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    "text", ["", "{", '{"bookmarks":{}}\n{"bookmarks":{}}\n', "[]", "null", "5", "\ud800"]
)
def test_a_state_file_that_holds_no_state_is_an_error_before_the_first_request(
    text: str, tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    path.write_text(text, errors="surrogatepass")
    with FakeSentry({"acme": Log(entries.even(5))}) as sentry:
        run = run_tap(config(sentry), "--state", str(path))

    assert not sentry.requests
    assert run.returncode == 1
    assert run.stdout == ""
    [line] = run.log("ERROR")
    assert line.startswith("the state cannot be used: ")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"type": "STATE", "value": state},
        lambda state: {"value": state},
        lambda state: {"singer_state": state},
        lambda state: {"type": "STATE", "value": {"singer_state": state}},
    ],
)
def test_a_state_in_a_known_wrapping_is_taken_up(wrap: Callable[[object], object]) -> None:
    log = Log(entries.even(120))
    with FakeSentry({"acme": log}) as sentry:
        first = run_tap(config(sentry))
        added = log.add([NEW_YEAR + 1])
        second = run_tap(config(sentry), state=wrap(first.state))

    assert second.ids == added
    assert newest_of(second.state or {}) == "2025-01-01T00:00:00.000001Z"


@pytest.mark.parametrize("state", [{}, {"bookmarks": {}}, {"singer_state": {}}])
def test_a_state_without_bookmarks_is_a_first_run(state: object) -> None:
    log = Log(entries.even(5))
    with FakeSentry({"acme": log}) as sentry:
        run = run_tap(config(sentry), state=state)

    assert run.ids == ids(log)


def test_a_start_date_newer_than_the_bookmark_hides_nothing() -> None:
    log = Log(entries.even(300))
    with FakeSentry({"acme": log}) as sentry:
        first = run_tap(config(sentry, end_date="2024-12-20"))
        second = run_tap(config(sentry, start_date="2024-12-25"), state=first.state)

    assert first.ids + second.ids == ids(log)


def test_shards_that_meet_at_a_border_give_every_entry_once() -> None:
    border = NEW_YEAR - 10 * DAY
    log = Log([*entries.even(300), border - 1, border, border, border + 1])
    with FakeSentry({"acme": log}) as sentry:
        older = run_tap(config(sentry, end_date="2024-12-22"))
        newer = run_tap(config(sentry, start_date="2024-12-22T00:00:00Z"))

    assert older.ids + newer.ids == ids(log)


def test_backfill_false_sends_first_nothing_and_then_what_came_after() -> None:
    log = Log(entries.even(500))
    with FakeSentry({"acme": log}) as sentry:
        first = run_tap(config(sentry, backfill=False))
        late = log.add([log_newest(log) - 60_000_000])
        new = log.add([NEW_YEAR + DAY])
        second = run_tap(config(sentry, backfill=False), state=first.state)

    assert first.ids == []
    assert second.ids == late + new


def test_backfill_false_on_an_empty_log_misses_nothing_that_comes() -> None:
    log = Log()
    with FakeSentry({"acme": log}) as sentry:
        first = run_tap(config(sentry, backfill=False))
        new = log.add([NEW_YEAR])
        second = run_tap(config(sentry, backfill=False), state=first.state)

    assert second.ids == new


def log_newest(log: Log) -> int:
    return entries.micros([row for row in log.rows() if row][-1]["dateCreated"])


def test_an_entry_dated_in_the_future_comes_once_and_hides_none() -> None:
    log = Log(entries.even(50))
    clock = NEW_YEAR / 1e6 + 3600
    with FakeSentry({"acme": log}, clock=lambda: clock) as sentry:
        future = log.add([NEW_YEAR + 365 * DAY])
        first = run_tap(config(sentry))
        new = log.add([NEW_YEAR + 3_500_000_000])
        second = run_tap(config(sentry), state=first.state)
        third = run_tap(config(sentry), state=second.state)

    assert first.ids == ids(log)[:50] + future
    assert second.ids == new
    assert third.ids == []
    assert first.state is not None
    assert newest_of(first.state) == "2025-01-01T01:00:01.000000Z"


def newest_after(now: datetime, server_ahead: timedelta) -> tuple[str, list[str], list[str]]:
    """Run twice while entries come: against a server whose clock is off, then a right one.

    Returns the first bookmark, the ids that came in between, and those that the second run sent.
    """
    ahead = now + server_ahead
    log = Log([entries.micros(ahead)])
    with FakeSentry({"acme": log}, clock=ahead.timestamp) as sentry:
        first = run_tap(config(sentry))
        sentry.clock = time.time
        added = log.add([entries.micros(now) + 1])
        second = run_tap(config(sentry), state=first.state)
    return newest_of(first.state or {}), added, second.ids


@pytest.mark.parametrize("days", [2, -2])
def test_a_server_whose_clock_is_off_once_hides_no_entry(days: int) -> None:
    now = datetime.now(UTC)
    newest, added, ids = newest_after(now, timedelta(days=days))

    assert datetime.fromisoformat(newest) <= datetime.now(UTC)
    assert ids == added


@pytest.mark.parametrize("value", ["2206-11-21T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
def test_a_bookmark_ahead_of_both_clocks_is_an_error_that_says_what_to_do(value: str) -> None:
    with FakeSentry({"acme": Log(entries.even(5)), "beta": Log(entries.even(5))}) as sentry:
        both = config(sentry, organization=None, organizations=["acme", "beta"])
        run = run_tap(both, state=bookmark(value))

    assert run.returncode == 1
    [error] = run.log("ERROR")
    assert error.startswith("acme: the bookmark in the state, ")
    assert "replication_key_value" in error
    assert {record["organization"] for record in run.records} == {"beta"}
    assert run.state is not None
    assert (
        newest_of({"bookmarks": {"audit_logs": {"partitions": [_of("acme", run.state)]}}}) == value
    )


def _of(organization: str, state: dict[str, Any]) -> dict[str, Any]:
    partitions = state["bookmarks"]["audit_logs"]["partitions"]
    [partition] = [p for p in partitions if p["context"] == {"organization": organization}]
    return dict(partition)


def test_a_bookmark_ahead_of_our_own_clock_alone_is_taken_up() -> None:
    soon = datetime.now(UTC) + timedelta(hours=2)
    log = Log([entries.micros(soon)])
    with FakeSentry({"acme": log}, clock=(soon + timedelta(hours=1)).timestamp) as sentry:
        run = run_tap(config(sentry), state=bookmark(soon.isoformat()))

    assert run.returncode == 0
    assert run.ids == ids(log)


def test_a_shard_without_entries_keeps_its_end_as_the_position() -> None:
    log = Log(entries.even(300))
    with FakeSentry({"acme": log}) as sentry:
        quiet = run_tap(config(sentry, start_date="2025-02-01", end_date="2025-03-01"))
        assert newest_of(quiet.state or {}) == "2025-03-01T00:00:00.000000Z"
        late, new = log.add([entries.micros("2025-02-28T23:30:00Z"), NEW_YEAR + 60 * DAY])
        rest = run_tap(config(sentry), state=quiet.state)

    assert quiet.ids == []
    assert rest.ids == [late, new]


def test_a_shard_that_ends_in_the_future_keeps_no_position_ahead_of_either_clock() -> None:
    clock = datetime.now(UTC) - timedelta(days=1)
    with FakeSentry({"acme": Log()}, clock=clock.timestamp) as sentry:
        run = run_tap(config(sentry, end_date="2206-01-01"))

    assert datetime.fromisoformat(newest_of(run.state or {})) <= clock


def test_a_shard_with_entries_keeps_the_newest_as_its_bookmark() -> None:
    log = Log(entries.even(300))
    with FakeSentry({"acme": log}) as sentry:
        run = run_tap(config(sentry, end_date="2025-03-01"))

    assert newest_of(run.state or {}) == run.records[-1]["dateCreated"]


@pytest.mark.parametrize(
    "lookback",
    [
        {"seconds": 3600, "since": "2206-01-01T00:00:00Z", "ids": {}},
        {"seconds": -36000, "ids": {}},
    ],
)
def test_a_bookmark_that_was_set_back_by_hand_is_read_on_from(lookback: object) -> None:
    log = Log([NEW_YEAR - 1, NEW_YEAR, NEW_YEAR + DAY])
    with FakeSentry({"acme": log}) as sentry:
        run = run_tap(config(sentry), state=bookmark("2025-01-01T00:00:00Z", lookback=lookback))

    assert run.returncode == 0
    assert run.ids == ids(log)[1:]


def test_a_range_in_the_future_hides_nothing_from_the_next_run() -> None:
    log = Log()
    with FakeSentry({"acme": log}) as sentry:
        typo = run_tap(config(sentry, start_date="2206-01-01", end_date="2207-01-01"))
        new = log.add([entries.micros(datetime.now(UTC))])
        run = run_tap(config(sentry), state=typo.state)

    assert run.ids == new
