"""JSON values as OpenTelemetry's, and as JSON text; nothing that a record can hold is lost.

Values for which OTLP has no type become text: integers beyond 64 bits, decimals that no double
equals, and values nested more deeply than receivers read.
"""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import simplejson

if TYPE_CHECKING:
    from datetime import datetime

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue

Json: TypeAlias = (
    "str | int | float | Decimal | bool | datetime | date | time"
    " | list[Json] | dict[str, Json] | None"
)
"""A value in a record. Times are text, unless a stream map has converted them."""

Record: TypeAlias = "dict[str, Json]"

DEEPEST = 24
"""Levels of objects and lists that are sent as such: protobuf's parsers give up at about 30."""

_INT64 = 2**63


def set_value(target: AnyValue, value: Json, depth: int = 0) -> None:
    """Write a value into an AnyValue that is still empty; null becomes one without a value."""
    if isinstance(value, str):  # most are
        _set_text(target, value)
    else:
        _set_other(target, value, depth)


def _set_other(target: AnyValue, value: Json, depth: int) -> None:
    match value:
        case None:
            target.SetInParent()
        case bool():
            target.bool_value = value
        case int() if -_INT64 <= value < _INT64:
            target.int_value = value
        case float():
            target.double_value = value
        case Decimal() if Decimal(repr(float(value))) == value:
            target.double_value = float(value)
        case dict() if depth < DEEPEST:
            target.kvlist_value.SetInParent()
            add = target.kvlist_value.values.add
            for name, item in value.items():
                set_value(add(key=encodable(name)).value, item, depth + 1)
        case list() if depth < DEEPEST:
            target.array_value.SetInParent()
            for item in value:
                set_value(target.array_value.values.add(), item, depth + 1)
        case _:
            _set_text(target, text_of(value))


def text_of(value: Json) -> str:
    """Return a value as text: text unchanged, times in ISO 8601, everything else as JSON."""
    if isinstance(value, str):
        return value
    return value.isoformat() if isinstance(value, date | time) else json_text(value)


def json_text(value: Json) -> str:
    """Return a value as JSON, with every number in full."""
    try:
        return _encode(value).decode()
    except (UnicodeEncodeError, OverflowError):
        # Lone surrogates, which only an escape can carry, and integers beyond 64 bits.
        return simplejson.dumps(value, default=text_of, separators=(",", ":"), use_decimal=True)


def encodable(text: str) -> str:
    r"""Return text that UTF-8 can carry: a lone surrogate becomes its escape (`\ud800`)."""
    return text.encode("utf-8", "backslashreplace").decode()


def _set_text(target: AnyValue, text: str) -> None:
    try:
        target.string_value = text
    except UnicodeEncodeError:
        target.string_value = encodable(text)


_encode = msgspec.json.Encoder(decimal_format="number").encode
