"""What each part of a record becomes in a log record."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from time import tzset
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from target_otlp.log_mapping import Joined, LogMapping, parse_path
from target_otlp.mapping import fill, nanoseconds, stream_mapping, unique_id
from testing.fake_receiver import attributes
from testing.otlp_target import EXAMPLE, settings
from testing.recorded import audit_rows

SECOND = 1_000_000_000
NOON = 1_763_208_000 * SECOND
"""2025-11-15T12:00:00Z."""


def filled(mapping: LogMapping, record: dict[str, Any]) -> LogRecord:
    log_record = LogRecord()
    fill(log_record, record, mapping)
    return log_record


def test_without_a_mapping_the_whole_record_is_in_the_body() -> None:
    log_record = filled(LogMapping("a"), {"id": 1, "nested": {"b": None}})

    assert log_record.body.string_value == '{"id":1,"nested":{"b":null}}'
    assert attributes(log_record) == {"singer.stream": "a"}
    assert log_record.severity_number == 9
    assert log_record.time_unix_nano == 0


def test_the_example_does_what_semantic_conventions_want_with_recorded_audit_entries() -> None:
    mapping = stream_mapping(settings("http://localhost", **EXAMPLE).mapping, "audit_logs")
    rows = audit_rows()

    assert rows
    for row in rows:
        row["organization"] = "acme"
        log_record = filled(mapping, row)
        actor, data = row["actor"] or {}, row["data"] or {}
        found = {
            "user.id": actor.get("id"),
            "user.email": actor.get("email"),
            "user.name": actor.get("username"),
            "user.full_name": actor.get("name"),
            "client.address": row["ipAddress"],
            "sentry.target_user.id": row["targetUser"],
            "sentry.target_object.id": row["targetObject"],
            "sentry.member.email": data.get("email"),
            "sentry.member.role": data.get("role"),
            "sentry.project.slug": data.get("project_slug"),
            "sentry.object.slug": data.get("slug"),
            "sentry.object.name": data.get("name"),
        }
        attributes_of = attributes(log_record)
        assert {name: value for name, value in attributes_of.items() if value is not None} == {
            name: value for name, value in found.items() if value is not None
        } | {
            "singer.stream": "audit_logs",
            "event.name": row["event"],
            "log.record.uid": f"acme/{row['id']}",
            "sentry.organization": "acme",
        }
        assert log_record.event_name == row["event"]
        assert json.loads(log_record.body.string_value) == row
        time = datetime.fromisoformat(row["dateCreated"])
        assert log_record.time_unix_nano == round(time.timestamp() * 1e6) * 1000


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2025-11-15T12:00:00Z", NOON),
        ("2025-11-15T12:00:00.000001Z", NOON + 1000),
        ("2025-11-15T12:00:00.123456789Z", NOON + 123_456_789),
        ("2025-11-15T12:00:00.1234567+00:00", NOON + 123_456_700),
        ("2025-11-15T13:00:00+01:00", NOON),
        ("2025-11-15T12:00:00", NOON),
        ("2025-11-15", NOON - 43_200 * SECOND),
        (datetime(2025, 11, 15, 12, tzinfo=UTC), NOON),
        (NOON // SECOND, NOON),
        (Decimal(NOON // SECOND) + Decimal("0.5"), NOON + SECOND // 2),
        (NOON // 10**6, NOON),
        (NOON // 1000, NOON),
        (NOON, NOON),
    ],
    ids=str,
)
def test_a_time_is_read_whatever_the_zone_of_the_machine(
    time: Any,  # noqa: ANN401
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    tzset()
    try:
        assert nanoseconds(time) == expected
    finally:
        monkeypatch.undo()
        tzset()


@pytest.mark.parametrize(
    "time",
    [
        None,
        True,
        "",
        "yesterday",
        Decimal("-1e999999"),
        float("inf"),
        float("nan"),
        "1969-12-31T00:00:00Z",
        "9999-01-01T00:00:00Z",
        10**40,
        {},
        [],
    ],
    ids=str,
)
def test_what_is_no_time_that_otlp_can_hold_is_unknown(time: Any) -> None:  # noqa: ANN401
    assert nanoseconds(time) == 0


@pytest.mark.parametrize(
    ("severity", "number", "text"),
    [
        ("Warning", 13, "Warning"),
        ("emergency", 21, "emergency"),
        ("unheard of", 9, "unheard of"),
        (1, 1, ""),
        (Decimal(24), 24, ""),
        (25, 9, ""),
        (True, 9, ""),
        (None, 9, ""),
        ({}, 9, ""),
    ],
    ids=str,
)
def test_a_severity_is_read(severity: object, number: int, text: str) -> None:
    log_record = filled(LogMapping("a", severity=("level",)), {"level": severity})

    assert (log_record.severity_number, log_record.severity_text) == (number, text)


def test_null_is_an_attribute_without_a_value_and_what_is_missing_is_none() -> None:
    mapping = LogMapping("a", attributes={"null": ("null",), "missing": ("missing",)})

    found = attributes(filled(mapping, {"null": None}))

    assert found == {"singer.stream": "a", "null": None}


@pytest.mark.parametrize("value", [7, Decimal("7.5"), True, {"a": [1]}, "\ud800"], ids=repr)
def test_ids_and_event_names_of_any_type_become_text(value: object) -> None:
    mapping = LogMapping("a", id=("value",), event_name=("value",))

    found = filled(mapping, {"value": value})

    text = "\\ud800" if isinstance(value, str) else json.dumps(value, default=float)
    assert attributes(found)["log.record.uid"] == text.replace(" ", "")
    assert found.event_name == attributes(found)["event.name"] == text.replace(" ", "")


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"organization": "acme", "id": 7}, "sentry.example.com/acme/7"),
        ({"organization": "a/b%", "id": "c"}, "sentry.example.com/a%2Fb%25/c"),
        # Without a part it could be the id of another record.
        ({"organization": "acme"}, None),
        ({"organization": None, "id": 7}, None),
    ],
)
def test_an_id_can_be_joined_from_constants_and_paths(
    record: dict[str, object], expected: str | None
) -> None:
    config = {"a": {"id": ["=sentry.example.com", "$.organization", "$.id"]}}
    mapping = stream_mapping(settings("http://localhost", mapping=config).mapping, "a")

    assert attributes(filled(mapping, record)).get("log.record.uid") == expected


_parts = st.lists(st.text("ab/%25F"), min_size=2, max_size=2)


@given(_parts, _parts)
def test_joined_ids_are_equal_only_if_all_parts_are(one: list[str], other: list[str]) -> None:
    mapping = LogMapping("a", id=Joined((("x",), ("y",))))
    ids = {unique_id(dict(zip("xy", parts, strict=True)), mapping) for parts in (one, other)}

    assert len(ids) == len({tuple(one), tuple(other)})


def test_attributes_and_other_parts_can_be_constants() -> None:
    config = {
        "a": {
            "severity": "=warning",
            "event_name": "=note",
            "attributes": {"deployment": {"environment": {"name": "=production"}}, "empty": "="},
        }
    }
    found = filled(stream_mapping(settings("http://localhost", mapping=config).mapping, "a"), {})

    assert attributes(found) == {
        "singer.stream": "a",
        "event.name": "note",
        "deployment.environment.name": "production",
        "empty": "",
    }
    assert (found.severity_number, found.severity_text) == (13, "warning")


@pytest.mark.parametrize(
    ("body", "expected"), [("$.note", "text"), ("$.data", '{"a":1}'), ("$.nothing", "")]
)
def test_the_body_can_be_a_part_of_the_record(body: str, expected: str) -> None:
    mapping = LogMapping("a", body=parse_path(body))

    found = filled(mapping, {"note": "text", "data": {"a": 1}, "nothing": None})

    assert found.body.string_value == expected
    assert found.HasField("body") == bool(expected)


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("$", ()),
        ("$.tags[0][10].x", ("tags", 0, 10, "x")),
        ("$['a b']['c.d'].e", ("a b", "c.d", "e")),
        ('$["it\'s"]', ("it's",)),
        ("$.naïve-key", ("naïve-key",)),
    ],
)
def test_a_path_is_read(path: str, steps: tuple[str | int, ...]) -> None:
    assert parse_path(path) == steps


@pytest.mark.parametrize(
    "path", ["", "actor", "$actor", "$.", "$..a", "$.*", "$[*]", "$[-1]", "$.a["]
)
def test_what_is_no_path_to_one_value_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is not a path to one value"):
        parse_path(path)


def test_a_path_that_leads_through_something_else_finds_nothing() -> None:
    mapping = LogMapping(
        "a", attributes={"of_text": ("a", "b"), "of_list": ("c", "d"), "beyond": ("c", 1)}
    )

    assert attributes(filled(mapping, {"a": "text", "c": [1]})) == {"singer.stream": "a"}


def test_names_with_dots_may_come_as_objects_in_objects_as_meltano_makes_them() -> None:
    flat = {"attributes": {"user.id": "$.a", "user.name.first": "$.b"}}
    nested = {"attributes": {"user": {"id": "$.a", "name": {"first": "$.b"}}}}
    read = settings("http://localhost", mapping={"flat": flat, "nested": nested})

    found = [stream_mapping(read.mapping, name).attributes for name in ("flat", "nested")]
    assert found[0] == found[1]
    resource = {"service": {"name": "x", "instance": {"id": 7}}}
    assert settings("http://localhost", resource_attributes=resource).resource == {
        "service.name": "x",
        "service.instance.id": 7,
    }


def test_names_of_streams_with_dots_may_come_so_too() -> None:
    nested = {"public": {"users": {"id": "$.a"}, "x": {"y": {"id": "$.b"}}}, "plain": {"id": "$.c"}}
    read = settings("http://localhost", mapping=nested)

    assert stream_mapping(read.mapping, "public.users").id == ("a",)
    assert stream_mapping(read.mapping, "public.x.y").id == ("b",)
    assert stream_mapping(read.mapping, "plain").id == ("c",)


def test_a_stream_may_have_any_name() -> None:
    found = filled(stream_mapping(settings("http://localhost").mapping, "\ud800"), {})

    assert attributes(found) == {"singer.stream": "\\ud800"}


def test_what_a_stream_does_not_say_comes_from_that_of_every_stream() -> None:
    config = {
        "*": {"time": "$.at", "id": "$.id", "attributes": {"x": "$.x", "y": "$.y"}},
        "special": {"id": None, "attributes": {"y": "$.z", "x": None}},
    }
    read = settings("http://localhost", mapping=config)

    assert stream_mapping(read.mapping, "any") == LogMapping(
        "any", time=("at",), id=("id",), attributes={"x": ("x",), "y": ("y",)}
    )
    assert stream_mapping(read.mapping, "special") == LogMapping(
        "special", time=("at",), attributes={"y": ("z",)}
    )
