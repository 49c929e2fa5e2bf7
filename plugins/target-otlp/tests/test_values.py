"""Every JSON value survives the way from a Singer message to a receiver."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from target_otlp.log_mapping import LogMapping
from target_otlp.mapping import fill
from target_otlp.messages import MessageReader
from target_otlp.values import DEEPEST, json_text, set_value
from testing.fake_receiver import attributes, plain

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**80), 2**80)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None)),
    lambda values: (
        st.lists(values, max_size=5)
        | st.dictionaries(st.text(st.characters(codec=None)), values, max_size=5)
    ),
    max_leaves=20,
)


def sent(value: object) -> Any:  # noqa: ANN401
    """What is left of a value behind protobuf."""
    message = AnyValue()
    set_value(message, value)  # type: ignore[arg-type]
    return plain(AnyValue.FromString(message.SerializeToString()))


def as_otlp(value: object) -> object:
    """What a value is in OTLP, which has doubles, 64-bit integers and text of UTF-8."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case bool() | None:
            return value
        case int():
            return value if -(2**63) <= value < 2**63 else str(value)
        case Decimal():
            return float(value) if Decimal(repr(float(value))) == value else str(value)
        case list():
            return [as_otlp(item) for item in value]
        case dict():
            return {str(as_otlp(name)): as_otlp(item) for name, item in value.items()}
    raise TypeError(value)


def line_of(record: object) -> bytes:
    """A message as a tap writes it, with each number in full."""
    return f'{{"type": "RECORD", "stream": "a", "record": {json_text(record)}}}'.encode()  # type: ignore[arg-type]


@settings(max_examples=50)
@given(st.dictionaries(st.text(st.characters(codec=None)), JSON, max_size=5))
def test_the_body_is_the_record_as_it_came(record: dict[str, Any]) -> None:
    log_record = LogRecord()
    read = MessageReader().deserialize_json(line_of(record))["record"]

    fill(log_record, read, LogMapping("a"))

    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.append(log_record)
    received = ExportLogsServiceRequest.FromString(request.SerializeToString())
    body = received.resource_logs[0].scope_logs[0].log_records[0].body.string_value
    assert json.loads(body, parse_float=Decimal) == record


@settings(max_examples=50)
@given(JSON)
def test_an_attribute_is_the_value_in_the_nearest_form_that_otlp_has(value: object) -> None:
    mapping = LogMapping("a", attributes={"value": ("value",)})
    log_record = LogRecord()
    read = MessageReader().deserialize_json(line_of({"value": value}))["record"]

    fill(log_record, read, mapping)

    received = LogRecord.FromString(log_record.SerializeToString())
    assert attributes(received)["value"] == as_otlp(read["value"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ({}, {}),
        ([], []),
        ("a\0b", "a\0b"),
        ("\ud800", "\\ud800"),
        (True, True),
        (2**63 - 1, 2**63 - 1),
        (2**63, "9223372036854775808"),
        (datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02T03:00:00+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        ([{"at": date(2026, 1, 2)}], [{"at": "2026-01-02"}]),
        (Decimal("0.1"), 0.1),
        (Decimal("0.10000000000000000001"), "0.10000000000000000001"),
        (Decimal("1E+400"), "1E+400"),
        ({"a": [None, {"b": {}}]}, {"a": [None, {"b": {}}]}),
    ],
    ids=repr,
)
def test_an_odd_value_becomes(value: object, expected: object) -> None:
    found = sent(value)

    assert found == expected
    assert type(found) is type(expected)


def test_what_lies_too_deep_for_receivers_becomes_text() -> None:
    value: Any = "bottom"
    for _ in range(200):
        value = [value]

    found = sent(value)

    for _ in range(DEEPEST):
        (found,) = found
    rest = 200 - DEEPEST
    assert found == "[" * rest + '"bottom"' + "]" * rest


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e99999999999999999999"])
def test_numbers_that_nothing_can_hold_become_text(text: str) -> None:
    line = f'{{"type": "RECORD", "stream": "a", "record": {{"value": {text}}}}}'.encode()

    assert MessageReader().deserialize_json(line)["record"] == {"value": text}


def test_an_integer_of_any_length_survives() -> None:
    digits = "9" * 10_000
    line = f'{{"type": "RECORD", "stream": "a", "record": {{"value": {digits}}}}}'.encode()
    read = MessageReader().deserialize_json(line)["record"]

    assert json_text(read) == f'{{"value":{digits}}}'
    assert sent(read["value"]) == digits


@pytest.mark.parametrize("beside", ["plain", "\ud800", 2**70])
def test_a_time_that_a_stream_map_has_made_is_text_in_the_body(beside: object) -> None:
    body = json.loads(json_text({"at": date(2026, 1, 2), "beside": beside}))  # type: ignore[dict-item]

    assert body == {"at": "2026-01-02", "beside": beside}
