"""Rows that are no entries: reported and counted, and the others come."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from testing.captivateiq_tap import NOW, config, hours, run_tap
from testing.fake_captivateiq import FakeCaptivateIQ, Log, row

if TYPE_CHECKING:
    from testing.forked import Message, Run

SINCE = f"{NOW - timedelta(hours=6):%Y-%m-%d}"
FIRST_DAY = f"{NOW - timedelta(hours=6, days=1):%Y-%m-%d}"
REPORT = (
    f"left out for lack of a usable id or created_at: see the page at offset 0 of {FIRST_DAY}"
    " to now"
)


def odd(**changes: object) -> dict[str, Any]:
    """An entry with some fields replaced, and words that no message may show."""
    return row(999_666, NOW, user_email="private@example.com", **changes)


def without(name: str) -> dict[str, Any]:
    return {field: value for field, value in odd().items() if field != name}


ROWS: dict[str, object] = {
    "no id": without("id"),
    "id is null": odd(id=None),
    "id is empty": odd(id=""),
    "id is an object": odd(id={"$oid": "private"}),
    "id is a list": odd(id=["private"]),
    "id is true": odd(id=True),
    "id is a decimal": odd(id=1.5),
    "no time": without("created_at"),
    "time is null": odd(created_at=None),
    "time is an object": odd(created_at={"private": 1}),
    "time is a number": odd(created_at=20260101),
    "time is a word": odd(created_at="private"),
    "time is empty": odd(created_at=""),
    "year 1": odd(created_at="0001-01-01T00:00:00Z"),
    "year 9999": odd(created_at="9999-12-31T23:59:59.999999Z"),
    "before year 1": odd(created_at="0001-01-01T00:00:00+02:00"),
    "after year 9999": odd(created_at="9999-12-31T23:59:59-02:00"),
    "null": None,
    "a number": 5,
    "a text": "private",
    "a list": ["private"],
    "an empty object": {},
}


def run_with(log: Log, state: Message | None = None) -> Run:
    with FakeCaptivateIQ(log) as server:
        return run_tap(config(server, start_date=SINCE), state=state)


def ids(log: Log) -> list[str]:
    return [one["id"] for one in log.rows]


@pytest.mark.parametrize("name", ROWS)
def test_an_odd_row_is_reported_and_the_others_come(name: str) -> None:
    log = Log(hours(3), odd={1: ROWS[name]})
    run = run_with(log)

    assert run.returncode == 1
    assert run.ids == ids(log)
    assert run.log("ERROR") == [f"1 entry is {REPORT}"]
    assert run.log("WARNING") == []
    assert any(
        line.startswith("3 new entries") and "; 1 left out" in line for line in run.log("INFO")
    )
    assert "private" not in run.stderr


def test_odd_rows_are_counted_once_each_and_the_next_run_goes_on() -> None:
    log = Log(hours(3), odd={0: 5, 1: 5, 4: {}, 5: odd(created_at="?")}, counts="nothing")
    first = run_with(log)
    log.rows.append(row(900, NOW))
    second = run_with(log, first.state)

    assert first.log("ERROR") == second.log("ERROR") == [f"4 entries are {REPORT}"]
    assert (first.returncode, second.returncode) == (1, 1)
    assert second.ids == [log.rows[-1]["id"]]


@pytest.mark.parametrize("counts", ["all", "nothing", 100])
def test_odd_rows_of_several_pages_are_reported_with_their_page(counts: str | int) -> None:
    rows = [row(number, NOW - timedelta(minutes=300 - number)) for number in range(240)]
    odds = {3: None, 9: odd(created_at=None), 120: None, 121: {}, 199: None}
    log = Log(rows, odd=odds, counts=counts)
    run = run_with(log)

    assert run.ids == ids(log)
    assert [line.split(" left")[0] for line in run.log("ERROR")] == [
        "2 entries are",
        "2 entries are",
        "1 entry is",
    ]
    offsets = [line.split(" offset ")[1].split()[0] for line in run.log("ERROR")]
    assert offsets == ["0", "99", "198"]


def test_a_log_of_odd_rows_alone_ends_and_leaves_a_usable_state() -> None:
    log = Log([], odd=dict.fromkeys(range(230)))
    first = run_with(log)
    log.odd, log.rows = {}, hours(3)
    second = run_with(log, first.state)

    assert (first.returncode, first.ids) == (1, [])
    assert "Traceback" not in first.stderr
    assert (second.returncode, second.ids) == (0, ids(log))


def test_entries_of_the_same_day_in_two_spans_are_reported_once() -> None:
    late = odd(created_at="soon")
    log = Log(hours(30 * 24), odd={0: late})
    with FakeCaptivateIQ(log) as server:
        run = run_tap(config(server, start_date=f"{NOW - timedelta(days=20):%Y-%m-%d}"))

    assert run.returncode == 1
    assert len(run.log("ERROR")) == 1
    assert run.ids[-1] == log.rows[-1]["id"]


@pytest.mark.parametrize("test_id", [7, 10**30])
def test_an_id_may_be_a_whole_number(test_id: int) -> None:
    run = run_with(Log([row(1, NOW, id=test_id)]))

    assert (run.returncode, run.ids) == (0, [str(test_id)])


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-06-30t23:59:59z", "2026-06-30T23:59:59.000000Z"),
        ("2026-06-30T23:59:60Z", "2026-07-01T00:00:00.000000Z"),
        ("2026-07-01T05:29:60.5+05:30", "2026-07-01T00:00:00.500000Z"),
    ],
)
def test_small_letters_and_a_leap_second_are_a_time(text: str, time: str) -> None:
    with FakeCaptivateIQ(Log([], odd={0: row(1, text)})) as server:
        run = run_tap(config(server, start_date="2026-06-01"))

    assert run.returncode == 0
    assert [record["created_at"] for record in run.records] == [time]
