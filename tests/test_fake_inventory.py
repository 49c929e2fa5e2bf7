"""The stand-in shows an organization's inventory, issues and events as a real Sentry did."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from testing.fake_sentry import FakeSentry, Inventory, Log, entries

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "testing" / "recorded_data" / "sentry-23.7.1-inventory"
BORDERS = json.loads((RECORDED / "borders.json").read_text("utf-8"))
BODIES = {
    "organization": "organizations/acme/",
    "projects": "organizations/acme/projects/",
    "teams": "organizations/acme/teams/",
    "members": "organizations/acme/members/",
    "releases": "organizations/acme/releases/?project=-1",
    "issues": "organizations/acme/issues/?project=-1",
    "events": "projects/acme/web-001/events/",
    "events_full": "projects/acme/web-001/events/?full=1",
}
SCOPES = {
    "organizations/acme/": ["org:read", "org:write"],
    "organizations/acme/audit-logs/": ["org:write"],
    "organizations/acme/projects/": ["org:read", "org:write"],
    "organizations/acme/teams/": ["org:read", "org:write"],
    "organizations/acme/members/": ["member:read"],
    "organizations/acme/releases/": ["project:read", "project:releases"],
    "organizations/acme/issues/": ["event:read"],
    "projects/acme/web-001/events/": ["event:read"],
}
EVERY_SCOPE = {scope for scopes in SCOPES.values() for scope in scopes}
CURSOR = re.compile(r'rel="(\w+)"; results="true"; cursor="([^"]+)"')
NEW_YEAR = entries.micros("2025-01-01T00:00:00Z")


def get(sentry: FakeSentry, path: str, token: str = "token", **query: Any) -> requests.Response:  # noqa: ANN401, S107
    url = f"{sentry.url}/api/0/{path}"
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(f"{url}?{urlencode(query)}" if query else url, headers=headers, timeout=5)


def ids(answer: requests.Response) -> list[str]:
    assert answer.ok, answer.text
    return [row["id"] for row in answer.json()]


def search(sentry: FakeSentry, query: str, **more: Any) -> list[str]:  # noqa: ANN401
    return ids(get(sentry, "organizations/acme/issues/", project=-1, query=query, **more))


def events(sentry: FakeSentry, **query: Any) -> list[str]:  # noqa: ANN401
    return ids(get(sentry, "projects/acme/web-001/events/", **query))


def serve(inventory: Inventory | None = None, **settings: Any) -> FakeSentry:  # noqa: ANN401
    return FakeSentry(
        {"acme": Log()}, inventories={"acme": inventory or Inventory.made()}, **settings
    )


def stats(sentry: FakeSentry) -> list[int]:
    return [request.status for request in sentry.requests]


@pytest.fixture(scope="module")
def recorded() -> Iterator[FakeSentry]:
    """Serve as much of everything as was recorded, with the issues' times and ids."""
    counts = BORDERS["counts"]
    inventory = Inventory.made(
        projects=counts["projects"],
        teams=counts["teams"],
        members=counts["members"],
        releases=counts["releases"],
        events=0,
    )
    inventory.issues = [
        {**inventory.issues[0], "id": issue_id, "lastSeen": at}
        for issue_id, at in counts["issues"][::-1]
    ]
    inventory.projects[0]["slug"] = "project-000"
    inventory.events["project-000"] = []
    inventory.add_events("project-000", range(NEW_YEAR, NEW_YEAR + counts["events"]))
    with serve(inventory, url_prefix="http://127.0.0.1:9000", honours_dates=False) as sentry:
        yield sentry


@pytest.mark.parametrize("border", BORDERS["answers"], ids=lambda border: border["request"])
def test_it_pages_and_refuses_as_recorded(recorded: FakeSentry, border: dict[str, Any]) -> None:
    answer = get(recorded, border["request"].removeprefix("/api/0/"))
    assert answer.status_code == border["status"]
    assert answer.headers.get("Link") == border["link"]
    assert answer.headers.get("X-Hits") == border["x_hits"]
    if "rows" in border:
        assert len(answer.json()) == border["rows"]
    if "ids" in border:
        assert ids(answer) == border["ids"]
    if "detail" in border:
        without_now = re.compile(r"e\.g\. 20.*")
        expected = without_now.sub("", border["detail"])
        assert without_now.sub("", answer.json()["detail"]) == expected


