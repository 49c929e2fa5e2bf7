"""Releases: each one once, however the server orders and pages them; or an error."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from tap_sentry_audit.api.dated_list import read_whole
from tap_sentry_audit.api.exceptions import AccessDeniedError, BadRequestError
from tap_sentry_audit.api.pagination import parse_list
from tap_sentry_audit.api.timestamps import EPOCH
from testing.fake_sentry import FakeSentry, Inventory, Log, ReleaseList, Request, entries, faults
from testing.fake_sentry.answers import json_answer
from testing.sentry_tap import config, run_tap, selecting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tap_sentry_audit.api.pagination import ListPage
    from testing.fake_sentry.faults import Fault
    from testing.forked import Run

NEW_YEAR = entries.micros("2026-01-01T00:00:00Z")
DAY = entries.DAY
HOUR = DAY // 24
PROJECTS = ["web-001", "web-002", "web-003"]
WIDTHS = [3, 4, 7, 25, 60, 99, 100, 101, 160, 236]
"""How many releases have one date."""

NARROW = [3] * 20 + [7] * 15 + [40]


def made(
    widths: Sequence[int] = (),
    single: int = 0,
    *,
    projects: int = 3,
    statuses: Sequence[str] = ("open",),
) -> Inventory:
    """Releases that share dates, and others with a date of their own, newest first."""
    inventory = Inventory.made(projects=projects, releases=0, events=0)
    rng = Random(f"{widths} {single} {projects}")  # noqa: S311  (no secret)
    groups = [*widths, *[1] * single]
    rng.shuffle(groups)
    for place, width in enumerate(groups):
        at = NEW_YEAR + place * DAY + rng.choice([0, 1, 999_999, 123_456])
        for _ in range(width):
            slugs = rng.sample(PROJECTS[:projects], rng.randint(1, projects))
            inventory.add_releases([at], *slugs, status=rng.choice(statuses))
    return inventory


def serving(inventory: Inventory, way: ReleaseList | None = None, **more: Any) -> FakeSentry:  # noqa: ANN401
    return FakeSentry(
        {"acme": Log()},
        inventories={"acme": inventory},
        release_list=way or ReleaseList(),
        **more,
    )


def run(sentry: FakeSentry, **settings: object) -> Run:
    return run_tap(config(sentry, **settings), catalog=selecting("releases"))


def held(inventory: Inventory) -> set[str]:
    return {str(row["id"]) for row in inventory.releases}


def read(inventory: Inventory, way: ReleaseList | None = None, **more: Any) -> set[str]:  # noqa: ANN401
    """The ids that `read_whole` finds, without a connection to the stand-in."""
    sentry = serving(inventory, way, **more)

    def fetch(parameters: Mapping[str, str]) -> ListPage:
        query = urlencode({"project": "-1", "status": "", "per_page": "100"} | {**parameters})
        target = f"/api/0/organizations/acme/releases/?{query}"
        answer, _ = sentry.reply(target, {"authorization": "Bearer token"})
        assert answer
        if answer.status == 400:
            raise BadRequestError(answer.body.decode())
        if answer.status == 403:
            raise AccessDeniedError(answer.body.decode(), EPOCH)
        return parse_list(answer.body, answer.headers, "id")

    return {str(row["id"]) for page in read_whole(fetch({}), fetch) for row in page.rows}


def assert_no_other_lost(inventory: Inventory, meanwhile: Any, dates: Any = "obeyed") -> None:  # noqa: ANN401
    """Every release that was there all the time comes."""
    before = held(inventory)
    found = read(inventory, ReleaseList(dates=dates), faults=meanwhile)

    assert before & held(inventory) <= found <= before | held(inventory)


def at_request(number: int, change: Callable[[], object]) -> Callable[[int, Request], Fault | None]:
    """Let a change happen just before the answer to a request, counted from 1."""

    def meanwhile(count: int, _: Request) -> None:
        if count == number:
            change()

    return meanwhile


# --- one date


SHUFFLED = ReleaseList(ties="shuffled")


@pytest.mark.parametrize(
    ("inventory", "way"),
    [
        (made(WIDTHS, single=150), ReleaseList(ties="by id")),
        (made(WIDTHS, single=150), ReleaseList(ties="by page")),
        (made(WIDTHS, single=150), SHUFFLED),
        (made(NARROW, single=150), replace(SHUFFLED, dates="ignored")),
        (made(NARROW, single=150), replace(SHUFFLED, dates="refused")),
        (made(NARROW, single=150), replace(SHUFFLED, dates="exclusive")),
        (made(NARROW, single=150), replace(SHUFFLED, dates="whole seconds")),
        # A date over the edge of every page.
        (made([1, *[7] * 60]), ReleaseList()),
        (made([1, *[7] * 60]), ReleaseList(dates="whole seconds")),
        # A date of several pages, in one project or in several, and nothing but one.
        (made([340], single=120, projects=1), SHUFFLED),
        (made([340], single=120, projects=3), SHUFFLED),
        (made([236]), ReleaseList()),
        # A server that shows dates in milliseconds, or none.
        (made([3, 30, 130], single=200), ReleaseList(digits=3)),
        (made([3, 30], single=200), ReleaseList(digits=0)),
    ],
)
def test_every_release_comes_once_however_dates_are_shared_and_shown(
    inventory: Inventory, way: ReleaseList
) -> None:
    assert read(inventory, way) == held(inventory)


def test_dates_of_several_pages_a_moment_apart_are_read_whole() -> None:
    inventory = made(single=50)
    for shift in (0, 1, 999, 1_000, 2_500):
        inventory.add_releases([NEW_YEAR + 20 * DAY + shift] * 130, *PROJECTS)

    assert read(inventory) == held(inventory)


def test_a_release_that_the_server_never_shows_is_an_error_with_the_numbers() -> None:
    inventory, others = made(single=150), made(single=5)
    of_one_date = inventory.add_releases([NEW_YEAR + 40 * DAY + HOUR] * 236)
    way = ReleaseList(hidden=frozenset(of_one_date[100:102]))
    inventories = {"acme": inventory, "other": others}
    with FakeSentry({}, inventories=inventories, release_list=way) as sentry:
        ended = run(sentry, organization=None, organizations=["acme", "other"])

    [line] = ended.errors
    assert line.startswith("acme: some rows may be missing, so run the tap again: ")
    assert "created about 2026-02-10T01:00:00.000000Z read 236, 236, " in line
    assert line.endswith("rows but showed 234 different ones")
    assert ended.returncode == 1
    shown = held(inventory) - {str(number) for number in way.hidden}
    assert sorted(ended.ids) == sorted([*shown, *held(others)])


def test_a_date_in_projects_that_the_token_may_not_read_is_no_error() -> None:
    inventory = made([3], single=90)
    inventory.add_releases([NEW_YEAR] * 150, *PROJECTS)
    inventory.remove_project("web-001")

    assert read(inventory, SHUFFLED) == {
        str(row["id"])
        for row in inventory.releases
        if any(project["slug"] != "web-001" for project in row["projects"])
    }


# --- what it costs


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (99, 1), (100, 1), (590, 6)])
def test_releases_without_shared_dates_take_a_request_for_each_page(
    count: int, requests: int
) -> None:
    with serving(made(single=count)) as sentry:
        ended = run(sentry)

    assert len(ended.ids) == count
    assert sum(request.resource == "releases" for request in sentry.requests) == requests


# --- what happens meanwhile


@pytest.mark.parametrize("dates", ["obeyed", "ignored"])
@pytest.mark.parametrize("number", range(1, 6))
def test_a_release_that_arrives_meanwhile_is_no_error(dates: str, number: int) -> None:
    inventory = made([3] * 9, single=350)
    arriving = at_request(number, lambda: inventory.add_releases([NEW_YEAR + 999 * DAY]))

    assert_no_other_lost(inventory, arriving, dates)


@pytest.mark.parametrize("dates", ["obeyed", "ignored"])
@pytest.mark.parametrize("place", [0, 99, 100, 250])
@pytest.mark.parametrize("number", [2, 3])
def test_a_release_that_is_deleted_meanwhile_takes_no_other_with_it(
    number: int, place: int, dates: str
) -> None:
    inventory = made(single=350)
    deleting = at_request(number, lambda: inventory.releases.pop(place))

    assert_no_other_lost(inventory, deleting, dates)


def test_many_releases_that_are_deleted_meanwhile_take_no_other_with_them() -> None:
    inventory = made([5] * 9, single=500)

    def delete(_: int, request: Request) -> None:
        if request.resource == "releases" and len(inventory.releases) > 300:
            del inventory.releases[::40]

    assert_no_other_lost(inventory, delete)


def test_a_release_deleted_from_a_date_of_several_pages_is_no_error() -> None:
    inventory = made(single=20)
    of_one_date = inventory.add_releases([NEW_YEAR + 50 * DAY] * 236, *PROJECTS)

    def delete() -> None:
        inventory.releases[:] = [row for row in inventory.releases if row["id"] != of_one_date[7]]

    assert_no_other_lost(inventory, at_request(4, delete))


# --- other servers


@pytest.mark.parametrize("dates", ["obeyed", "ignored"])
def test_a_server_that_orders_by_the_date_of_the_release_is_read_whole(dates: Any) -> None:  # noqa: ANN401
    inventory = made([4, 30], single=300)
    rng = Random(1)  # noqa: S311  (no secret)
    for row in inventory.releases:
        released = NEW_YEAR + rng.randrange(500 * DAY)
        row["dateReleased"] = rng.choice([None, entries.date_created(released)])

    way = ReleaseList(order="dateReleased", status="unknown", dates=dates)
    assert read(inventory, way) == held(inventory)


# --- archived releases


def archived_warnings(ended: Run) -> list[str]:
    return [line for line in ended.log("WARNING") if "archived releases are not read" in line]


def test_archived_releases_come_as_such() -> None:
    inventory = made([130], single=50, statuses=["open", "archived"])
    with serving(inventory) as sentry:
        ended = run(sentry)

    status = {str(row["id"]): row["status"] for row in inventory.releases}
    assert {record["id"]: record["status"] for record in ended.records} == status
    assert not archived_warnings(ended)


def test_where_the_server_refuses_an_empty_status_open_releases_come_with_one_warning() -> None:
    inventory = made([130], single=50, statuses=["open", "archived"])
    with serving(inventory, ReleaseList(status="refused")) as sentry:
        ended = run(sentry)

    [line] = archived_warnings(ended)
    assert line.startswith("acme: ")
    assert ended.returncode == 0
    opened = {str(row["id"]) for row in inventory.releases if row["status"] == "open"}
    assert set(ended.ids) == opened


def test_a_400_for_another_reason_is_an_error() -> None:
    def refuse(_: int, request: Request) -> Fault | None:
        return faults.status(400) if request.resource == "releases" else None

    with serving(made(single=3), faults=refuse) as sentry:
        ended = run(sentry)

    [line] = ended.errors
    assert "400" in line
    assert not archived_warnings(ended)
    assert ended.returncode == 1


# --- rows that the server cannot show


@pytest.mark.parametrize("dates", ["obeyed", "ignored"])
@pytest.mark.parametrize("places", [[0, 140], [98, 99, 100], range(99, 230)])
def test_rows_that_the_server_cannot_show_take_no_other_with_them(
    places: Sequence[int],
    dates: Any,  # noqa: ANN401
) -> None:
    inventory = made([6] * 10 if dates == "obeyed" else [], single=290)
    null = frozenset(inventory.releases[place]["id"] for place in places)
    found = read(inventory, ReleaseList(null=null, dates=dates))

    assert found == held(inventory) - {str(number) for number in null}


def test_a_null_row_in_a_date_of_several_pages_is_told_from_a_lost_one() -> None:
    inventory = made(single=20)
    null, hidden, *_ = inventory.add_releases([NEW_YEAR + 50 * DAY + HOUR] * 236)
    with serving(inventory, ReleaseList(null=frozenset([null]))) as sentry:
        ended = run(sentry)
        sentry.release_list = replace(sentry.release_list, hidden=frozenset([hidden]))
        [line] = run(sentry).errors

    assert ended.returncode == 0
    assert held(inventory) - set(ended.ids) == {str(null)}
    assert len(ended.ids) == len(set(ended.ids))
    assert "acme: Sentry could not show 1 release (null rows)" in ended.log("WARNING")
    assert "read 236, " in line
    assert "1 of them null rows" in line
    assert "234 different" in line


def test_null_rows_that_lead_in_a_circle_are_an_error() -> None:
    def circle(_: int, request: Request) -> Fault | None:
        way = '<http://x/>; rel="next"; results="true"; cursor="100:1:0"'
        return json_answer(200, [None], Link=way) if request.resource == "releases" else None

    with serving(made(), faults=circle) as sentry:
        ended = run(sentry)

    assert ended.returncode == 1
    assert any("already shown" in line for line in ended.errors)
