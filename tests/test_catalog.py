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
