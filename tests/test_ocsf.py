"""The mapper with the other packages: the list of events, the tap, and target-otlp."""

from __future__ import annotations

import json

from generate.events import events as listed
from mapper_sentry_ocsf.table import table
from testing.fake_receiver import FakeReceiver, attributes
from testing.fake_sentry import FakeSentry, Log
from testing.ocsf_mapper import PLUGIN, SCHEMA, record, run_mapper
from testing.ocsf_schema import flaws
from testing.otlp_target import run_target
from testing.recorded import audit_rows
from testing.sentry_tap import config, run_tap

EXAMPLE = json.loads((PLUGIN / "examples" / "target-otlp.json").read_text())


def test_the_table_has_the_events_of_the_list_and_no_others() -> None:
    assert list(table().events) == list(listed())


def test_an_event_has_an_id_only_where_the_list_knows_whose_it_is() -> None:
    rows = {name: row for name, row in table().events.items() if row.has_uid}

    assert {name for name in rows if not listed()[name].target_object} == set()


def test_the_keys_that_decide_and_name_are_those_of_the_list() -> None:
    for name, row in table().events.items():
        keys = {condition.key for condition in row.when} | set(row.name_from or ())
        event = listed()[name]
        assert keys <= {*(event.data or {}), *event.sometimes}, name


def test_what_the_tap_writes_becomes_valid_events_and_its_state_stays() -> None:
    with FakeSentry({"acme": Log(rows=audit_rows())}) as sentry:
        run = run_tap(config(sentry))
    mapped = run_mapper(run.stdout.encode())

    assert [event["uid"] for event in mapped.records] == run.ids
    assert [event for event in mapped.records if flaws(event)] == []
    assert [json.loads(event["raw_data"]) for event in mapped.records] == run.records
    assert mapped.state == run.state


def test_what_the_tap_masks_is_masked_in_the_whole_event() -> None:
    key = "0123456789abcdef0123456789abcdef"
    data = {"label": "CI", "key": key, "scopes": ["org:read"]}
    row = audit_rows()[0] | {"event": "api-key.create", "data": data}
    with FakeSentry({"acme": Log(rows=[row])}) as sentry:
        run = run_tap(config(sentry))
    mapped = run_mapper(run.stdout.encode())

    [event] = mapped.records
    assert event["entity"]["name"] == "CI"
    assert event["entity"]["data"]["key"].endswith("cdef")
    assert key not in mapped.stdout


def test_an_event_becomes_a_log_record_with_its_severity_who_and_what() -> None:
    given = [
        record(1, event="member.invite", data={"email": "eve@example.com", "role": "owner"}),
        record(2, event="org.remove", targetObject=11, data={"slug": "acme"}),
        record(3, event="team.create", data={"slug": "web"}, actor={"name": "Terraform"}),
    ]
    mapped = run_mapper([SCHEMA, *given])
    with FakeReceiver() as receiver:
        run = run_target(mapped.stdout.encode(), endpoint=receiver.url, **EXAMPLE)

    assert run.returncode == 0, run.stderr
    invite, remove, create = receiver.kept
    assert receiver.ids == ["acme/1", "acme/2", "acme/3"]
    found = [(each.severity_number, each.severity_text) for each in receiver.kept]
    assert found == [(17, "High"), (18, "Critical"), (9, "Informational")]
    assert invite.time_unix_nano == 1769846400123 * 10**6
    assert {
        "event.name": "member.invite",
        "ocsf.class_name": "Account Change",
        "ocsf.activity_name": "Create",
        "user.email": "ada@example.com",
        "client.address": "203.0.113.9",
        "ocsf.user.name": "eve@example.com",
    }.items() <= attributes(invite).items()
    assert attributes(remove)["ocsf.entity.name"] == "acme"
    assert attributes(create)["ocsf.group.name"] == "web"
    assert attributes(create)["ocsf.actor.app_name"] == "Terraform"
