"""Issues by the time at which they were seen last: none lost, resumed where a run stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tap_sentry_audit.api.timestamps import parse_time
from testing.fake_sentry import FakeSentry, Inventory, Log, entries, faults
from testing.sentry_tap import config, run_tap, selecting

if TYPE_CHECKING:
    from testing.fake_sentry import Request
    from testing.forked import Run

HOUR = 3_600_000_000
NEWEST = entries.micros(entries.UNTIL)


def run(sentry: FakeSentry, state: object = None, **settings: object) -> Run:
    return run_tap(config(sentry, **settings), catalog=selecting("issues"), state=state)


def serving(inventory: Inventory) -> FakeSentry:
    return FakeSentry({"acme": Log()}, inventories={"acme": inventory})


def some(inventory: Inventory) -> list[str]:
    """Ids of issues that lie far apart."""
    return [issue["id"] for issue in inventory.issues[5::120]]


@pytest.mark.parametrize("count", [0, 1, 101, 1000, 2500])
def test_every_issue_comes_once_and_oldest_first(count: int) -> None:
    acme = Inventory.made(issues=count)
    with serving(acme) as sentry:
        ended = run(sentry)

    assert ended.returncode == 0
    assert sorted(ended.ids) == sorted(row["id"] for row in acme.issues)
    seen = [parse_time(record["lastSeen"]) for record in ended.records]
    assert seen == sorted(seen)


def test_issues_of_any_status_come() -> None:
    acme = Inventory.made(issues=10)
    with serving(acme) as sentry:
        assert {record["status"] for record in run(sentry).records} == {"resolved", "unresolved"}


def test_the_next_run_brings_those_that_were_seen_since() -> None:
    acme = Inventory.made(issues=150)
    with serving(acme) as sentry:
        first = run(sentry)
        acme.touch(some(acme)[0], NEWEST + HOUR)
        second = run(sentry, first.state)
        third = run(sentry, second.state)

    assert second.ids == some(acme)[:1]
    assert second.records[0] != next(r for r in first.records if r["id"] == second.ids[0])
    assert third.ids == []
    assert third.state == second.state


def test_an_issue_that_turns_up_late_is_found_within_the_lookback() -> None:
    acme = Inventory.made(issues=150)
    with serving(acme) as sentry:
        first = run(sentry)
        last = entries.micros(first.records[-1]["lastSeen"])
        acme.touch(some(acme)[0], last - HOUR // 2)
        second = run(sentry, first.state)

    assert second.ids == some(acme)[:1]


@pytest.mark.parametrize("number", [3, 4, 6])
def test_an_issue_that_moves_to_the_front_is_neither_lost_nor_a_reason_to_stop(
    number: int,
) -> None:
    acme = Inventory.made(issues=450)
    now = entries.micros("2100-01-01T00:00:00Z")

    def touch(count: int, _: Request) -> None:
        if count == number:
            for issue in some(acme):
                acme.touch(issue, now)

    with serving(acme) as sentry:
        sentry.faults = touch
        first = run(sentry)
        sentry.faults = ()
        for issue in some(acme):
            acme.touch(issue, NEWEST + HOUR)
        second = run(sentry, first.state)

    assert first.returncode == 0
    assert set(first.ids) | set(second.ids) == {row["id"] for row in acme.issues}
    assert set(second.ids) >= set(some(acme))


def test_a_run_that_breaks_off_goes_on_with_the_slice_at_which_it_stopped() -> None:
    acme = Inventory.made(issues=2500)
    with serving(acme) as sentry:
        run(sentry)
        half = len(sentry.requests) * 3 // 4
        sentry.requests.clear()
        sentry.faults = lambda count, _: faults.status(403) if count > half else None
        first = run(sentry)
        sentry.faults = ()
        second = run(sentry, first.state)

    assert first.returncode == 1
    assert 0 < len(first.ids) < 2500
    assert sorted(first.ids + second.ids) == sorted(row["id"] for row in acme.issues)


def test_an_issue_that_is_seen_while_a_run_breaks_off_hides_none() -> None:
    acme = Inventory.made(issues=2500)
    touched: list[int] = []

    def touch_then_refuse(count: int, request: Request) -> faults.Fault | None:
        if touched:
            return faults.status(403) if count > touched[0] + 8 else None
        if "cursor" in request.query:
            touched.append(count)
            for issue in acme.issues[::50]:
                acme.touch(issue["id"], NEWEST + HOUR)
        return None

    with serving(acme) as sentry:
        sentry.faults = touch_then_refuse
        first = run(sentry)
        sentry.faults = ()
        second = run(sentry, first.state)

    assert first.returncode == 1
    assert set(first.ids) | set(second.ids) == {row["id"] for row in acme.issues}


def test_an_issue_seen_at_a_whole_second_does_not_come_again() -> None:
    acme = Inventory.made(issues=10)
    with serving(acme) as sentry:
        acme.touch(some(acme)[0], NEWEST + HOUR + 500_000)
        first = run(sentry, lookback_seconds=0)
        second = run(sentry, first.state, lookback_seconds=0)

    assert len(first.ids) == 10
    assert second.ids == []


def test_an_end_before_the_bookmark_is_no_error() -> None:
    with serving(Inventory.made(issues=10)) as sentry:
        first = run(sentry)
        second = run(sentry, first.state, end_date="2020-01-01")

    assert (second.returncode, second.ids) == (0, [])


def test_a_state_whose_ids_cannot_be_read_is_an_error() -> None:
    partition = {
        "context": {"organization": "acme"},
        "replication_key_value": "2024-12-01T00:00:00Z",
        "lookback": {"seconds": 3600, "ids": {"a": None}},
    }
    state = {"bookmarks": {"issues": {"partitions": [partition]}}}
    with serving(Inventory.made(issues=10)) as sentry:
        ended = run(sentry, state)

    assert (ended.returncode, ended.ids) == (1, [])
    [line] = ended.log("ERROR")
    assert "the bookmark in the state cannot be read" in line


def test_start_date_and_end_date_are_honoured() -> None:
    acme = Inventory.made(issues=60)
    with serving(acme) as sentry:
        ended = run(sentry, start_date="2024-12-10", end_date="2024-12-20")

    start, end = "2024-12-10", "2024-12-20"
    held = [row["id"] for row in acme.issues if start <= row["lastSeen"][:10] < end]
    assert sorted(ended.ids) == sorted(held)
    assert held


def test_without_back_fill_only_what_comes_after_is_sent() -> None:
    acme = Inventory.made(issues=20)
    with serving(acme) as sentry:
        first = run(sentry, backfill=False)
        acme.touch(some(acme)[0], entries.micros("2100-01-01T00:00:00Z"))
        sentry.clock = lambda: parse_time("2100-01-02T00:00:00Z").timestamp()
        second = run(sentry, first.state, backfill=False)

    assert first.ids == []
    assert second.ids == some(acme)[:1]
