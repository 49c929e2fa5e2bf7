"""The state that a run is given: taken out of its wrappings, or refused with what to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from testing.captivateiq_tap import NOW, config, hours, run_tap
from testing.fake_captivateiq import FakeCaptivateIQ, Log, row

if TYPE_CHECKING:
    from collections.abc import Callable

    from testing.forked import Message, Run


def time_text(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"


def of_stream(**bookmark: object) -> Message:
    return {"bookmarks": {"audit_logs": bookmark}}


def state_at(at: datetime, **bookmark: object) -> Message:
    return of_stream(replication_key_value=time_text(at), **bookmark)


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
    with FakeCaptivateIQ(Log(hours(9))) as server:
        run = run_tap(config(server), state=wrap(state_at(NOW - timedelta(minutes=90))))

    assert run.returncode == 0
    assert run.ids == [hours(9)[-1]["id"]]


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"type": "STATE", "value": {"bookmarks": {}}},
        # What a first run leaves behind that is stopped before its first entry.
        of_stream(replication_key="created_at", starting_replication_value=None),
    ],
    ids=str,
)
def test_a_state_without_a_bookmark_is_a_first_run(state: Message) -> None:
    with FakeCaptivateIQ(Log(hours(9))) as server:
        run = run_tap(config(server), state=state)

    assert run.returncode == 0
    assert len(run.ids) == 9


LOOKBACK: Message = {"at": time_text(NOW), "since": time_text(NOW), "ids": {}}
UNREADABLE = "the bookmark for 'audit_logs' in the state cannot be read: correct it, or "


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (b"", "the state file is empty: "),
        (b"null", "the state file holds null instead of a JSON object: "),
        (b"[]", "the state file holds a list instead of a JSON object: "),
        (b"1.5", "the state file holds a number instead of a JSON object: "),
        (b"false", "the state file holds a boolean instead of a JSON object: "),
        (b'""', "the state file holds text instead of a JSON object: "),
        (b'{"bookmarks": {"audit_lo', "the state file is not JSON, or is truncated (at line 1, "),
        (b"\xff\xfe{\x00}\x00", "the state file is not text in UTF-8: "),
        (b"[" * 100_000, "the state file is not the JSON of a state: "),
        (b"1" * 5_000, "the state file is not the JSON of a state: "),
        (b'{"bookmarks": {}}\n{"bookmarks": {}}\n', "the state file holds more than one state: "),
        ({"value": None}, "the state holds null where an object should be: "),
        ({"singer_state": []}, "the state holds a list where an object should be: "),
        ({"type": "RECORD", "value": {}}, "the state has 'type', 'value' where 'bookmarks' should"),
        (
            {"completed": {"singer_state": {"bookmarks": {}}}, "partial": {}},
            "the state has 'completed', 'partial' where 'bookmarks' should be: ",
        ),
        ({"api_token": "hidden"}, "the state has 'api_token' where 'bookmarks' should be: "),
        (dict.fromkeys("gfedcba", 1), "the state has 'a', 'b', 'c', 'd', 'e' and more where "),
        (
            {"bookmarks": {}, "value": {"bookmarks": {}}},
            "the state has 'bookmarks', 'value' where 'bookmarks' should be: ",
        ),
        ({"bookmarks": []}, "the state's bookmarks are not an object of objects: "),
        ({"bookmarks": {"audit_logs": "hidden"}}, "the state's bookmarks are not an object of "),
        (
            {"bookmarks": {"issues": {}, "events": {"hidden": 1}}},
            "the state is another tap's: it has bookmarks for 'events', 'issues' but not for ",
        ),
        (
            of_stream(partitions=[{"context": {"organization": "acme"}}]),
            "the state is another tap's: its bookmark for 'audit_logs' has 'partitions', which ",
        ),
        (state_at(NOW, replication_key="hidden"), "the state is another tap's: its bookmark for "),
        (of_stream(replication_key_value="hidden"), UNREADABLE),
        (of_stream(replication_key_value=None), UNREADABLE),
        (of_stream(replication_key_value="0001-01-01T00:00:00Z"), UNREADABLE),
        (of_stream(replication_key_value="1969-12-31"), UNREADABLE),
        (of_stream(lookback={"ids": {"hidden": 1}}), UNREADABLE),
        (state_at(NOW, lookback=[]), UNREADABLE),
        (state_at(NOW, lookback={}), UNREADABLE),
        (state_at(NOW, lookback=LOOKBACK | {"since": NOW.timestamp()}), UNREADABLE),
        (state_at(NOW, lookback=LOOKBACK | {"ids": {"hidden": "b"}}), UNREADABLE),
        (state_at(NOW, lookback=LOOKBACK | {"ids": []}), UNREADABLE),
        (state_at(NOW, lookback=LOOKBACK | {"ids": {"a": "5"}}), UNREADABLE),
        (state_at(NOW, lookback=LOOKBACK | {"ids": {"a": True}}), UNREADABLE),
        (state_at(NOW, lookback=LOOKBACK | {"ids": {"a": 1.5}}), UNREADABLE),
        (state_at(NOW, lookback=LOOKBACK | {"at": None}), UNREADABLE),
        (state_at(NOW, lookback=LOOKBACK | {"at": "hidden"}), UNREADABLE),
        (state_at(NOW, lookback=LOOKBACK | {"more": 1}), UNREADABLE),
        (of_stream(replication_key_value=5), UNREADABLE),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, bytes | str) else None,
)
def test_what_is_no_state_is_one_clear_error_before_the_first_request(
    state: bytes | Message, told: str
) -> None:
    with FakeCaptivateIQ(Log(hours(3))) as server:
        run = run_tap(config(server), state=state)

        assert not server.requests
    (error,) = run.log("ERROR")
    assert error.startswith(told)
    assert "--state" in error or "keep only its last line" in error
    assert run.stdout == ""
    assert run.returncode == 1
    assert "hidden" not in run.stderr
    assert "Traceback" not in run.stderr


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
    assert error.startswith("the bookmark in the state is ahead of the server's clock and ")
    assert "set its replication_key_value to" in error
    assert run.returncode == 1
    assert run.ids == []
    assert newest(run) == at


def test_ids_that_are_known_from_a_time_ahead_of_both_clocks_are_an_error() -> None:
    state = state_at(NOW, lookback=LOOKBACK | {"since": time_text(NOW.replace(year=2206))})
    with FakeCaptivateIQ(Log([row(1, NOW)])) as server:
        run = run_tap(config(server), state=state)

    assert run.returncode == 1
    assert run.log("ERROR")[0].startswith("the bookmark in the state is ahead of ")


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
