"""What a catalog selects, and what an older one lacks."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.sentry_tap import config, discovered, run_tap, selecting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from testing.forked import Run

Catalog = dict[str, Any]


def read(log: Log, catalog: Catalog | None, *arguments: str) -> Run:
    inventories = {"acme": Inventory.made(members=2, teams=2)}
    with FakeSentry({"acme": log}, inventories=inventories) as sentry:
        run = run_tap(config(sentry), *arguments, catalog=catalog)
    assert run.returncode == 0, run.stderr
    return run


# --- fields


def test_deselected_fields_are_neither_in_schema_nor_in_records() -> None:
    catalog = json.loads(discovered())
    off = [["properties", "actor", "properties", "email"], ["properties", "ipAddress"]]
    for metadata in catalog["streams"][0]["metadata"]:
        if metadata["breadcrumb"] in off:
            metadata["metadata"]["selected"] = False
    row = entries.row("1", 0, actor={"id": "7", "email": "a@b.example"}, ipAddress="::1")
    run = read(Log(rows=[row]), catalog)

    [schema] = run.of_type("SCHEMA")
    assert "ipAddress" not in schema["schema"]["properties"]
    assert "email" not in schema["schema"]["properties"]["actor"]["properties"]
    [record] = run.records
    assert "ipAddress" not in record
    assert record["actor"] == {"id": "7"}


@pytest.mark.parametrize("unknown", [{}, {"newField": 1}])
def test_an_older_catalog_without_additional_fields_warns_only_of_what_it_drops(
    unknown: dict[str, int],
) -> None:
    catalog = json.loads(discovered())
    stream = next(one for one in catalog["streams"] if one["stream"] == "audit_logs")
    del stream["schema"]["properties"]["additionalFields"]
    stream["metadata"] = [
        about for about in stream["metadata"] if "additionalFields" not in about["breadcrumb"]
    ]
    run = read(Log(rows=[entries.row("1", 0) | unknown]), catalog)

    [record] = run.records
    assert "additionalFields" not in record
    assert len(run.log("WARNING")) == len(unknown)


@pytest.mark.parametrize("inclusion", ["automatic", "available", "unsupported"])
@pytest.mark.parametrize("field", ["id", "dateCreated"])
def test_keys_are_sent_even_if_they_are_deselected(field: str, inclusion: str) -> None:
    catalog = selecting("audit_logs")
    for about in catalog["streams"][0]["metadata"]:
        if about["breadcrumb"] == ["properties", field]:
            about["metadata"] |= {"selected": False, "inclusion": inclusion}
    log = Log(entries.even(3))
    run = read(log, catalog)

    assert all(record[field] for record in run.records)
    assert field in run.of_type("SCHEMA")[0]["schema"]["properties"]


# --- how a stream is read


def changed(stream: str, where: str, **changes: str | None) -> Catalog:
    """A catalog with changes at the top of an entry, or in its metadata alone."""
    catalog = selecting(stream)
    entry = next(one for one in catalog["streams"] if one["stream"] == stream)
    [root] = [about["metadata"] for about in entry["metadata"] if not about["breadcrumb"]]
    for name, value in changes.items():
        entry.pop(name, None)
        if value is not None:
            forced = {"replication_method": "forced-replication-method"}
            names = {"top": name, "metadata": forced.get(name, name.replace("_", "-"))}
            {"top": entry, "metadata": root}[where][names[where]] = value
    return catalog


@pytest.mark.parametrize("where", ["top", "metadata"])
@pytest.mark.parametrize(
    ("stream", "change", "words"),
    [
        ("audit_logs", {"replication_key": "id"}, "or set it to dateCreated"),
        ("issues", {"replication_key": "firstSeen"}, "or set it to lastSeen"),
        ("members", {"replication_key": "dateCreated"}, "cannot be read: leave it out"),
        ("audit_logs", {"replication_method": "FULL_TABLE"}, "run without a state"),
        (
            "audit_logs",
            {"replication_method": "LOG_BASED"},
            "INCREMENTAL only: leave it out. To read everything again, run without a state",
        ),
        ("members", {"replication_method": "INCREMENTAL"}, "read as FULL_TABLE only: leave it out"),
    ],
)
def test_another_way_to_read_a_stream_is_refused_before_the_first_request(
    stream: str, change: dict[str, str], words: str, where: str
) -> None:
    with FakeSentry({"acme": Log(entries.even(5))}) as sentry:
        run = run_tap(config(sentry), catalog=changed(stream, where, **change))

    assert (run.returncode, run.stdout, sentry.requests) == (1, "", [])
    [error] = run.errors
    assert error.startswith("the catalog's replication ")
    assert stream in error
    assert error.endswith(words)


def bookmark_of(run: Run) -> object:
    assert run.state
    [partition] = run.state["bookmarks"]["audit_logs"]["partitions"]
    return partition | {"last_read": ""}


def test_a_catalog_without_a_replication_key_changes_nothing() -> None:
    log = Log(entries.even(5))
    bare = changed("audit_logs", "top", replication_key=None, replication_method=None)
    run = read(log, bare)

    assert [bookmark_of(each) for each in (run, read(log, None))] == [bookmark_of(run)] * 2
    assert len(run.records) == 5


# --- stream maps


@pytest.mark.parametrize(
    ("maps", "sent"),
    [({"audit_logs": {"__filter__": "int(id) % 2 == 0"}}, 2), ({"audit_logs": None}, 0)],
)
def test_records_that_a_stream_map_leaves_out_are_not_counted_as_sent(
    maps: dict[str, object], sent: int
) -> None:
    with FakeSentry({"acme": Log(entries.even(5))}) as sentry:
        run = run_tap(config(sentry, stream_maps=maps))
        again = run_tap(config(sentry, stream_maps=maps), state=run.state)

    [line] = [line for line in run.log("INFO") if "left out by stream maps" in line]
    assert line.startswith(f"acme audit_logs: {sent or 'no'} new entries in ")
    assert f"{5 - sent} left out by stream maps" in line
    assert (run.returncode, len(run.records), len(again.records)) == (0, sent, 0)
    assert any(line.startswith("acme audit_logs: no new entries") for line in again.log("INFO"))


# --- the audit log itself


def without_audit_logs() -> Catalog:
    """A catalog that does not even name the audit log."""
    catalog = selecting("members", "teams")
    streams = [stream for stream in catalog["streams"] if stream["stream"] != "audit_logs"]
    return catalog | {"streams": streams}


@pytest.mark.parametrize(
    "catalog",
    [partial(selecting, "members", "teams"), selecting, without_audit_logs],
    ids=["others", "none", "unnamed"],
)
def test_a_run_without_the_audit_log_warns_once_and_says_how_to_select_it(
    catalog: Callable[[], Catalog],
) -> None:
    [line] = read(Log(entries.even(5)), catalog()).log("WARNING")

    assert "audit_logs is not selected" in line
    assert "meltano select tap-sentry-audit audit_logs '*'" in line


def test_a_run_without_a_catalog_reads_the_audit_log_and_warns_of_nothing() -> None:
    run = read(Log(entries.even(5)), None)

    assert len(run.records) == 5
    assert run.log("WARNING") == []


def test_a_connection_test_without_the_audit_log_warns_of_nothing() -> None:
    assert read(Log(), selecting("members"), "--test").log("WARNING") == []


@pytest.mark.parametrize(
    ("expression", "kind"), [("1/0", "ZeroDivisionError"), ("actor['nope']['z']", "KeyError")]
)
def test_an_expression_that_fails_on_a_record_is_named_as_one(expression: str, kind: str) -> None:
    with FakeSentry({"acme": Log(entries.even(3))}) as sentry:
        run = run_tap(config(sentry, stream_maps={"audit_logs": {"x": expression}}))

    assert run.returncode == 1
    assert run.errors == [
        f"acme: stream_maps: an expression fails on a record ({kind}): correct it"
    ]


# --- catalogs that are none


@pytest.mark.parametrize(
    "catalog",
    [
        [],
        {"streams": None},
        {"streams": [{"schema": {}}]},
        {"streams": [{"tap_stream_id": "audit_logs"}]},
        {"streams": [{"tap_stream_id": "audit_logs", "schema": None}]},
    ],
)
def test_what_is_no_catalog_is_refused_in_words(catalog: object) -> None:
    with FakeSentry({"acme": Log()}) as sentry:
        run = run_tap(config(sentry), catalog=catalog)

    assert (run.returncode, run.stdout, sentry.requests) == (1, "", [])
    [error] = run.errors
    assert error.startswith("the catalog cannot be used (")
    assert error.endswith("create it again with --discover")


@pytest.mark.parametrize(
    "content",
    [b'{"streams": "\xff"}', b'{"streams": ' + b'[{"schema": ' * 100_000],
    ids=["not UTF-8", "deep"],
)
def test_a_catalog_that_cannot_be_decoded_is_refused_in_words(
    content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "catalog.json"
    file.write_bytes(content)
    with FakeSentry({"acme": Log()}) as sentry:
        run = run_tap(config(sentry), "--catalog", str(file))

    assert (run.returncode, run.stdout, sentry.requests) == (1, "", [])
    assert run.errors[0].startswith("the catalog cannot be used (")
