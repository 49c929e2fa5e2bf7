"""The state that a run is given: taken out of its wrappings, or refused with what to do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from testing.captivateiq_tap import config, run_tap
from testing.fake_captivateiq import FakeCaptivateIQ, Log, row

if TYPE_CHECKING:
    from collections.abc import Callable

    from testing.forked import Message, Run

NOW = datetime.now(UTC).replace(microsecond=0)


def hours(count: int) -> list[Message]:
    return [row(number, NOW - timedelta(hours=count - number)) for number in range(count)]


def time_text(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"


def state_at(at: datetime) -> Message:
    return {"bookmarks": {"audit_logs": {"replication_key_value": time_text(at)}}}


def newest(run: Run) -> datetime:
    """The bookmark in the last STATE."""
    assert run.state
    value: str = run.state["bookmarks"]["audit_logs"]["replication_key_value"]
    return datetime.fromisoformat(value)


WRAPPINGS: dict[str, Callable[[Message], Message]] = {
    "none": lambda state: state,
    "message": lambda state: {"type": "STATE", "value": state},
    "meltano": lambda state: {"singer_state": state},
    "value": lambda state: {"value": state},
    "meltano in message": lambda state: {"type": "STATE", "value": {"singer_state": state}},
    "message in meltano": lambda state: {"singer_state": {"type": "STATE", "value": state}},
    "other keys": lambda state: {**state, "currently_syncing": None},
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
def test_a_state_counts_whatever_it_is_wrapped_in(wrap: Callable[[Message], Message]) -> None:
    log = Log(hours(9))
    with FakeCaptivateIQ(log) as server:
        state = run_tap(config(server)).state
        assert state
        log.rows.append(row(900, NOW))
        run = run_tap(config(server), state=wrap(state))

    assert run.returncode == 0
    assert run.ids == [log.rows[-1]["id"]]


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"bookmarks": {}},
        {"singer_state": {}},
        {"type": "STATE", "value": {"bookmarks": {}}},
        {"bookmarks": {"audit_logs": {}}},
        # What a first run leaves behind that is stopped before its first entry.
        {
            "bookmarks": {
                "audit_logs": {
                    "replication_key": "created_at",
                    "starting_replication_value": None,
                }
            }
        },
    ],
    ids=str,
)
def test_a_state_without_a_bookmark_is_a_first_run(state: Message) -> None:
    with FakeCaptivateIQ(Log(hours(9))) as server:
        run = run_tap(config(server), state=state)

    assert run.returncode == 0
    assert len(run.ids) == 9


AUDIT = "2026-01-01T00:00:00.000000Z"
SENTRY = {"context": {"organization": "acme"}, "replication_key_value": AUDIT}
UNREADABLE = "the bookmark for 'audit_logs' in the state cannot be read: mend it, or "


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (b"", "the state file is empty: "),
        (b" \n", "the state file is empty: "),
        (b"null", "the state file holds null and no JSON object: "),
        (b"[]", "the state file holds a list and no JSON object: "),
        (b"0", "the state file holds a number and no JSON object: "),
        (b"1.5", "the state file holds a number and no JSON object: "),
        (b"false", "the state file holds a boolean and no JSON object: "),
        (b'""', "the state file holds text and no JSON object: "),
        (b'{"bookmarks": {"audit_lo', "the state file is not JSON, or is broken off (at line 1, "),
        (b"nothing", "the state file is not JSON, or is broken off (at line 1, "),
        (b"\xff\xfe{\x00}\x00", "the state file is not text in UTF-8: "),
        (b"[" * 100_000, "the state file is not the JSON of a state: "),
        (b"1" * 5_000, "the state file is not the JSON of a state: "),
        (b'{"bookmarks": {}}\n{"bookmarks": {}}\n', "the state file holds more than one state: "),
        (b"{} {}", "the state file holds more than one state: "),
        ({"value": None}, "the state holds null where an object should be: "),
        ({"singer_state": []}, "the state holds a list where an object should be: "),
        ({"type": "RECORD", "value": {}}, "the state has 'type', 'value' where 'bookmarks' should"),
        (
            {"completed": {"singer_state": {"bookmarks": {}}}, "partial": {}},
            "the state has 'completed', 'partial' where 'bookmarks' should be: ",
        ),
        ({"api_token": "hidden"}, "the state has 'api_token' where 'bookmarks' should be: "),
        (
            {"bookmarks": {}, "value": {"bookmarks": {}}},
            "the state has 'bookmarks', 'value' where 'bookmarks' should be: ",
        ),
        ({"bookmarks": None}, "the state's bookmarks are not an object of objects: "),
        ({"bookmarks": []}, "the state's bookmarks are not an object of objects: "),
        ({"bookmarks": {"audit_logs": None}}, "the state's bookmarks are not an object of "),
        ({"bookmarks": {"audit_logs": "hidden"}}, "the state's bookmarks are not an object of "),
        (
            {"bookmarks": {"issues": {}, "events": {"hidden": 1}}},
            "the state is another tap's: it has bookmarks for 'events', 'issues' and none for ",
        ),
        (
            {"bookmarks": {"audit_logs": {"partitions": [SENTRY]}}},
            "the state is another tap's: its bookmark for 'audit_logs' has 'partitions', which ",
        ),
        ({"bookmarks": {"audit_logs": {"replication_key_value": "hidden"}}}, UNREADABLE),
        ({"bookmarks": {"audit_logs": {"replication_key_value": ""}}}, UNREADABLE),
        ({"bookmarks": {"audit_logs": {"replication_key_value": None}}}, UNREADABLE),
        ({"bookmarks": {"audit_logs": {"lookback": {"ids": {"hidden": 1}}}}}, UNREADABLE),
        (
            {"bookmarks": {"audit_logs": {"replication_key_value": AUDIT, "lookback": []}}},
            UNREADABLE,
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, (bytes, str)) else str(value),
)
def test_what_is_no_state_is_one_clear_error_before_the_first_request(
    state: bytes | Message, told: str
) -> None:
    with FakeCaptivateIQ(Log(hours(3))) as server:
        run = run_tap(config(server), state=state)

        assert not server.requests
    (error,) = run.log("ERROR")
    assert error.startswith(told)
    assert "--state" in error or "keep its last line alone" in error
    assert run.stdout == ""
    assert run.returncode == 1
    assert "hidden" not in run.stderr
    assert "Traceback" not in run.stderr


def test_a_state_file_is_named_when_it_is_no_json_and_not_the_config() -> None:
    with FakeCaptivateIQ(Log([])) as server:
        run = run_tap(config(server), state=b"{")

    (error,) = run.log("ERROR")
    assert error == (
        "the state file is not JSON, or is broken off (at line 1, column 2): give the last state "
        "that the target wrote, or leave --state out to read all anew"
    )


@pytest.mark.parametrize("days", [2, -2], ids=["server ahead", "server behind"])
def test_the_bookmark_is_never_ahead_of_the_earlier_clock(days: float) -> None:
    ahead = timedelta(days=days)
    # What the server's clock dates as now, and what both clocks think is to come.
    log = Log([*hours(3), row(7, NOW + ahead), row(8, NOW + timedelta(days=9))])
    with FakeCaptivateIQ(log) as server:
        server.ahead = ahead
        first = run_tap(config(server))
        assert newest(first) <= min(datetime.now(UTC), datetime.now(UTC) + ahead)

        server.ahead = timedelta()  # somebody has set it right
        log.rows.append(row(900, NOW - timedelta(minutes=1)))
        second = run_tap(config(server), state=first.state)

    assert len(first.ids) == 5
    assert second.ids == [log.rows[-1]["id"]]
    assert second.returncode == 0


@pytest.mark.parametrize("days", [2, -2], ids=["server ahead", "server behind"])
def test_without_backfill_the_position_is_that_of_the_earlier_clock(days: float) -> None:
    with FakeCaptivateIQ(Log([])) as server:
        server.ahead = timedelta(days=days)
        run = run_tap(config(server, backfill=False))

    earlier = min(datetime.now(UTC), datetime.now(UTC) + server.ahead)
    assert earlier - timedelta(seconds=30) < newest(run) <= earlier


@pytest.mark.parametrize(
    "at",
    [NOW + timedelta(hours=1), NOW.replace(year=2206)],
    ids=["an hour", "a typo"],
)
def test_a_bookmark_ahead_of_both_clocks_is_an_error_that_says_what_to_do(at: datetime) -> None:
    state = state_at(at)
    with FakeCaptivateIQ(Log(hours(3))) as server:
        run = run_tap(config(server), state=state)

        assert len(server.requests) == 1  # which tells the server's clock
    (error,) = run.log("ERROR")
    assert error.startswith("the bookmark in the state lies ahead of the server's clock and of ")
    assert "set its replication_key_value to" in error
    assert run.returncode == 1
    assert run.ids == []
    assert newest(run) == at


def test_ids_that_are_known_from_a_time_ahead_of_both_clocks_are_an_error() -> None:
    state = state_at(NOW)
    bookmark = state["bookmarks"]["audit_logs"]
    since = time_text(NOW.replace(year=2206))
    bookmark["lookback"] = {"at": bookmark["replication_key_value"], "since": since, "ids": {}}
    with FakeCaptivateIQ(Log([row(1, NOW)])) as server:
        run = run_tap(config(server), state=state)

    assert run.returncode == 1
    assert run.log("ERROR")[0].startswith("the bookmark in the state lies ahead of ")


def test_a_bookmark_that_only_the_servers_clock_has_reached_is_gone_on_from() -> None:
    at = NOW + timedelta(days=2)
    with FakeCaptivateIQ(Log([*hours(3), row(900, at + timedelta(minutes=1))])) as server:
        server.ahead = timedelta(days=2, minutes=2)
        run = run_tap(config(server), state=state_at(at))

    assert run.returncode == 0
    assert run.ids == [row(900, NOW)["id"]]


def test_the_part_of_a_second_that_the_servers_date_leaves_out_is_no_error() -> None:
    with FakeCaptivateIQ(Log([])) as server:
        server.ahead = timedelta(hours=1)
        now = datetime.now(UTC).replace(microsecond=999_999)
        run = run_tap(config(server), state=state_at(now + server.ahead))

    assert run.returncode == 0
    assert not run.log("ERROR")


def test_a_bookmark_of_this_very_moment_is_no_error() -> None:
    with FakeCaptivateIQ(Log([])) as server:
        state = run_tap(config(server, backfill=False)).state
        for _ in range(3):
            run = run_tap(config(server, backfill=False), state=json.loads(json.dumps(state)))
            state = run.state

            assert run.returncode == 0
