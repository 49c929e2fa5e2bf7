"""The events of all projects: each once, oldest first, with a bookmark for each project."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from testing.fake_sentry import FakeSentry, Inventory, Log, entries, faults
from testing.sentry_tap import config, run_tap, selecting, without_waits

if TYPE_CHECKING:
    from testing.fake_sentry import Request
    from testing.forked import Run

HOUR = 3_600_000_000
NEWEST = entries.micros(entries.UNTIL)
DATES = pytest.mark.parametrize("honours_dates", [True, False])


def run(sentry: FakeSentry, state: object = None, **settings: object) -> Run:
    return run_tap(config(sentry, **settings), catalog=selecting("events"), state=state)


def serving(inventory: Inventory, **changes: Any) -> FakeSentry:  # noqa: ANN401
    return FakeSentry({"acme": Log()}, inventories={"acme": inventory}, **changes)


def ids(ended: Run) -> list[str]:
    return [record["eventID"] for record in ended.records]


def held(inventory: Inventory) -> list[str]:
    return sorted(row["eventID"] for rows in inventory.events.values() for row in rows)


@DATES
@pytest.mark.parametrize("count", [0, 100, 250])
def test_every_event_comes_once_and_oldest_first(count: int, *, honours_dates: bool) -> None:
    acme = Inventory.made(projects=3, events=count)
    with serving(acme, honours_dates=honours_dates) as sentry:
        ended = run(sentry)

    assert ended.returncode == 0
    assert sorted(ids(ended)) == held(acme)
    order = [(record["projectID"], record["dateCreated"]) for record in ended.records]
    assert order == sorted(order)


def test_events_come_in_full() -> None:
    with serving(Inventory.made(projects=1, events=1)) as sentry:
        [record] = run(sentry).records

    assert record["entries"]
    assert record["organization"] == "acme"


@DATES
def test_the_next_run_brings_what_is_new_of_each_project(*, honours_dates: bool) -> None:
    acme = Inventory.made(projects=3, events=150)
    with serving(acme, honours_dates=honours_dates) as sentry:
        first = run(sentry)
        added = [
            *acme.add_events(acme.projects[0]["slug"], [NEWEST + HOUR, NEWEST + 2 * HOUR]),
            *acme.add_events(acme.projects[2]["slug"], [NEWEST + HOUR]),
        ]
        second = run(sentry, first.state)
        third = run(sentry, second.state)

    assert ids(second) == added
    assert ids(third) == []


@DATES
def test_an_event_that_turns_up_late_is_found_within_the_lookback(*, honours_dates: bool) -> None:
    acme = Inventory.made(projects=1, events=150)
    with serving(acme, honours_dates=honours_dates) as sentry:
        first = run(sentry)
        last = entries.micros(first.records[-1]["dateCreated"])
        late = acme.add_events(acme.projects[0]["slug"], [last - HOUR // 2])
        second = run(sentry, first.state)

    assert ids(second) == late


@DATES
def test_events_that_arrive_while_a_project_is_read_disturb_nothing(*, honours_dates: bool) -> None:
    acme = Inventory.made(projects=1, events=450)
    slug = acme.projects[0]["slug"]
    before = held(acme)

    def arrive(count: int, request: Request) -> None:
        if request.path.endswith("/events/"):
            acme.add_events(slug, [NEWEST + count * HOUR + number for number in range(37)])

    with serving(acme, honours_dates=honours_dates) as sentry:
        sentry.faults = arrive
        first = run(sentry)
        sentry.faults = ()
        second = run(sentry, first.state)

    assert set(ids(first)) >= set(before)
    assert sorted(ids(first) + ids(second)) == held(acme)


def test_a_project_that_is_deleted_midway_is_left_out_with_a_warning() -> None:
    acme = Inventory.made(projects=5, events=10)
    slug = acme.projects[3]["slug"]

    def delete(_: int, request: Request) -> None:
        if request.path.endswith("/events/") and slug in acme.events:
            acme.remove_project(slug)

    with serving(acme) as sentry:
        sentry.faults = delete
        ended = run(sentry)

    assert ended.returncode == 0
    assert [line for line in ended.log("WARNING") if slug in line]
    assert sorted(ids(ended)) == held(acme)


def test_projects_that_are_there_and_cannot_be_read_fail_the_run() -> None:
    with serving(Inventory.made(projects=2, events=3)) as sentry:
        sentry.faults = lambda _, request: (
            faults.status(404) if request.resource == "events" else None
        )
        ended = run(sentry)

    assert (ended.returncode, ended.records) == (1, [])
    assert len(ended.log("ERROR")) == 2


def test_a_project_that_is_new_comes_whole_even_without_back_fill() -> None:
    acme = Inventory.made(projects=1, events=5)
    with serving(acme) as sentry:
        first = run(sentry, backfill=False)
        now = entries.micros(datetime.now(UTC))
        acme.projects.append(acme.projects[0] | {"id": "777", "slug": "new"})
        acme.events["new"] = []
        added = acme.add_events("new", [now, now + 1])
        sentry.clock = lambda: time.time() + 60
        second = run(sentry, first.state, backfill=False)

    assert ids(first) == []
    assert sorted(ids(second)) == sorted(added)


def test_an_end_before_the_bookmark_is_no_error_and_no_request() -> None:
    with serving(Inventory.made(projects=1, events=5)) as sentry:
        first = run(sentry)
        sentry.requests.clear()
        second = run(sentry, first.state, end_date="2020-01-01")

    assert (second.returncode, second.records) == (0, [])
    assert not [request for request in sentry.requests if request.resource == "events"]


def test_a_project_without_a_slug_stops_its_organization_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    inventories = {slug: Inventory.made(slug, projects=1, events=2) for slug in ("one", "two")}
    with FakeSentry({}, inventories=inventories) as sentry:
        sentry.faults = lambda _, request: (
            faults.shape([{"id": "1"}]) if request.path.endswith("/one/projects/") else None
        )
        both = config(sentry, organization=None, organizations=["one", "two"])
        tap = without_waits(both, catalog=selecting("events"))
        with pytest.raises(SystemExit) as ended:
            tap.sync_all()

    written = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    records = [message["record"] for message in written if message["type"] == "RECORD"]
    assert ended.value.code == 1
    assert [record["organization"] for record in records] == ["two", "two"]


def test_a_project_that_gets_another_slug_keeps_its_bookmark() -> None:
    acme = Inventory.made(projects=1, events=10)
    with serving(acme) as sentry:
        first = run(sentry)
        acme.projects[0] |= {"slug": "renamed"}
        [events] = acme.events.values()
        acme.events = {"renamed": events}
        second = run(sentry, first.state)

    assert len(first.records) == 10
    assert second.returncode == 0
    assert ids(second) == []


def test_projects_that_may_not_be_read_are_one_line() -> None:
    acme = Inventory.made(projects=30, events=1)
    with serving(acme, scopes={"token": {"org:read"}}) as sentry:
        ended = run(sentry)

    assert ended.returncode == 1
    [line] = ended.log("ERROR")
    assert "30 of 30 projects" in line
    assert "event:read" in line


def test_without_the_list_of_projects_the_scope_for_it_is_named() -> None:
    with serving(Inventory.made(), scopes={"token": {"event:read"}}) as sentry:
        ended = run(sentry)

    assert ended.returncode == 1
    [line] = ended.log("ERROR")
    assert "org:read" in line


def test_projects_are_read_side_by_side_within_the_limit() -> None:
    acme = Inventory.made(projects=60, events=10)
    with serving(acme, latency=0.1, rate_limit=40) as sentry:
        ended = run(sentry)

    assert sorted(ids(ended)) == held(acme)
    assert sentry.max_concurrent > 2
    assert sentry.count_429 == 0


def test_a_run_that_breaks_off_sends_again_only_what_no_state_holds() -> None:
    acme = Inventory.made(projects=4, events=120)
    with serving(acme) as sentry:
        last = acme.projects[-1]["slug"]
        sentry.faults = lambda _, request: (
            faults.status(400) if f"/{last}/" in request.path else None
        )
        first = run(sentry)
        sentry.faults = ()
        second = run(sentry, first.state)

    assert first.returncode == 1
    assert len(first.records) == 3 * 120
    assert sorted(ids(first) + ids(second)) == held(acme)


def test_a_bookmark_that_cannot_be_read_stops_its_project_alone() -> None:
    acme = Inventory.made(projects=2, events=5)
    broken = acme.projects[0]["id"]
    partition = {
        "context": {"organization": "acme", "projectID": broken},
        "replication_key": "dateCreated",
        "replication_key_value": "soon",
    }
    state = {"bookmarks": {"events": {"partitions": [partition]}}}
    with serving(acme) as sentry:
        ended = run(sentry, state)

    assert ended.returncode == 1
    assert "bookmark" in ended.log("ERROR")[0]
    assert len(ended.records) == 5


def test_a_range_without_events_hides_none_that_came_while_it_was_read() -> None:
    acme = Inventory.made(projects=1, events=0)
    added: list[str] = []

    def arrive(_: int, request: Request) -> None:
        if request.resource == "events" and not added:
            # Two seconds on, for clocks are known to a second.
            time.sleep(2)
            added.extend(
                acme.add_events(acme.projects[0]["slug"], [entries.micros(datetime.now(UTC))])
            )
            time.sleep(2)

    with serving(acme, faults=arrive) as sentry:
        first = run(sentry, end_date="2206-01-01", lookback_seconds=0)
        time.sleep(1)
        second = run(sentry, first.state, lookback_seconds=0)

    assert added
    assert ids(first) + ids(second) == added


def test_without_backfill_every_project_gets_a_position() -> None:
    acme = Inventory.made(projects=3, events=5)
    with serving(acme) as sentry:
        ended = run(sentry, backfill=False)

    assert ids(ended) == []
    assert ended.state
    positions = {
        partition["context"]["projectID"]: partition["replication_key_value"]
        for partition in ended.state["bookmarks"]["events"]["partitions"]
    }
    assert positions.keys() == {project["id"] for project in acme.projects}