@pytest.mark.parametrize("name", BODIES)
def test_rows_have_the_fields_of_recorded_ones(name: str) -> None:
    with serve(region_url="http://region.example") as sentry:
        body = get(sentry, BODIES[name]).json()
    real = json.loads((RECORDED / f"{name}.json").read_text("utf-8"))
    if name == "organization":
        assert body.keys() == real.keys()
        assert body["links"].keys() == real["links"].keys()
        body, real = body["teams"] + body["projects"], real["teams"] + real["projects"]
    assert {tuple(row) for row in body} == {tuple(row) for row in real}
    for field in ("versionInfo", "user", "lifetime", "metadata", "project"):
        if field in real[0]:
            assert body[0][field].keys() == real[0][field].keys()


def test_nested_projects_have_the_fields_of_recorded_ones() -> None:
    inventory = Inventory.made()
    for name, rows in (("teams", inventory.teams), ("releases", inventory.releases)):
        real = json.loads((RECORDED / f"{name}.json").read_text("utf-8"))
        assert rows[0]["projects"][0].keys() == real[0]["projects"][0].keys()


def test_the_same_seed_makes_the_same_inventory() -> None:
    assert Inventory.made(seed=1) == Inventory.made(seed=1)
    assert Inventory.made(seed=1) != Inventory.made(seed=2)


def test_two_organizations_share_no_ids() -> None:
    acme, other = Inventory.made("acme"), Inventory.made("other")
    for name in ("projects", "teams", "members", "releases", "issues"):
        of_acme, of_other = ({row["id"] for row in getattr(it, name)} for it in (acme, other))
        assert of_acme.isdisjoint(of_other)
    assert {row["id"] for row in acme.events["web-001"]}.isdisjoint(
        row["id"] for row in other.events["web-001"]
    )


def test_it_ends_when_it_is_told() -> None:
    until = datetime(2026, 3, 1, tzinfo=UTC)
    inventory = Inventory.made(until=until, days=2)
    newest = inventory.events["web-001"][0]["dateCreated"]
    assert "2026-02-28" < newest < "2026-03-01"
    assert "2026-02-26" < inventory.issues[-1]["lastSeen"] < "2026-03-01"


def test_it_makes_so_many_of_each_and_events_for_each_project() -> None:
    inventory = Inventory.made(projects=4, teams=3, members=60, releases=7, issues=9, events=5)
    lists = [inventory.projects, inventory.teams, inventory.members, inventory.releases]
    assert [len(rows) for rows in lists] == [4, 3, 60, 7]
    assert len(inventory.issues) == 9
    assert [len(rows) for rows in inventory.events.values()] == [5] * 4
    assert len({row["user"]["id"] for row in inventory.members}) == 60


def test_it_can_be_empty() -> None:
    empty = Inventory.made(projects=0, teams=0, members=0, releases=0, issues=0)
    with serve(empty) as sentry:
        bodies = [get(sentry, BODIES[name]).json() for name in list(BODIES)[1:6]]
        issues = get(sentry, BODIES["issues"])
    assert bodies == [[]] * 5
    assert "Link" not in issues.headers


def test_an_event_belongs_to_an_issue_of_its_project() -> None:
    inventory = Inventory.made()
    owners = {row["id"]: row["project"]["slug"] for row in inventory.issues}
    for slug, rows in inventory.events.items():
        assert {owners[row["groupID"]] for row in rows} == {slug}


def test_members_are_the_actors_of_the_audit_log() -> None:
    rows = Log(entries.even(500)).rows()
    actors = {row["actor"]["id"]: row["actor"] for row in rows if row and "id" in row["actor"]}
    members = Inventory.made(members=10).members
    for member in members:
        actor = actors[member["user"]["id"]]
        assert member["user"] == actor
        assert (member["email"], member["name"]) == (actor["email"], actor["name"])
    assert {member["role"] for member in members} == {"owner", "manager", "admin", "member"}


def test_three_hundred_projects_are_made_quickly() -> None:
    began = time.perf_counter()
    inventory = Inventory.made(
        projects=300, teams=20, members=100, releases=100, issues=1000, events=100
    )
    assert time.perf_counter() - began < 2
    assert sum(map(len, inventory.events.values())) == 30_000


