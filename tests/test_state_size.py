"""STATE messages stay in proportion to the records, and each of them is one to go on from."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.sentry_tap import config, run_tap, selecting

if TYPE_CHECKING:
    from testing.forked import Message, Run

MINUTE = 60_000_000


def now() -> datetime:
    return datetime.now(UTC)


def log_of_an_hour(count: int) -> Log:
    return Log(entries.even(count, days=1 / 24.5, until=now()))


def read(log: Log, state: object = None, **settings: object) -> Run:
    with FakeSentry({"acme": log}) as sentry:
        return run_tap(config(sentry, **settings), state=state)


def sizes(run: Run) -> list[int]:
    """The bytes of each STATE message."""
    return [len(line.encode()) for line in run.stdout.split("\n") if '"type":"STATE"' in line]


def partition_of(state: Message | None) -> Message:
    assert state
    [partition] = state["bookmarks"]["audit_logs"]["partitions"]
    return {**partition}


@pytest.mark.parametrize("count", [2_500, 7_000])
def test_a_first_run_of_a_dense_hour_writes_few_bytes_of_state(count: int) -> None:
    run = read(log_of_an_hour(count))

    assert len(run.ids) == count
    assert len(sizes(run)) > 2
    assert sum(sizes(run)) <= 100 * count
    assert sizes(run)[-1] <= 25 * count + 400


def test_a_later_run_writes_a_long_state_only_at_its_end() -> None:
    log = log_of_an_hour(6_000)
    first = read(log)
    new = log.add([entries.micros(now())] * 30)
    second = read(log, first.state)

    assert sorted(second.ids) == sorted(new)
    *before, last = sizes(second)
    assert sum(before) <= 100 * len(new) + 10_000
    assert last > 100_000


def test_a_long_state_is_not_repeated_for_each_stream() -> None:
    acme = Inventory.made(projects=2, teams=2, members=2, releases=2, issues=2, events=2)
    with FakeSentry({"acme": log_of_an_hour(6_000)}, inventories={"acme": acme}) as sentry:
        streams = ("audit_logs", "projects", "teams", "members", "releases", "issues", "events")
        settings = config(sentry)
        catalog = selecting(*streams)
        first = run_tap(settings, catalog=catalog)
        second = run_tap(settings, catalog=catalog, state=first.state)

    assert first.returncode == second.returncode == 0
    assert sum(sizes(first)) <= 100 * 6_000
    assert sum(sizes(second)[:-1]) <= 10_000 + 100 * len(second.records)
    assert json.loads(second.stdout.split("\n")[-2])["type"] == "STATE"


def test_a_backfill_of_the_past_marks_how_far_it_came_with_few_ids() -> None:
    log = Log(entries.even(5_000, days=1 / 24, until=now() - timedelta(days=30)))
    run = read(log)

    *interim, last = [partition_of(message["value"]) for message in run.of_type("STATE")]
    assert len(interim) >= 4
    assert all(len(partition["lookback"]["ids"]) < 20 for partition in interim)
    assert len(last["lookback"]["ids"]) > 4_900


@pytest.mark.parametrize("days_ago", [0, 30])
def test_every_state_of_a_run_leads_to_the_rest_and_to_nothing_twice(days_ago: int) -> None:
    end = entries.micros(now() - timedelta(days=days_ago))
    ties = [end - number // 7 * 400_000 for number in range(2_500)]
    log = Log(sorted(ties))
    run = read(log)

    sent = 0
    for message in run.messages:
        sent += message["type"] == "RECORD"
        if message["type"] == "STATE":
            rest = read(log, message["value"])
            assert rest.ids == run.ids[sent:]
    assert sent == 2_500


def test_a_mark_skips_nothing_that_is_late_by_less_than_the_lookback() -> None:
    end = entries.micros(now())
    three_hours = [end - number * 3_000_000 for number in reversed(range(2_500))]
    run = read(Log(three_hours))
    states = [message["value"] for message in run.of_type("STATE")]

    assert len(states) > 2
    for state in states:
        log = Log(three_hours)
        [late] = log.add([end - 59 * MINUTE])
        assert late in read(log, state).ids


# --- when an organization was last read


def test_the_state_says_when_an_organization_was_read_to_its_end_by_the_servers_clock() -> None:
    server_time = datetime(2026, 3, 1, 12, tzinfo=UTC)
    logs = {"acme": Log(entries.even(250)), "beta": Log()}
    with FakeSentry(logs, clock=server_time.timestamp) as sentry:
        run = run_tap(config(sentry, organization=None, organizations=["acme", "beta", "none"]))

    assert run.state
    partitions = run.state["bookmarks"]["audit_logs"]["partitions"]
    read_at = {each["context"]["organization"]: each.get("last_read") for each in partitions}
    # `Date` has whole seconds, and counts as the end of its second.
    assert read_at == dict.fromkeys(["acme", "beta"], "2026-03-01T12:00:01.000000Z") | {
        "none": None
    }


def test_a_run_that_ends_before_the_end_leaves_that_time_as_it_was() -> None:
    log = Log(entries.even(5))
    first = read(log)
    ranged = read(log, first.state, end_date="2025-01-01")

    before = partition_of(first.state)["last_read"]
    assert partition_of(ranged.state)["last_read"] == before
