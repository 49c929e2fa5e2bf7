"""The lists around the log: whole, each row once, or an error that names what is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tap_sentry_audit.tap import TapSentryAudit
from testing.fake_sentry import Answer, FakeSentry, Inventory, Log, Request, faults
from testing.fake_sentry.answers import json_answer
from testing.sentry_tap import config, run_tap, selecting, without_waits

if TYPE_CHECKING:
    from testing.forked import Run

LISTS = ["projects", "teams", "members", "releases"]


def run(sentry: FakeSentry, *streams: str, **settings: object) -> Run:
    return run_tap(config(sentry, **settings), catalog=selecting(*streams))


def acme(**changes: Any) -> FakeSentry:  # noqa: ANN401
    inventory = Inventory.made(projects=130, teams=101, members=147, releases=120)
    return FakeSentry({"acme": Log()}, inventories={"acme": inventory}, **changes)


def of(ended: Run, stream: str) -> list[dict[str, Any]]:
    return [message["record"] for message in ended.of_type("RECORD") if message["stream"] == stream]


def test_every_row_of_a_list_comes_once_and_an_organization_is_one_record() -> None:
    with acme() as sentry:
        ended = run(sentry, "organizations", *LISTS)
        inventory = sentry.inventories["acme"]

    assert ended.returncode == 0
    for name in LISTS:
        ids = [record["id"] for record in of(ended, name)]
        assert sorted(ids) == sorted(str(row["id"]) for row in getattr(inventory, name))
    [organization] = of(ended, "organizations")
    assert (organization["slug"], organization["organization"]) == ("acme", "acme")


def test_a_row_that_a_new_one_pushes_to_the_next_page_comes_once() -> None:
    def join(number: int, _: Request) -> None:
        if number == 3:  # after the organization and the first page
            members.insert(0, members[0] | {"id": "new"})

    with acme(faults=join) as sentry:
        members = sentry.inventories["acme"].members
        ended = run(sentry, "members")

    assert len(ended.ids) == len(set(ended.ids)) == 147


def test_several_organizations_come_one_after_another_and_leave_an_empty_state() -> None:
    inventories = {slug: Inventory.made(slug, projects=2) for slug in ("one", "two")}
    with FakeSentry({"one": Log(), "two": Log()}, inventories=inventories) as sentry:
        ended = run(sentry, "projects", organization=None, organizations=["one", "two"])

    assert [record["organization"] for record in ended.records] == ["one", "one", "two", "two"]
    assert ended.state == {"bookmarks": {"projects": {}}}


def test_a_fault_loses_and_doubles_nothing() -> None:
    with acme(faults={2: faults.status(503), 4: "reset", 5: "truncated"}) as sentry:
        ended = run(sentry, "members")

    assert len(set(ended.ids)) == len(ended.ids) == 147


def test_rows_behind_pages_of_null_rows_are_read() -> None:
    """A list of 110 rows with pages of 100 null rows around and between them."""
    numbered = [{"id": str(number), "slug": f"slug-{number}"} for number in range(110)]
    rows = [*[None] * 100, *numbered, *[None] * 290, {"id": "last", "slug": "last"}]

    def paged(_: int, request: Request) -> Answer | None:
        if request.resource != "teams":
            return None
        start = int(request.query.get("cursor", "0:0:0").split(":")[1])
        more = str(start + 100 < len(rows)).lower()
        link = f'<http://x/>; rel="next"; results="{more}"; cursor="100:{start + 100}:0"'
        return json_answer(200, rows[start : start + 100], Link=link)

    logs = dict.fromkeys(["acme", "beta"], Log())
    with FakeSentry(logs, inventories={slug: Inventory.made(slug) for slug in logs}) as sentry:
        sentry.faults = paged
        ended = run(sentry, "teams", organization=None, organizations=[*logs])

    assert ended.ids == [*map(str, range(110)), "last"] * 2
    assert ended.returncode == 0
    assert [line for line in ended.log("WARNING") if "null rows" in line] == [
        f"{slug}: Sentry could not show 390 teams (null rows)" for slug in logs
    ]


# --- permissions


SCOPES = {
    "audit_logs": "org:write",
    "organizations": "org:read",
    "projects": "org:read",
    "teams": "org:read",
    "members": "member:read",
    "releases": "project:read",
    "issues": "event:read",
}


@pytest.mark.parametrize("scope", sorted(set(SCOPES.values())))
def test_streams_need_just_their_own_scope(scope: str) -> None:
    with acme(scopes={"token": {scope}}) as sentry:
        ended = run(sentry, *(name for name in SCOPES if SCOPES[name] == scope))

    assert ended.returncode == 0
    assert ended.errors == []


def test_a_stream_without_permission_is_one_line_and_the_others_finish() -> None:
    with acme(scopes={"token": {"member:read"}}) as sentry:
        ended = run(sentry, *SCOPES)

    assert ended.returncode == 1
    *lines, last = ended.errors
    refused = [(name, scope) for name, scope in sorted(SCOPES.items()) if name != "members"]
    for line, (name, scope) in zip(lines, refused, strict=True):
        assert line.startswith(f"acme: the token lacks the scope {scope}, which {name} needs: make")
    assert last == f"{lines[0]}. {len(refused) - 1} more errors stand above"
    assert len(of(ended, "members")) == 147


def test_a_connection_test_needs_the_selected_streams_only() -> None:
    with acme(scopes={"token": {"org:write"}}) as sentry:
        assert run_tap(config(sentry), "--test").returncode == 0


def test_a_connection_test_fails_once_it_has_tried_every_selected_stream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "tap-sentry-audit")
    catalog = selecting("audit_logs", "members", "releases")
    with acme(scopes={"token": {"org:write"}}) as sentry:
        tap = TapSentryAudit(config=config(sentry), catalog=catalog)
        with pytest.raises(SystemExit) as ended:
            tap.run_connection_test()

    assert ended.value.code == 1
    told = "\n".join(caplog.messages)
    assert "the token lacks the scope member:read, which members needs" in told
    assert "project:read for releases" in told


# --- regions


def test_the_audit_log_is_requested_from_the_host_and_the_rest_from_the_region() -> None:
    log, made = Log([1_735_689_600_000_000]), {"acme": Inventory.made(projects=2, issues=1)}
    with FakeSentry({"acme": log}, inventories=made, serves="region") as region:
        control = FakeSentry(
            {"acme": log}, inventories=made, serves="control", region_url=region.url
        )
        with control as sentry:
            ended = run(sentry, "audit_logs", "projects", "issues")

    assert ended.returncode == 0
    assert len(ended.records) == 1 + 2 + 1
    assert {request.resource for request in region.requests} == {"projects", "issues"}


def test_a_fault_of_the_region_names_the_region(caplog: pytest.LogCaptureFixture) -> None:
    made = {"acme": Inventory.made()}
    with FakeSentry({}, inventories=made) as region:
        url = region.url
    with FakeSentry({}, inventories=made, region_url=url) as sentry:
        tap = without_waits(config(sentry))
        list(tap.streams["teams"].get_records({"organization": "acme"}))

    tap.outcome.conclude()
    [error] = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert f"{url.removeprefix('http://')} refused the connection" in error