@pytest.mark.parametrize("path", ["releases", "issues"])
def test_without_all_projects_there_is_nothing(path: str) -> None:
    with serve() as sentry:
        answer = get(sentry, f"organizations/acme/{path}/")
    assert answer.json() == []
    assert "Link" not in answer.headers


def test_releases_come_newest_first() -> None:
    inventory = Inventory.made(releases=9)
    expected = [row["id"] for row in inventory.releases]
    inventory.releases.reverse()
    with serve(inventory) as sentry:
        assert ids(get(sentry, BODIES["releases"])) == expected


@pytest.mark.parametrize(
    ("first", "last", "found"), [(0, 1, 2), (-1, 0, 2), (1, 2, 0), (-2, -1, 0)]
)
def test_releases_are_found_by_date_both_ends_included(first: int, last: int, found: int) -> None:
    inventory = Inventory.made(releases=0)
    inventory.add_releases([NEW_YEAR + 123_456] * 2)
    span = [entries.date_created(NEW_YEAR + 123_456 + shift) for shift in (first, last)]
    with serve(inventory) as sentry:
        path = BODIES["releases"].partition("?")[0]
        assert len(ids(get(sentry, path, project=-1, start=span[0], end=span[1]))) == found


def test_archived_releases_are_shown_where_the_status_is_left_open() -> None:
    inventory = Inventory.made(releases=2)
    [archived] = inventory.add_releases([NEW_YEAR], status="archived")
    opened = [row["id"] for row in inventory.releases if row["id"] != archived]
    path = BODIES["releases"].partition("?")[0]
    with serve(inventory) as sentry:
        assert sorted(ids(get(sentry, path, project=-1))) == sorted(opened)
        [row] = get(sentry, path, project=-1, status="archived").json()
        assert row["id"] == archived
        assert len(ids(get(sentry, path, project=-1, status=""))) == 3


def test_issues_come_newest_first_and_unresolved_by_default() -> None:
    inventory = Inventory.made()
    inventory.issues.reverse()
    rows = inventory.issues[::-1]
    with serve(inventory) as sentry:
        assert search(sentry, "") == [row["id"] for row in rows]
        unresolved = [row["id"] for row in rows if row["status"] == "unresolved"]
        assert ids(get(sentry, BODIES["issues"])) == unresolved
        assert search(sentry, "is:unresolved") == unresolved
    assert len(unresolved) == 8


def test_issues_are_found_by_when_they_were_last_seen() -> None:
    inventory = Inventory.made(issues=3)
    for row, at in zip(inventory.issues, [3_000_000, 2_500_000, 2_000_000], strict=True):
        inventory.touch(row["id"], NEW_YEAR + at)
    three, half, two = (row["id"] for row in inventory.issues)
    with serve(inventory) as sentry:
        assert search(sentry, "lastSeen:>=2025-01-01T00:00:02.5") == [three, half]
        assert search(sentry, "lastSeen:>2025-01-01T00:00:02.500000") == [three]
        assert search(sentry, "lastSeen:<=2025-01-01T00:00:02.5") == [half, two]
        assert search(sentry, "lastSeen:<2025-01-01T00:00:03Z") == [half, two]
        between = "lastSeen:>2025-01-01T00:00:02 lastSeen:<2025-01-01T00:00:03 is:unresolved"
        assert search(sentry, between) == [half]


def test_a_search_without_results_counts_no_hits() -> None:
    with serve() as sentry:
        path = "organizations/acme/issues/"
        answer = get(sentry, path, project=-1, query="lastSeen:>2030-01-01T00:00:00")
    assert answer.json() == []
    assert "X-Hits" not in answer.headers
    assert re.findall(r'results="(\w+)"; cursor="([^"]+)"', answer.headers["Link"]) == [
        ("false", "0:0:1"),
        ("false", "0:0:0"),
    ]


@pytest.mark.parametrize("term", ["boom", "is:nonsense", "lastSeen:2025-01-01T00:00:00"])
def test_an_unknown_term_is_a_400(term: str) -> None:
    with serve() as sentry:
        query = f"is:unresolved {term}"
        answer = get(sentry, "organizations/acme/issues/", project=-1, query=query)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("Error parsing search query: ")


