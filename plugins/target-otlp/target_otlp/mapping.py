"""A record as a log record: what each part of it becomes."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, TypeGuard

from target_otlp.log_mapping import EVENT_NAME, EVERY_STREAM, STREAM, UNIQUE_ID, Constant
from target_otlp.values import encodable, set_value, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

    from target_otlp.log_mapping import LogMapping, Source
    from target_otlp.values import Json, Record

_INFO = 9
_MOST_SEVERE = 24
_SEVERITIES = {
    "trace": 1,
    "debug": 5,
    "info": _INFO,
    "information": _INFO,
    "informational": _INFO,
    "notice": 10,
    "low": 10,
    "medium": 13,
    "warn": 13,
    "warning": 13,
    "error": 17,
    "err": 17,
    "high": 17,
    "critical": 18,
    "crit": 18,
    "alert": 19,
    "fatal": 21,
    "emergency": 21,
    "emerg": 21,
}
"""The numbers that OpenTelemetry's data model gives to the names of others: syslog's, or OCSF's."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_WITH_MICROSECONDS = len("2026-11-15T07:48:34.000000Z")
_BEYOND_MICROSECONDS = re.compile(r"[.,]\d{6}(\d{1,3})")
_UINT64 = 2**64
_UNITS = ((10**11, 10**9), (10**14, 10**6), (10**17, 1000))
"""Up to which number a time has which unit, in nanoseconds: seconds until the year 5138, ..."""

_MISSING: Json = {}
"""What no record can hold: this object."""


def stream_mapping(mappings: Mapping[str, LogMapping], stream: str) -> LogMapping:
    """Return the mapping of a stream, with names that UTF-8 can carry."""
    mapping = mappings.get(stream, mappings[EVERY_STREAM])
    attributes = {encodable(name): path for name, path in mapping.attributes.items()}
    return replace(mapping, stream=encodable(stream), attributes=attributes)


def fill(log_record: LogRecord, record: Record, mapping: LogMapping) -> None:
    """Write a record into a log record that is still empty."""
    add = log_record.attributes.add
    add(key=STREAM).value.string_value = mapping.stream
    log_record.time_unix_nano = nanoseconds(_find(record, mapping.time))
    severity = _find(record, mapping.severity)
    if isinstance(severity, str):
        log_record.severity_text = encodable(severity)
    number = _severity_number(severity)
    log_record.severity_number = number  # type: ignore[assignment]  # an enumeration's number
    event = _find(record, mapping.event_name)
    if event is not None:
        log_record.event_name = encodable(text_of(event))
        # Some receivers drop the field.
        add(key=EVENT_NAME).value.string_value = log_record.event_name
    uid = unique_id(record, mapping)
    if uid is not None:
        add(key=UNIQUE_ID).value.string_value = uid
    for name, path in mapping.attributes.items():
        value = _find(record, path, _MISSING)
        if value is not _MISSING:
            set_value(add(key=name).value, value)
    body = _find(record, mapping.body)
    if body is not None:
        set_value(log_record.body, text_of(body))


def _severity_number(severity: Json) -> int:
    if isinstance(severity, str):
        return _SEVERITIES.get(severity.lower(), _INFO)
    if _is_number(severity) and 1 <= severity <= _MOST_SEVERE:
        return int(severity)
    return _INFO


def nanoseconds(time: Json) -> int:
    """Return a time as nanoseconds since 1970, or 0, OTLP's unknown.

    A text is an ISO 8601 date or date-time, in UTC unless it has a zone. A number is in seconds,
    milliseconds, microseconds or nanoseconds, depending on its size.
    """
    found = 0
    try:
        if isinstance(time, str):
            found = _nanoseconds_of(datetime.fromisoformat(time))
            # Python's times have no nanoseconds.
            beyond = len(time) > _WITH_MICROSECONDS and _BEYOND_MICROSECONDS.search(time)
            found += int(beyond[1].ljust(3, "0")) if beyond else 0
        elif isinstance(time, datetime):
            found = _nanoseconds_of(time)
        elif _is_number(time):
            found = int(time * next((unit for most, unit in _UNITS if time < most), 1))
    except (ArithmeticError, ValueError):
        return 0
    return found if 0 < found < _UINT64 else 0


def _nanoseconds_of(time: datetime) -> int:
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - _EPOCH) // _MICROSECOND * 1000


def _is_number(value: Json) -> TypeGuard[int | float | Decimal]:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def unique_id(record: Record, mapping: LogMapping) -> str | None:
    """Return the id by which receivers recognize duplicates, or None if the record has none."""
    found = _find(record, mapping.id)
    return None if found is None else encodable(text_of(found))


def _find(record: Record, source: Source | None, missing: Json = None) -> Json:
    """Return the value of a source, or `missing`."""
    if not isinstance(source, tuple):
        if source is None:
            return missing
        if isinstance(source, Constant):
            return source.value
        return _join([_find(record, part) for part in source.parts])
    value: Json = record
    for step in source:
        if isinstance(value, dict):
            value = value.get(step, _MISSING)  # type: ignore[arg-type]  # no index is a key
            if value is _MISSING:
                return missing
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return missing
    return value


def _join(parts: list[Json]) -> str | None:
    """Return parts with a slash between them; different parts never make the same text.

    Without one of them the rest could be the id of another record, which a receiver would drop.
    """
    if None in parts:
        return None
    texts = [part if isinstance(part, str) else text_of(part) for part in parts]
    return "/".join([text.replace("%", "%25").replace("/", "%2F") for text in texts])
