"""Issues by the time at which they were seen last: none lost, resumed where a run stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tap_sentry_audit.api.timestamps import parse_time
from testing.fake_sentry import FakeSentry, Inventory, Log, entries, faults
from testing.fake_sentry.answers import json_answer
from testing.sentry_tap import config, run_tap, selecting

if TYPE_CHECKING:
    from testing.fake_sentry import Request
    from testing.forked import Run

HOUR = 3_600_000_000
NEWEST = entries.micros(entries.UNTIL)
FAR_OFF = "2100-01-01T00:00:00Z"


def run(sentry: FakeSentry, state: object = None, **settings: object) -> Run:
    return run_tap(config(sentry, **settings), catalog=selecting("issues"), state=state)


def serving(inventory: Inventory) -> FakeSentry:
    return FakeSentry({"acme": Log()}, inventories={"acme": inventory})


def held(inventory: Inventory) -> set[str]:
    return {row["id"] for row in inventory.issues}


@pytest.mark.parametrize("count", [0, 1, 101, 1200])
def test_every_issue_of_any_status_comes_once_and_oldest_first(count: int) -> None:
    acme = Inventory.made(issues=count)
    with serving(acme) as sentry:
        ended = run(sentry)

    assert ended.returncode == 0
    assert len(ended.ids) == count
    assert set(ended.ids) == held(acme)
    seen = [parse_time(record["lastSeen"]) for record in ended.records]
    assert seen == sorted(seen)


def test_the_next_run_brings_those_seen_since_and_those_that_turn_up_within_the_lookback() -> None:
    acme = Inventory.made(issues=150)
    again, late = acme.issues[5]["id"], acme.issues[125]["id"]
    with serving(acme) as sentry:
        first = run(sentry)
        acme.touch(again, NEWEST + HOUR)
        acme.touch(late, entries.micros(first.records[-1]["lastSeen"]) - HOUR // 2)
        second = run(sentry, first.state)
        third = run(sentry, second.state)

    assert second.ids == [late, again]
    assert second.records[1] not in first.records
    assert third.ids == []
    assert third.state == second.state


def test_an_issue_seen_within_a_second_does_not_come_again() -> None:
    acme = Inventory.made(issues=10)
    acme.touch(acme.issues[5]["id"], NEWEST + HOUR + 500_000)
    with serving(acme) as sentry:
        first = run(sentry, lookback_seconds=0)
        second = run(sentry, first.state, lookback_seconds=0)

    assert len(first.ids) == 10
    assert second.ids == []


# --- issues that are seen while a run reads


@pytest.mark.parametrize("number", [3, 4, 6])
def test_an_issue_that_moves_to_the_front_is_neither_lost_nor_a_reason_to_stop(number: int) -> None:
    acme = Inventory.made(issues=450)
    moving = [row["id"] for row in acme.issues[5::120]]

    def touch(count: int, _: Request) -> None:
        if count == number:
            for issue in moving:
                acme.touch(issue, entries.micros(FAR_OFF))

    with serving(acme) as sentry:
        sentry.faults = touch
        first = run(sentry)
        sentry.faults = ()
        for issue in moving:
            acme.touch(issue, NEWEST + HOUR)
        second = run(sentry, first.state)

    assert first.returncode == 0
    assert set(first.ids) | set(second.ids) == held(acme)
    assert set(second.ids) >= set(moving)


def test_an_issue_that_is_seen_while_a_run_breaks_off_hides_none() -> None:
    acme = Inventory.made(issues=1500)
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
    assert 0 < len(first.ids) < 1500
    assert set(first.ids) | set(second.ids) == held(acme)


def test_an_issue_that_is_seen_again_behind_the_range_does_not_take_the_bookmark_along() -> None:
    acme = Inventory.made(issues=1)
    # Found by the time in the search index, shown with the time in the database.
    row = acme.issues[0] | {"lastSeen": "2024-12-20T05:00:00Z"}

    def lag(_: int, request: Request) -> faults.Fault | None:
        return json_answer(200, [row]) if request.resource == "issues" else None

    with serving(acme) as sentry:
        sentry.faults = lag
        ended = run(sentry, end_date="2024-12-20")

    assert ended.ids == [row["id"]]
    assert ended.state
    [partition] = ended.state["bookmarks"]["issues"]["partitions"]
    assert partition["replication_key_value"] <= "2024-12-20T00:00:00.000000Z"


# --- ranges


def test_start_date_and_end_date_are_honoured_and_an_end_before_the_bookmark_is_no_error() -> None:
    acme = Inventory.made(issues=60)
    start, end = "2024-12-10", "2024-12-20"
    with serving(acme) as sentry:
        ended = run(sentry, start_date=start, end_date=end)
        before = run(sentry, ended.state, end_date="2020-01-01")

    within = {row["id"] for row in acme.issues if start <= row["lastSeen"][:10] < end}
    assert set(ended.ids) == within != set()
    assert (before.returncode, before.ids) == (0, [])


def test_a_range_without_issues_keeps_its_end_as_the_position() -> None:
    with serving(Inventory.made(issues=0)) as sentry:
        state = run(sentry, start_date="2024-12-10", end_date="2024-12-20").state

    assert state
    [partition] = state["bookmarks"]["issues"]["partitions"]
    assert partition["replication_key_value"] == "2024-12-20T00:00:00.000000Z"


def test_without_backfill_only_what_comes_after_is_sent() -> None:
    acme = Inventory.made(issues=20)
    with serving(acme) as sentry:
        first = run(sentry, backfill=False)
        acme.touch(acme.issues[5]["id"], entries.micros(FAR_OFF))
        sentry.clock = lambda: parse_time(FAR_OFF).timestamp() + 3600
        second = run(sentry, first.state, backfill=False)

    assert first.ids == []
    assert second.ids == [acme.issues[5]["id"]]