def test_a_touched_issue_moves_to_the_front() -> None:
    inventory = Inventory.made()
    *_, last = inventory.issues
    with serve(inventory) as sentry:
        inventory.touch(last["id"], NEW_YEAR + 5_000_000)
        answer = get(sentry, "organizations/acme/issues/", project=-1, query="", limit=1)
    [first] = answer.json()
    assert first["id"] == last["id"]
    assert first["lastSeen"] == first["lifetime"]["lastSeen"] == "2025-01-01T00:00:05Z"
    assert int(first["count"]) == int(last["count"]) + 1
    assert f'cursor="{NEW_YEAR // 1000 + 5_000}:0:1"' in answer.headers["Link"]


def test_an_issue_touched_between_two_pages_is_on_neither_of_the_others() -> None:
    inventory = Inventory.made()
    with serve(inventory) as sentry:
        before = search(sentry, "")
        first = get(sentry, "organizations/acme/issues/", project=-1, query="", limit=4)
        inventory.touch(before[5], NEW_YEAR)
        cursor = dict(CURSOR.findall(first.headers["Link"]))["next"]
        rest = search(sentry, "", cursor=cursor)
    assert ids(first) + rest == [issue for issue in before if issue != before[5]]


def test_hits_end_at_a_thousand() -> None:
    with serve(Inventory.made(issues=1_001, events=0)) as sentry:
        answer = get(sentry, "organizations/acme/issues/", project=-1, query="")
    assert (answer.headers["X-Hits"], answer.headers["X-Max-Hits"]) == ("1000", "1000")
    assert len(answer.json()) == 100


def test_ties_of_issues_are_read_once_each() -> None:
    inventory = Inventory.made(issues=30)
    for row in list(inventory.issues):
        inventory.touch(row["id"], NEW_YEAR)
    found: list[str] = []
    cursor = ""
    with serve(inventory) as sentry:
        while not found or cursor:
            asked = {"cursor": cursor} if cursor else {}
            page = get(sentry, "organizations/acme/issues/", project=-1, query="", limit=7, **asked)
            found += ids(page)
            cursor = dict(CURSOR.findall(page.headers["Link"])).get("next", "")
    assert sorted(found) == sorted(row["id"] for row in inventory.issues)


def test_new_events_shift_the_pages() -> None:
    inventory = Inventory.made(events=8)
    with serve(inventory) as sentry:
        first = events(sentry, per_page=4)
        added = inventory.add_events("web-001", [NEW_YEAR, NEW_YEAR + 1])
        second = events(sentry, per_page=4, cursor="0:4:0")
        now = events(sentry)
    assert second[:2] == first[2:]
    assert now == added[::-1] + first + second[2:] + now[-2:]


def test_events_added_late_stand_at_their_time() -> None:
    inventory = Inventory.made(events=8)
    oldest = entries.micros(inventory.events["web-001"][-1]["dateCreated"])
    [added] = inventory.add_events("web-001", [oldest - 1])
    with serve(inventory) as sentry:
        assert events(sentry)[-1] == added


def test_events_know_their_dates_where_asked_to() -> None:
    inventory = Inventory.made(events=0)
    added = inventory.add_events("web-001", [NEW_YEAR + half * 500_000 for half in range(5)])
    span = {"start": "2025-01-01T00:00:00.5", "end": "2025-01-01T00:00:02"}
    with serve(inventory) as sentry:
        assert events(sentry, **span) == added[3:0:-1]
        sentry.honours_dates = False
        assert events(sentry, **span) == added[::-1]


@pytest.mark.parametrize(
    "query", ["start=2025-01-01", "end=2025-01-01", "start=2025-01-01&end=nonsense"]
)
def test_dates_of_events_come_in_pairs_and_as_iso(query: str) -> None:
    with serve() as sentry:
        assert get(sentry, f"projects/acme/web-001/events/?{query}").status_code == 400


def test_any_value_of_full_means_yes() -> None:
    with serve() as sentry:
        zero, none = (
            get(sentry, "projects/acme/web-001/events/", full=full).json()[0] for full in ("0", "")
        )
    assert "entries" in zero
    assert "entries" not in none


