"""The events of all projects: each once, oldest first, with a bookmark for each project."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
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


def partition(project: str, value: str, organization: str = "acme") -> dict[str, Any]:
    context = {"organization": organization, "projectID": project}
    return {"context": context, "replication_key_value": value}


def state_of(*partitions: dict[str, Any]) -> dict[str, Any]:
    return {"bookmarks": {"events": {"partitions": partitions}}}


@DATES
@pytest.mark.parametrize("count", [100, 250])
def test_every_event_comes_once_and_oldest_first(count: int, *, honours_dates: bool) -> None:
    acme = Inventory.made(projects=2, events=count)
    with serving(acme, honours_dates=honours_dates) as sentry:
        ended = run(sentry)

    assert ended.returncode == 0
    assert sorted(ids(ended)) == held(acme)
    order = [(record["projectID"], record["dateCreated"]) for record in ended.records]
    assert order == sorted(order)


@DATES
def test_the_next_run_brings_what_is_new_or_late_in_each_project(*, honours_dates: bool) -> None:
    acme = Inventory.made(projects=3, events=150)
    with serving(acme, honours_dates=honours_dates) as sentry:
        first = run(sentry)
        last = entries.micros(first.records[-1]["dateCreated"])
        added = [
            *acme.add_events(acme.projects[0]["slug"], [NEWEST + HOUR, NEWEST + 2 * HOUR]),
            *acme.add_events(acme.projects[2]["slug"], [last - HOUR // 2, last, NEWEST + HOUR]),
        ]
        second = run(sentry, first.state)
        third = run(sentry, second.state)

    assert sorted(ids(second)) == sorted(added)
    assert ids(third) == []


@DATES
def test_events_that_arrive_while_a_project_is_read_disturb_nothing(*, honours_dates: bool) -> None:
    acme = Inventory.made(projects=1, events=350)
    slug = acme.projects[0]["slug"]
    before = held(acme)

    def arrive(count: int, request: Request) -> None:
        if request.resource == "events":
            acme.add_events(slug, [NEWEST + count * HOUR + number for number in range(37)])

    with serving(acme, honours_dates=honours_dates) as sentry:
        sentry.faults = arrive
        first = run(sentry)
        sentry.faults = ()
        second = run(sentry, first.state)

    assert set(ids(first)) >= set(before)
    assert sorted(ids(first) + ids(second)) == held(acme)


def test_projects_are_read_side_by_side() -> None:
    with serving(Inventory.made(projects=24, events=2), latency=0.05) as sentry:
        ended = run(sentry)

    assert len(ended.records) == 48
    assert sentry.max_concurrent > 2


# --- projects that come, go, or cannot be read


def test_a_project_that_is_deleted_midway_is_left_out_with_a_warning() -> None:
    acme = Inventory.made(projects=5, events=10)
    slug = acme.projects[3]["slug"]

    def delete(_: int, request: Request) -> None:
        if request.resource == "events" and slug in acme.events:
            acme.remove_project(slug)

    with serving(acme, faults=delete) as sentry:
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
    assert len(ended.errors) == 2 + 1


def test_projects_that_may_not_be_read_are_one_line_for_each_organization() -> None:
    inventories = {slug: Inventory.made(slug, projects=2) for slug in ("one", "two")}
    scopes = {"token": {"org:read"}}
    with FakeSentry({}, inventories=inventories, scopes=scopes) as sentry:
        ended = run(sentry, organization=None, organizations=["one", "two"])

    assert ended.returncode == 1
    needed = "2 of 2 projects: the token lacks the scope event:read, which events needs:"
    one, two, last = ended.errors
    assert (one.partition(" make")[0], two.partition(" make")[0]) == (
        f"one: {needed}",
        f"two: {needed}",
    )
    assert last == f"{one}. 1 more error stands above"


def test_a_project_without_a_slug_stops_its_organization_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    inventories = {slug: Inventory.made(slug, projects=1, events=2) for slug in ("one", "two")}
    with FakeSentry({}, inventories=inventories) as sentry:
        sentry.faults = lambda _, request: (
            faults.shape([{"id": "1"}]) if request.path.endswith("/one/projects/") else None
        )
        both = config(sentry, organization=None, organizations=["one", "two"])
        with pytest.raises(SystemExit) as ended:
            without_waits(both, selecting("events")).sync_all()

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


def test_a_run_that_breaks_off_sends_again_only_what_no_state_holds() -> None:
    acme = Inventory.made(projects=3, events=120)
    last = acme.projects[-1]["slug"]
    with serving(acme) as sentry:
        sentry.faults = lambda _, request: faults.status(400) if request.project == last else None
        first = run(sentry)
        sentry.faults = ()
        second = run(sentry, first.state)

    assert first.returncode == 1
    assert len(first.records) == 2 * 120
    assert sorted(ids(first) + ids(second)) == held(acme)


def test_a_bookmark_that_cannot_be_read_stops_its_project_alone() -> None:
    acme = Inventory.made(projects=2, events=5)
    with serving(acme) as sentry:
        ended = run(sentry, state_of(partition(acme.projects[0]["id"], "soon")))

    assert ended.returncode == 1
    assert "bookmark" in ended.errors[0]
    assert len(ended.records) == 5


# --- ranges and first runs


@DATES
def test_a_range_holds_its_start_and_not_its_end(*, honours_dates: bool) -> None:
    acme = Inventory.made(projects=1, events=0)
    moments = ["2024-12-04T23:59:59Z", "2024-12-05T00:00:00Z", "2024-12-10T00:00:00Z"]
    added = acme.add_events(acme.projects[0]["slug"], map(entries.micros, moments))
    with serving(acme, honours_dates=honours_dates) as sentry:
        ended = run(sentry, start_date="2024-12-05", end_date="2024-12-10")

    assert ids(ended) == [added[1]]


def test_an_end_before_the_bookmark_is_no_error_and_no_request() -> None:
    acme = Inventory.made(projects=1, events=5)
    with serving(acme) as sentry:
        state = state_of(partition(acme.projects[0]["id"], "2025-01-01"))
        ended = run(sentry, state, end_date="2020-01-01")

    assert (ended.returncode, ended.records) == (0, [])
    assert {request.resource for request in sentry.requests} == {"organization", "projects"}


def test_a_range_without_events_hides_none_that_came_while_it_was_read() -> None:
    acme = Inventory.made(projects=1, events=0)
    clock = datetime.now(UTC) - timedelta(hours=1)
    added: list[str] = []

    def arrive(_: int, request: Request) -> None:
        if request.resource == "events" and not added:
            moment = entries.micros(clock) + 2_000_000
            added.extend(acme.add_events(acme.projects[0]["slug"], [moment]))
            sentry.clock = (clock + timedelta(seconds=4)).timestamp

    with serving(acme, faults=arrive, clock=clock.timestamp) as sentry:
        first = run(sentry, end_date="2206-01-01", lookback_seconds=0)
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


def test_without_backfill_a_new_project_comes_from_the_earliest_bookmark_of_the_others_on() -> None:
    acme = Inventory.made(projects=3, events=0)
    one, two, new = acme.projects
    state = state_of(
        partition("9", "2024-12-01", organization="beta"),
        partition(one["id"], "2024-12-10"),
        partition(two["id"], "2024-12-20"),
    )
    moments = map(entries.micros, ("2024-12-05T00:00:00Z", "2024-12-15T00:00:00Z"))
    _, since = acme.add_events(new["slug"], moments)
    with serving(acme) as sentry:
        ended = run(sentry, state, backfill=False)

    assert ids(ended) == [since]


@DATES
def test_a_project_without_events_is_not_read_from_the_beginning_again(
    *, honours_dates: bool
) -> None:
    acme = Inventory.made(projects=2, events=0)
    one = acme.projects[0]["slug"]
    with serving(acme, honours_dates=honours_dates) as sentry:
        first = run(sentry)
        added = acme.add_events(one, [entries.micros(datetime.now(UTC) - timedelta(minutes=30))])
        sentry.requests.clear()
        second = run(sentry, first.state)
        asked = [request for request in sentry.requests if request.resource == "events"]

    assert (first.returncode, ids(first), ids(second)) == (0, [], added)
    ago = [datetime.now(UTC) - datetime.fromisoformat(f"{of.query['start']}Z") for of in asked]
    assert len(ago) == 2
    assert all(timedelta(hours=1) <= time < timedelta(hours=2) for time in ago)
