"""The stand-in answers as a real Sentry 23.7.1 did."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import requests

from testing import recorded
from testing.fake_sentry import FakeSentry, Inventory, Log, entries

if TYPE_CHECKING:
    from collections.abc import Iterator

AUDIT_LOGS = "/api/0/organizations/acme/audit-logs/"
REQUESTS = dict(
    re.findall(r"^(\w+) \| GET (\S+)", (recorded.FOLDER / "INDEX.txt").read_text(), re.MULTILINE)
)
TOKENS = {"bad_token": "wrong", "expired_token": "old", "org_read_only": "reader", "no_auth": ""}

INVENTORY = recorded.FOLDER.with_name("sentry-23.7.1-inventory")
BORDERS = json.loads((INVENTORY / "borders.json").read_text("utf-8"))
LISTS = {
    "projects": "organizations/acme/projects/",
    "teams": "organizations/acme/teams/",
    "members": "organizations/acme/members/",
    "releases": "organizations/acme/releases/?project=-1",
    "issues": "organizations/acme/issues/?project=-1",
    "events": "projects/acme/web-001/events/",
    "events_full": "projects/acme/web-001/events/?full=1",
}
NESTED = {"versionInfo", "user", "lifetime", "metadata", "project"}
EXAMPLE_OF_NOW = re.compile(r"e\.g\. 20.*")


def get(sentry: FakeSentry, path: str, token: str = "token") -> requests.Response:  # noqa: S107
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.get(sentry.url + path, headers=headers, timeout=5)


# The audit log


def recorded_rows(*names: str) -> list[dict[str, Any]]:
    """Rows of some pages of one log, oldest first."""
    pages = [json.loads(recorded.body(name))["rows"] for name in names]
    return list({row["id"]: row for page in pages for row in page}.values())[::-1]


def time_and_id(row: dict[str, Any]) -> tuple[str, str]:
    return row["dateCreated"], row["id"]


def acme() -> Log:
    """What the recordings show of a log of 2,500 entries.

    Each page with more behind it needs the next row of the real log. That row was not recorded,
    but the page's cursor tells its millisecond.
    """
    behind_first_page = entries.micros("2026-11-01T11:04:48.257082Z")
    nobody = {"actor": {"name": None}}
    return Log(
        rows=[
            entries.row("1", 1_760_748_230_304_000, **nobody),
            entries.row("2", 1_781_778_570_493_000, event="member.invite", **nobody),
            entries.row("3", behind_first_page, **nobody),
            *recorded_rows("first_page", "event_member_invite", "actor_1", "cursor_zero_prev"),
        ]
    )


@pytest.fixture(name="audit_logs", scope="module")
def _audit_logs() -> Iterator[FakeSentry]:
    logs = {
        "acme": acme(),
        "acme-small": Log(rows=recorded_rows("small_p1", "small_p2", "small_p3")),
        "acme-empty": Log(),
    }
    with FakeSentry(
        logs,
        tokens={"token": "ok", "old": "expired", "reader": "forbidden"},
        url_prefix="http://127.0.0.1:9000",
    ) as sentry:
        yield sentry


@pytest.mark.parametrize("name", REQUESTS)
def test_the_audit_log_answers_as_recorded(audit_logs: FakeSentry, name: str) -> None:
    answer = get(audit_logs, REQUESTS[name], TOKENS.get(name, "token"))

    assert answer.status_code == recorded.status(name)
    for header in ("Content-Type", "Link", "WWW-Authenticate"):
        assert answer.headers.get(header) == recorded.headers(name).get(header)
    if answer.ok:
        rows, real = answer.json()["rows"], json.loads(recorded.body(name))["rows"]
        # The order of tied rows is not the same in any two answers of a real Sentry.
        assert [row["dateCreated"] for row in rows] == [row["dateCreated"] for row in real]
        assert sorted(rows, key=time_and_id) == sorted(real, key=time_and_id)
    else:
        assert answer.content == recorded.body(name)


def test_a_request_over_the_rate_limit_is_refused_as_recorded() -> None:
    headers = recorded.headers("rate_limit_429")
    now = int(headers["X-Sentry-Rate-Limit-Reset"]) - 0.5
    with FakeSentry({"acme": Log()}, rate_limit=5, clock=lambda: now) as sentry:
        answers = [get(sentry, AUDIT_LOGS) for _ in range(6)]
    refused = answers.pop()

    assert [a.headers["X-Sentry-Rate-Limit-Remaining"] for a in answers] == list("43210")
    assert refused.status_code == 429
    assert refused.content == recorded.body("rate_limit_429")
    assert "Retry-After" not in refused.headers
    for header, value in headers.items():
        if header.startswith(("X-Sentry-Rate-Limit", "Content-Type")):
            assert refused.headers[header] == value


def test_generated_entries_have_the_fields_of_recorded_ones() -> None:
    generated = [row for row in Log(entries.even(500)).rows() if row]
    real = recorded_rows("small_p1", "first_page")

    assert {tuple(row) for row in generated} == {tuple(row) for row in real}
    assert {len(row["actor"]) for row in generated} == {1, 17}
    assert {type(row["targetUser"]) for row in generated} == {dict, int, str, type(None)}


# Everything else of an organization


@pytest.fixture(name="inventory", scope="module")
def _inventory() -> Iterator[FakeSentry]:
    """As many rows of everything as were recorded, and issues with the recorded ids and times."""
    counts = BORDERS["counts"]
    made = Inventory.made(
        **{name: counts[name] for name in ("projects", "teams", "members", "releases")}, events=0
    )
    made.issues = [
        {**made.issues[0], "id": issue_id, "lastSeen": at}
        for issue_id, at in counts["issues"][::-1]
    ]
    made.projects[0]["slug"] = "project-000"
    made.events["project-000"] = []
    newest = entries.micros(entries.UNTIL)
    made.add_events("project-000", range(newest, newest + counts["events"]))
    with FakeSentry(
        {}, inventories={"acme": made}, url_prefix="http://127.0.0.1:9000", honours_dates=False
    ) as sentry:
        yield sentry


@pytest.mark.parametrize("border", BORDERS["answers"], ids=lambda border: border["request"])
def test_lists_page_and_refuse_as_recorded(inventory: FakeSentry, border: dict[str, Any]) -> None:
    answer = get(inventory, border["request"])

    assert answer.status_code == border["status"]
    assert answer.headers.get("Link") == border["link"]
    assert answer.headers.get("X-Hits") == border["x_hits"]
    if "rows" in border:
        assert len(answer.json()) == border["rows"]
    if "ids" in border:
        assert [row["id"] for row in answer.json()] == border["ids"]
    if "detail" in border:
        given = EXAMPLE_OF_NOW.sub("", answer.json()["detail"])
        assert given == EXAMPLE_OF_NOW.sub("", border["detail"])


def real_and_generated(name: str, path: str) -> tuple[Any, Any]:
    generated = {"acme": Inventory.made()}
    with FakeSentry({}, inventories=generated, region_url="http://region.example") as sentry:
        rows = get(sentry, f"/api/0/{path}").json()
    return json.loads((INVENTORY / f"{name}.json").read_text("utf-8")), rows


@pytest.mark.parametrize("name", LISTS)
def test_generated_rows_have_the_fields_of_recorded_ones(name: str) -> None:
    real, generated = real_and_generated(name, LISTS[name])

    assert {tuple(row) for row in generated} == {tuple(row) for row in real}
    for field in NESTED & real[0].keys():
        assert generated[0][field].keys() == real[0][field].keys()
    if real[0].get("projects"):
        assert generated[0]["projects"][0].keys() == real[0]["projects"][0].keys()


def test_an_organization_has_the_fields_of_the_recorded_one() -> None:
    real, generated = real_and_generated("organization", "organizations/acme/")

    assert generated.keys() == real.keys()
    for name in ("teams", "projects"):
        assert {tuple(row) for row in generated[name]} == {tuple(row) for row in real[name]}
    assert generated["links"].keys() == real["links"].keys()