@pytest.mark.parametrize("path", SCOPES)
def test_a_token_needs_the_scope_of_an_endpoint(path: str) -> None:
    with serve(tokens={"one": "ok", "others": "ok", "free": "ok"}) as sentry:
        for scope in SCOPES[path]:
            sentry.scopes = {"one": [scope], "others": EVERY_SCOPE - set(SCOPES[path])}
            assert get(sentry, path, "one").ok
        refused = get(sentry, path, "others")
        assert get(sentry, path, "free").ok
    assert refused.status_code == 403
    assert refused.json() == {"detail": "You do not have permission to perform this action."}


def test_a_lacking_scope_is_told_before_a_missing_project() -> None:
    with serve(scopes={"token": ["org:read"]}) as sentry:
        assert get(sentry, "projects/acme/nope/events/").status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "organizations/other/",
        "organizations/other/projects/",
        "organizations/nope/issues/",
        "projects/acme/nope/events/",
        "projects/other/web-001/events/",
    ],
)
def test_what_is_not_there_is_a_404(path: str) -> None:
    logs = {"acme": Log(), "other": Log()}
    with FakeSentry(logs, inventories={"acme": Inventory.made()}) as sentry:
        answer = get(sentry, path)
    assert answer.status_code == 404
    assert answer.json() == {"detail": "The requested resource does not exist"}


def test_a_removed_project_is_gone() -> None:
    inventory = Inventory.made()
    with serve(inventory) as sentry:
        assert events(sentry)
        inventory.remove_project("web-001")
        assert get(sentry, "projects/acme/web-001/events/").status_code == 404
        projects = get(sentry, "organizations/acme/projects/").json()
        teams = get(sentry, "organizations/acme/teams/").json()
        issues = get(sentry, "organizations/acme/issues/", project=-1, query="").json()
    assert [row["slug"] for row in projects] == ["web-002", "web-003"]
    assert "web-001" not in {row["slug"] for team in teams for row in team["projects"]}
    assert {row["project"]["slug"] for row in issues} == {"web-002", "web-003"}


def test_the_control_server_points_to_a_region() -> None:
    with (
        serve(serves="region") as region,
        serve(serves="control", region_url=region.url) as control,
    ):
        links = get(control, "organizations/acme/").json()["links"]
        assert links == {"organizationUrl": control.url, "regionUrl": region.url}
        assert "regionUrl" not in get(region, "organizations/acme/").json()["links"]
        for path in list(SCOPES)[1:]:
            get(control, path)
            get(region, path)
    assert stats(control) == [200, 200, *[404] * 6]
    assert stats(region) == [200, 404, *[200] * 6]


def test_a_region_needs_no_audit_log() -> None:
    with FakeSentry({}, inventories={"acme": Inventory.made()}, serves="region") as sentry:
        assert get(sentry, "organizations/acme/projects/").ok


def test_these_endpoints_share_the_limits_and_the_access() -> None:
    with serve(rate_limit=2, clock=lambda: 0, tokens={"token": "ok", "old": "expired"}) as sentry:
        assert get(sentry, "organizations/acme/teams/", "old").status_code == 401
        good = get(sentry, "organizations/acme/teams/")
        assert get(sentry, "projects/acme/web-001/events/").status_code == 429
    assert good.headers["Date"] == "Thu, 01 Jan 1970 00:00:00 GMT"
    last = sentry.requests[-1]
    assert (last.organization, last.resource, last.project) == ("acme", "events", "web-001")


def test_the_program_gives_every_organization_an_inventory(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    counts = ["--inventory", "projects=2", "--inventory", "events=7"]
    command = [
        sys.executable,
        "-m",
        "testing.fake_sentry",
        "--organization",
        "a=1",
        "--organization",
    ]
    with subprocess.Popen([*command, "b=1", *counts, "--ready-file", ready], cwd=ROOT) as program:
        while not ready.exists():
            assert program.poll() is None
            time.sleep(0.01)
        url, headers = ready.read_text(), {"Authorization": "Bearer token"}
        answers = [
            requests.get(f"{url}/api/0/{path}/", headers=headers, timeout=5).json()
            for path in ("organizations/b/projects", "projects/b/web-002/events")
        ]
        os.kill(program.pid, signal.SIGTERM)
    assert [len(rows) for rows in answers] == [2, 7]
    newest = datetime.fromisoformat(answers[1][0]["dateCreated"])
    assert (datetime.now(UTC) - newest).days < 10
