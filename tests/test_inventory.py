"""The lists around the log: whole, each row once, with stable types."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import pytest

from tap_sentry_audit.streams.schemas import ADDITIONAL
from tap_sentry_audit.tap import TapSentryAudit
from testing.fake_sentry import FakeSentry, Inventory, Log, faults
from testing.local_server import LocalServer
from testing.rows import record_of
from testing.sentry_tap import config, run_tap, selecting, without_waits

if TYPE_CHECKING:
    from testing.forked import Run

LISTS = ["projects", "teams", "members", "releases"]
STREAMS = {
    "organization": "organizations",
    "projects": "projects",
    "teams": "teams",
    "members": "members",
    "releases": "releases",
    "issues": "issues",
    "events_full": "events",
}
"""By the file of recorded rows."""
RECORDED = Path(__file__).parents[1] / "testing" / "recorded_data" / "sentry-23.7.1-inventory"


def run(sentry: FakeSentry, *streams: str, **settings: object) -> Run:
    return run_tap(config(sentry, **settings), catalog=selecting(*streams))


def acme(**changes: Any) -> FakeSentry:  # noqa: ANN401
    inventory = Inventory.made(projects=230, teams=101, members=147, releases=200)
    return FakeSentry({"acme": Log()}, inventories={"acme": inventory}, **changes)


@pytest.mark.parametrize("name", LISTS)
def test_every_row_of_a_list_comes_once(name: str) -> None:
    with acme() as sentry:
        ended = run(sentry, name)
        held = [str(row["id"]) for row in getattr(sentry.inventories["acme"], name)]

    assert ended.returncode == 0
    assert sorted(ended.ids) == sorted(held)
    assert {record["organization"] for record in ended.records} == {"acme"}


def test_an_organization_is_one_record() -> None:
    with acme() as sentry:
        [record] = run(sentry, "organizations").records

    assert record["slug"] == "acme"
    assert record["organization"] == "acme"


def test_a_list_leaves_an_empty_state() -> None:
    with acme() as sentry:
        assert run(sentry, "projects").state == {"bookmarks": {"projects": {}}}


def test_several_organizations_come_one_after_another() -> None:
    inventories = {slug: Inventory.made(slug, projects=2) for slug in ("one", "two")}
    with FakeSentry({"one": Log(), "two": Log()}, inventories=inventories) as sentry:
        ended = run(sentry, "projects", organization=None, organizations=["one", "two"])

    assert [record["organization"] for record in ended.records] == ["one", "one", "two", "two"]


@pytest.mark.parametrize("name", STREAMS)
def test_recorded_rows_fit_the_schema(name: str) -> None:
    recorded = json.loads((RECORDED / f"{name}.json").read_text())
    for row in recorded if isinstance(recorded, list) else [recorded]:
        if name == "organization":
            # They have streams of their own, and are not asked for.
            del row["teams"], row["projects"]
        record = record_of(row, STREAMS[name])

        assert record[ADDITIONAL] is None
        assert record.keys() - {ADDITIONAL, "organization"} == row.keys()


def test_a_fault_loses_and_doubles_nothing() -> None:
    with acme(faults={2: faults.status(503), 4: "reset", 5: "truncated"}) as sentry:
        ended = run(sentry, "members")

    assert len(set(ended.ids)) == len(ended.ids) == 147


# --- rows that are not as declared


def test_what_is_not_known_or_of_another_type_is_kept_aside() -> None:
    row: dict[str, Any] = {
        "id": 7,
        "slug": ["a", "list"],
        "isMember": "yes",
        "memberCount": 2**70,
        "dateCreated": "soon",
        "access": {},
        "organization": {"id": "1"},
        ADDITIONAL: {"of": "Sentry"},
        "brandNew": 1,
    }

    assert record_of(row, "teams") == {
        "id": "7",
        "slug": None,
        "isMember": None,
        "memberCount": None,
        "dateCreated": None,
        "access": None,
        "organization": "acme",
        ADDITIONAL: {
            name: row[name]
            for name in (
                *("slug", "isMember", "memberCount", "dateCreated", "access", "organization"),
                ADDITIONAL,
                "brandNew",
            )
        },
    }


def test_a_time_gets_the_one_form_that_sorts() -> None:
    row: dict[str, Any] = {"id": "7", "dateCreated": "2026-01-01T00:00:00Z"}

    record = record_of(row, "teams")
    assert record["dateCreated"] == "2026-01-01T00:00:00.000000Z"


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


def test_a_token_for_the_audit_log_alone_needs_no_other_scope() -> None:
    with acme(scopes={"token": {"org:write"}}) as sentry:
        ended = run_tap(config(sentry))

    assert ended.returncode == 0
    assert ended.log("ERROR") == []


@pytest.mark.parametrize("name", SCOPES)
def test_a_stream_needs_just_its_own_scope(name: str) -> None:
    with acme(scopes={"token": {SCOPES[name]}}) as sentry:
        ended = run(sentry, name)

    assert ended.returncode == 0
    assert ended.log("ERROR") == []


@pytest.mark.parametrize("name", [name for name in SCOPES if name != "members"])
def test_a_stream_without_permission_is_one_line_and_the_others_finish(name: str) -> None:
    allowed = {"org:read", "project:read", "member:read", "event:read"}
    with acme(scopes={"token": allowed - {SCOPES[name]}}) as sentry:
        ended = run(sentry, name, "members")

    [line] = ended.log("ERROR")
    assert f"needs the scope {SCOPES[name]}" in line
    assert ended.returncode == 1
    assert len([m for m in ended.of_type("RECORD") if m["stream"] == "members"]) == 147


def test_a_test_asks_the_selected_streams_only() -> None:
    with acme(scopes={"token": {"org:write"}}) as sentry:
        assert run_tap(config(sentry), "--test").returncode == 0


def test_a_test_fails_where_a_selected_stream_may_not_be_read() -> None:
    catalog = selecting("audit_logs", "members")
    with acme(scopes={"token": {"org:write"}}) as sentry:
        tap = TapSentryAudit(config=config(sentry), catalog=catalog)
        with pytest.raises(SystemExit) as ended:
            tap.run_connection_test()

    assert ended.value.code == 1


# --- regions


def test_the_audit_log_is_asked_at_the_host_and_the_rest_in_the_region() -> None:
    log = Log([1_735_689_600_000_000])
    acme = Inventory.made(projects=2)
    with FakeSentry({"acme": log}, inventories={"acme": acme}, serves="region") as region:
        control = FakeSentry(
            {"acme": log}, inventories={"acme": acme}, serves="control", region_url=region.url
        )
        with control as sentry:
            ended = run(sentry, "audit_logs", "projects")

    assert ended.returncode == 0
    assert len(ended.records) == 1 + 2
    assert [request.path for request in region.requests] == ["/api/0/organizations/acme/projects/"]


def test_a_fault_of_the_region_names_the_region(caplog: pytest.LogCaptureFixture) -> None:
    acme = Inventory.made()
    with FakeSentry({}, inventories={"acme": acme}) as region:
        url = region.url
    with FakeSentry({}, inventories={"acme": acme}, region_url=url) as sentry:
        teams = without_waits(config(sentry)).streams["teams"]
        list(teams.get_records({"organization": "acme"}))

    assert f"{url.removeprefix('http://')} refused the connection" in caplog.messages[-1]


def test_neither_messages_nor_log_hold_the_token() -> None:
    secret = "0123456789abcdef-secret"  # noqa: S105  (the stand-in's)
    with acme(tokens={secret: "ok"}, scopes={secret: {"org:read"}}) as sentry:
        ended = run(sentry, *LISTS, "issues", "events", auth_token=secret)

    assert ended.records
    assert ended.log("ERROR")
    assert secret not in ended.stdout + ended.stderr


class NullRows(BaseHTTPRequestHandler):
    """A list of 110 rows with pages of 100 null rows around and between them."""

    ROWS: ClassVar[list[dict[str, str] | None]] = [
        *[None] * 100,
        *({"id": str(number), "slug": f"slug-{number}"} for number in range(110)),
        *[None] * 290,
        {"id": "last", "slug": "last"},
    ]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        start = int(dict(parse_qsl(parts.query)).get("cursor", "100:0:0").split(":")[1])
        rows: object = self.ROWS[start : start + 100]
        if not parts.path.endswith(("projects/", "teams/", "members/")):
            rows = {"id": "1", "slug": "acme"}
        more = str(start + 100 < len(self.ROWS)).lower()
        body = json.dumps(rows).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        cursor = f'results="{more}"; cursor="100:{start + 100}:0"'
        self.send_header("Link", f'<http://x/>; rel="next"; {cursor}')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("name", ["projects", "teams", "members"])
def test_rows_behind_pages_of_null_rows_are_read(name: str) -> None:
    with LocalServer(NullRows) as server:
        settings = {"auth_token": "token", "organization": "acme", "host": server.url}
        ended = run_tap(settings, catalog=selecting(name))

    assert ended.ids == [*map(str, range(110)), "last"]
    assert ended.returncode == 0
    warning = f"acme: Sentry could not show 390 {name} (null rows)"
    assert [line for line in ended.log("WARNING") if "null rows" in line] == [warning]
