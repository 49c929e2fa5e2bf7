"""What comes out on stdout, whole."""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from tap_sentry_audit.api.timestamps import format_time, parse_time
from tap_sentry_audit.streams.schemas import AUDIT_LOGS
from tap_sentry_audit.tap import STREAMS
from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.rows import record_of
from testing.sentry_tap import config, discovered, run_tap, selecting

SCHEMA = {
    "type": "SCHEMA",
    "stream": "audit_logs",
    "schema": AUDIT_LOGS,
    "key_properties": ["id"],
    "bookmark_properties": ["dateCreated"],
}
MOMENTS = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000001Z", "2026-01-02T03:04:05.678900Z"]


def three_entries() -> Log:
    """Three entries, put in with the newest first."""
    return Log(
        rows=[
            entries.row(str(number), entries.micros(moment))
            for number, moment in reversed(list(enumerate(MOMENTS)))
        ]
    )


def test_a_run_writes_schema_records_oldest_first_and_state() -> None:
    log = three_entries()
    with FakeSentry({"acme": log}) as sentry:
        run = run_tap(config(sentry))

    expected = [record_of(row) for row in log.rows() if row]
    assert run.returncode == 0
    messages = run.messages
    for message in messages:
        message.pop("time_extracted", None)
    assert messages == [
        SCHEMA,
        *({"type": "RECORD", "stream": "audit_logs", "record": record} for record in expected),
        {
            "type": "STATE",
            "value": {
                "bookmarks": {
                    "audit_logs": {
                        "partitions": [
                            {
                                "context": {"organization": "acme"},
                                "replication_key": "dateCreated",
                                "replication_key_value": "2026-01-02T03:04:05.678900Z",
                                "lookback": {"seconds": 3600, "ids": {"2": 1767323046}},
                            }
                        ]
                    }
                }
            },
        },
    ]


def test_an_empty_log_gives_a_schema_and_no_bookmark() -> None:
    with FakeSentry({"acme": Log()}) as sentry:
        run = run_tap(config(sentry))

    assert run.returncode == 0
    assert run.messages == [
        SCHEMA,
        {
            "type": "STATE",
            "value": {
                "bookmarks": {"audit_logs": {"partitions": [{"context": {"organization": "acme"}}]}}
            },
        },
    ]


def test_each_organization_has_its_records_and_its_bookmark() -> None:
    logs = {slug: Log(entries.even(3, seed=seed)) for seed, slug in enumerate(("one", "two"))}
    with FakeSentry(logs) as sentry:
        run = run_tap(config(sentry, organization=None, organizations=["one", "two"]))

    assert [record["organization"] for record in run.records] == ["one"] * 3 + ["two"] * 3
    assert run.state is not None
    bookmarks = run.state["bookmarks"]["audit_logs"]["partitions"]
    assert [(b["context"], b["replication_key_value"]) for b in bookmarks] == [
        ({"organization": "one"}, run.records[2]["dateCreated"]),
        ({"organization": "two"}, run.records[5]["dateCreated"]),
    ]


def test_bare_lists_of_old_servers_are_read() -> None:
    log = Log(entries.even(250))
    with FakeSentry({"acme": log}, old_body=True) as sentry:
        run = run_tap(config(sentry))

    assert run.ids == [row["id"] for row in log.rows() if row]


def test_null_rows_are_counted_in_a_warning() -> None:
    log = Log(entries.even(150))
    for moment in ("2024-12-20T00:00:00Z", "2024-12-21T00:00:00Z"):
        log.put(None, entries.micros(moment))
    with FakeSentry({"acme": log}) as sentry:
        run = run_tap(config(sentry))

    assert len(run.ids) == 150
    [warning] = run.log("WARNING")
    assert warning == "acme: Sentry could not show 2 entries (null rows)"


def test_what_utf8_or_other_readers_cannot_take_is_still_a_valid_message() -> None:
    log = Log()
    text = (
        '{"text": "a \\ud800 b", "\\udfff": 1, "huge": 123456789012345678901234567890,'
        ' "float": 0.1234567890123456789, "exponent": 1e400, "nul": "\\u0000"}'
    )
    with FakeSentry({"acme": log}) as sentry:
        log.put(entries.row("1", 0, data={"there": "HERE"}))
        given = next(iter(log._given))  # noqa: SLF001  (no JSON encoder writes these on its own)
        fits, row = log._given[given]  # noqa: SLF001
        log._given[given] = fits, row.replace('{"there":"HERE"}', text)  # noqa: SLF001
        run = run_tap(config(sentry))

    assert run.returncode == 0
    [line] = [line for line in run.stdout.splitlines() if '"RECORD"' in line]
    assert '"huge":123456789012345678901234567890,"float":0.1234567890123456789' in line
    assert json.loads(line)["record"]["data"] | {"exponent": 0} == {
        "text": "a \\ud800 b",
        "\\udfff": 1,
        "huge": 123456789012345678901234567890,
        "float": 0.1234567890123456789,
        "exponent": 0,
        "nul": "\0",
    }


