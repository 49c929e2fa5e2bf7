"""Every event is valid by OCSF's own schema, and the check would find one that is not."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapper_sentry_ocsf.table import table
from testing.ocsf_mapper import as_the_tap_writes, entry, events, mapped
from testing.ocsf_schema import VERSION, contents, flaws, ocsf
from testing.recorded import FOLDER, audit_rows

if TYPE_CHECKING:
    from testing.forked import Message

NAMES = [*table().events, "brand-new.thing.created", "brand-new.odd", "x.", ".", "one-word", ""]
ENTRIES = FOLDER.with_name("sentry-23.7.1-events") / "entries.jsonl"
WRITTEN = [json.loads(line) for line in ENTRIES.read_text().splitlines()]

USER = {"id": "9", "name": "Ida", "username": "ida", "email": "ida@example.com", "isStaff": True}
FULL: dict[str, Any] = {
    **dict.fromkeys(["slug", "name", "label", "provider", "integration", "url", "state"], "x"),
    **dict.fromkeys(["team_slug", "project_slug", "role", "sentry_app", "key", "public_key"], "y"),
    "email": "eve@example.com",
    "user": 9,
    "teams": [1],
    "teams_slugs": ["a", "b"],
    "id": 5,
    "require_2fa": "from True to False",
    "old_slug": "z",
    "public": True,
}


def valid(event: Message) -> Message:
    assert flaws(event) == [], event
    return event


def test_every_recorded_entry_is_a_valid_event() -> None:
    entries = [as_the_tap_writes(row) for row in audit_rows() + WRITTEN]

    found = events(*entries)
    assert len(found) > 500
    assert [event["uid"] for event in found] == [each["id"] for each in entries]
    for event in found:
        valid(event)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_valid_with_full_with_empty_and_with_null_data(name: str) -> None:
    nothing = dict.fromkeys(
        ["actor", "ipAddress", "note", "data", "targetObject", "targetUser", "organization"]
    )
    for others in (
        {"data": FULL, "targetObject": 5, "targetUser": "9", "targetUserDetail": USER},
        {"data": FULL, "targetObject": 2**70, "targetUser": "9", "actor": USER},
        {"data": {}, "actor": {"name": "SCIM"}, "targetUserDetail": {"name": None}},
        {"data": {}, "actor": {}, "ipAddress": "", "note": "", "organization": ""},
        nothing,
    ):
        valid(mapped(entry(1, name, **others)))


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from([*FULL, *table().names, "sentry:scrub_data", "default_role", "sentry_app"])
IN_DATA = st.none() | JSON | st.dictionaries(KEYS, JSON, max_size=6)
USERS = st.none() | st.dictionaries(
    st.sampled_from(["id", "name", "username", "email", "isStaff", "isSuperuser", "flags"]), JSON
)
TEXTS = st.none() | st.text()
RECORDS = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1),
        "organization": TEXTS,
        "actor": USERS,
        "event": st.sampled_from(NAMES) | st.text(),
        "ipAddress": TEXTS | st.ip_addresses().map(str),
        "note": TEXTS,
        "targetObject": st.none() | st.integers(0, 2**63 - 1),
        "targetUser": TEXTS,
        "targetUserDetail": USERS,
        "data": IN_DATA,
        "dateCreated": st.datetimes().map(lambda time: f"{time:%Y-%m-%dT%H:%M:%S.%f}Z".zfill(27)),
        "additionalFields": st.none() | JSON,
    }
)


@given(record=RECORDS)
def test_any_record_is_valid(record: Message) -> None:
    event = valid(mapped(record))

    assert event["uid"] == record["id"]
    assert json.loads(event["raw_data"]) == record


@given(record=st.dictionaries(st.sampled_from([*entry()]), JSON))
def test_fields_of_any_type_are_valid(record: Message) -> None:
    valid(mapped(entry() | record | {"id": 5, "dateCreated": "2026-01-31"}))


def test_an_address_as_long_as_can_be_is_valid() -> None:
    for address in ("ffff:" * 6 + "255.255.255.255", "fe80::1%" + "e" * 40, "::ffff:1.2.3.4"):
        valid(mapped(entry(ipAddress=address)))


FAULTS = {
    "an activity that the class lacks": lambda event: event.update(activity_id=44),
    "a time that is text": lambda event: event.update(time="2026-01-31"),
    "a class without what it is about": lambda event: event.pop("entity"),
    "an attribute that is not OCSF's": lambda event: event.update(extra=1),
    "a type of another class": lambda event: event.update(type_uid=300101),
    "a severity that there is not": lambda event: event.update(severity_id=7),
    "an address that is none": lambda event: event["src_endpoint"].update(ip="here"),
    "an actor who is nobody": lambda event: event.update(actor={}),
    "an entity that is nothing": lambda event: event.update(entity={"type_id": 99}),
    "an attribute without a value": lambda event: event.update(message=None),
    "an email that is none": lambda event: event["actor"]["user"].update(email_addr="ada"),
    "a version that is missing": lambda event: event["metadata"].pop("version"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_would_be_found(fault: str) -> None:
    event = valid(mapped(entry()))
    spoilt = copy.deepcopy(event)
    FAULTS[fault](spoilt)

    assert flaws(spoilt)


def test_the_version_is_that_of_the_schema() -> None:
    assert mapped(entry())["metadata"]["version"] == table().ocsf_version == VERSION


def captions(of: str, name: str, attribute: str) -> dict[str, str]:
    values = contents()[of][name]["attributes"][attribute]["enum"]
    return {key: value["caption"] for key, value in values.items()}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_those_that_ocsf_has_for_the_numbers(name: str) -> None:
    event = mapped(entry(1, name))
    kind = ocsf().lookup_class_name_from_uid(class_uid=event["class_uid"])
    definition = contents()["classes"][kind]

    assert event["class_name"] == definition["caption"]
    assert event["category_uid"] == definition["category_uid"]
    assert event["category_name"] == definition["category_name"]
    for text, number in (("type_name", "type_uid"), ("severity", "severity_id")):
        assert event[text] == captions("classes", kind, number)[str(event[number])]
    assert event["status"] == captions("classes", kind, "status_id")[str(event["status_id"])]
    activity = captions("classes", kind, "activity_id")[str(event["activity_id"])]
    assert event["activity_name"] == activity or event["activity_id"] == 99
    user = event["actor"]["user"]
    assert user["type"] == captions("objects", "user", "type_id")[str(user["type_id"])]
    if entity := event.get("entity"):
        caption = captions("objects", "managed_entity", "type_id")[str(entity["type_id"])]
        assert caption in {entity["type"], "Other"}