def test_a_run_of_all_streams_writes_these_messages_and_no_others() -> None:
    acme = Inventory.made(projects=1, teams=1, members=1, releases=1, issues=1, events=2)
    with FakeSentry({"acme": three_entries()}, inventories={"acme": acme}) as sentry:
        run = run_tap(config(sentry), catalog=selecting(*(stream.name for stream in STREAMS)))

    [project], [issue], [rows] = acme.projects, acme.issues, acme.events.values()
    events = sorted(rows, key=itemgetter("dateCreated"))
    held: dict[str, list[dict[str, Any]]] = {
        "events": events,
        "issues": [issue],
        "members": acme.members,
        "organizations": [acme.organization | {"links": {"organizationUrl": sentry.host}}],
        "projects": [project],
        "releases": acme.releases,
        "teams": acme.teams,
    }
    records = [
        {"stream": name, "record": record_of(row, name)}
        for name, rows in held.items()
        for row in rows
    ]
    assert run.returncode == 0
    assert [
        {"stream": message["stream"], "record": message["record"]}
        for message in run.of_type("RECORD")
        if message["stream"] != "audit_logs"
    ] == records
    assert [message["stream"] for message in run.of_type("SCHEMA")] == [
        "audit_logs",
        *held,
    ]
    assert {message["type"] for message in run.messages} == {"SCHEMA", "RECORD", "STATE"}
    assert run.messages[-1]["type"] == "STATE"
    assert run.state is not None
    bookmarks = run.state["bookmarks"]
    assert bookmarks["issues"]["partitions"] == [
        {
            "context": {"organization": "acme"},
            "replication_key": "lastSeen",
            "replication_key_value": format_time(parse_time(issue["lastSeen"])),
            "lookback": {
                "seconds": 3600,
                "ids": {f"{issue['id']}@{seconds(issue['lastSeen'])}": seconds(issue["lastSeen"])},
            },
        }
    ]
    assert bookmarks["events"]["partitions"] == [
        {
            "context": {"organization": "acme", "projectID": project["id"]},
            "replication_key": "dateCreated",
            "replication_key_value": format_time(parse_time(events[-1]["dateCreated"])),
            "lookback": {
                "seconds": 3600,
                "ids": {events[-1]["eventID"]: seconds(events[-1]["dateCreated"])},
            },
        }
    ]
    assert bookmarks.keys() == {"audit_logs", *held}


def seconds(text: str) -> int:
    return int(parse_time(text).timestamp())


@pytest.mark.parametrize("name", [stream.name for stream in STREAMS])
def test_the_catalog_is_as_it_was(name: str) -> None:
    snapshot = Path(__file__).parent / "snapshots" / f"{name}.json"

    assert catalog()[name] == json.loads(snapshot.read_text())


def test_without_a_catalog_only_the_audit_log_is_selected() -> None:
    selected = {
        name
        for name, stream in catalog().items()
        for metadata in stream["metadata"]
        if not metadata["breadcrumb"] and metadata["metadata"]["selected"]
    }

    assert selected == {"audit_logs"}


def catalog() -> dict[str, Any]:
    return {stream["tap_stream_id"]: stream for stream in json.loads(discovered())["streams"]}


def test_deselected_fields_are_neither_in_schema_nor_in_records() -> None:
    catalog = json.loads(run_tap({}, "--discover").stdout)
    off = [["properties", "actor", "properties", "email"], ["properties", "ipAddress"]]
    for metadata in catalog["streams"][0]["metadata"]:
        if metadata["breadcrumb"] in off:
            metadata["metadata"]["selected"] = False
    row = entries.row("1", 0, actor={"id": "7", "email": "a@b.example"}, ipAddress="::1")
    with FakeSentry({"acme": Log(rows=[row])}) as sentry:
        run = run_tap(config(sentry), catalog=catalog)

    [schema] = run.of_type("SCHEMA")
    assert "ipAddress" not in schema["schema"]["properties"]
    assert "email" not in schema["schema"]["properties"]["actor"]["properties"]
    [record] = run.records
    assert "ipAddress" not in record
    assert record["actor"] == {"id": "7"}


def test_stream_maps_mask_personal_data() -> None:
    maps = {"audit_logs": {"actor": "{'id': record['actor']['id']}", "ipAddress": "__NULL__"}}
    with FakeSentry({"acme": Log(rows=[entries.row("1", 0, actor={"id": "7"})])}) as sentry:
        run = run_tap(config(sentry, stream_maps=maps))

    [record] = run.records
    assert record["actor"] == {"id": "7"}
    assert "ipAddress" not in record
    assert run.log("WARNING") == []


@pytest.mark.parametrize("unknown", [{}, {"newField": 1}])
def test_a_catalog_of_an_older_version_goes_on_working(unknown: dict[str, int]) -> None:
    catalog = json.loads(discovered())
    stream = next(one for one in catalog["streams"] if one["stream"] == "audit_logs")
    del stream["schema"]["properties"]["additionalFields"]
    stream["metadata"] = [
        about for about in stream["metadata"] if "additionalFields" not in about["breadcrumb"]
    ]
    with FakeSentry({"acme": Log(rows=[entries.row("1", 0) | unknown])}) as sentry:
        run = run_tap(config(sentry), catalog=catalog)

    [record] = run.records
    assert "additionalFields" not in record
    assert len(run.log("WARNING")) == len(unknown)
