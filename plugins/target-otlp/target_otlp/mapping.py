"""Which part of a record becomes which part of a log record."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, TypeGuard

from target_otlp.values import encodable, set_value, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

    from target_otlp.values import Json, Record

STREAM = "singer.stream"
EVENT_NAME = "event.name"
UNIQUE_ID = "log.record.uid"
OWN_ATTRIBUTES = {STREAM: "the stream's name", EVENT_NAME: "event_name", UNIQUE_ID: "id"}
"""The attributes that are set without being asked for, and from what."""

_INFO = 9
_MOST_SEVERE = 24
_SEVERITIES = {
    "trace": 1,
    "debug": 5,
    "info": _INFO,
    "information": _INFO,
    "notice": 10,
    "warn": 13,
    "warning": 13,
    "error": 17,
    "err": 17,
    "critical": 18,
    "crit": 18,
    "alert": 19,
    "fatal": 21,
    "emergency": 21,
    "emerg": 21,
}
"""The numbers that OpenTelemetry's data model gives to others' names, syslog's among them."""

_STEP = r"\.([^.*\[\]'\"\s]+)|\[(\d+)\]|\['([^']+)'\]|\[\"([^\"]+)\"\]"
_PATH = re.compile(rf"\$(?:{_STEP})*")
_STEPS = re.compile(_STEP)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_WITH_MICROSECONDS = len("2026-11-15T07:48:34.000000Z")
_BEYOND_MICROSECONDS = re.compile(r"[.,]\d{6}(\d{1,3})")
_UINT64 = 2**64
_UNITS = ((10**11, 10**9), (10**14, 10**6), (10**17, 1000))
"""Below which number a time is in what, as nanoseconds: seconds until the year 5138, and so on."""

_MISSING: Json = {}
"""What no record holds: this very object."""

Path = tuple[str | int, ...]
"""The steps from a record to a value in it: names, and places in lists."""


def read_path(text: str) -> Path:
    """Return a JSON path (`$.actor.email`, `$.tags[0]`, `$['a b']`) as its steps.

    Raises:
        ValueError: It is none, or one that could lead to several values.

    """
    if not _PATH.fullmatch(text):
        message = f"{text!r} is no path to one value: write one such as $.actor.email or $.tags[0]"
        raise ValueError(message)
    return tuple(
        int(place) if place else dotted or single or double
        for dotted, place, single, double in _STEPS.findall(text)
    )


@dataclass(frozen=True, slots=True)
class LogMapping:
    """Where the parts of a stream's log records come from; None is nowhere."""

    stream: str
    time: Path | None = None
    event_name: Path | None = None
    id: Path | None = None
    severity: Path | None = None
    body: Path | None = ()
    attributes: Mapping[str, Path] = field(default_factory=dict)

    def fill(self, log_record: LogRecord, record: Record) -> None:
        """Write a record into a log record that is still empty."""
        add = log_record.attributes.add
        add(key=STREAM).value.string_value = self.stream
        log_record.time_unix_nano = nanoseconds(_find(record, self.time))
        self._set_severity(log_record, _find(record, self.severity))
        event = _find(record, self.event_name)
        if event is not None:
            log_record.event_name = encodable(text_of(event))
            # Some receivers drop the field.
            add(key=EVENT_NAME).value.string_value = log_record.event_name
        key = _find(record, self.id)
        if key is not None:
            add(key=UNIQUE_ID).value.string_value = encodable(text_of(key))
        for name, path in self.attributes.items():
            value = _find(record, path, _MISSING)
            if value is not _MISSING:
                set_value(add(key=name).value, value)
        body = _find(record, self.body)
        if body is not None:
            set_value(log_record.body, text_of(body))

    @staticmethod
    def _set_severity(log_record: LogRecord, severity: Json) -> None:
        number = _INFO
        if isinstance(severity, str):
            log_record.severity_text = encodable(severity)
            number = _SEVERITIES.get(severity.lower(), _INFO)
        elif _is_number(severity) and 1 <= severity <= _MOST_SEVERE:
            number = int(severity)
        log_record.severity_number = number  # type: ignore[assignment]  # an enumeration's number


def nanoseconds(time: Json) -> int:
    """Return a time as nanoseconds since 1970, or 0, OTLP's unknown.

    A text is a date or date-time of ISO 8601, in UTC where it names no zone. A number counts
    seconds, milliseconds, microseconds or nanoseconds: its size tells which.
    """
    found = 0
    if isinstance(time, str):
        found = _nanoseconds_of_text(time)
    elif isinstance(time, datetime):
        found = _nanoseconds_of(time)
    elif _is_number(time):
        unit = next((unit for most, unit in _UNITS if time < most), 1)
        try:
            found = int(time * unit)
        except (ArithmeticError, ValueError):
            return 0
    return found if 0 < found < _UINT64 else 0


def _nanoseconds_of_text(text: str) -> int:
    try:
        found = _nanoseconds_of(datetime.fromisoformat(text))
    except ValueError:
        return 0
    # Python's times end with microseconds.
    beyond = _BEYOND_MICROSECONDS.search(text) if len(text) > _WITH_MICROSECONDS else None
    return found + int(beyond[1].ljust(3, "0")) if beyond else found


def _nanoseconds_of(time: datetime) -> int:
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - _EPOCH) // _MICROSECOND * 1000


def _is_number(value: Json) -> TypeGuard[int | float | Decimal]:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _find(record: Record, path: Path | None, missing: Json = None) -> Json:
    """Return the value at a path, or what stands for a missing one."""
    if path is None:
        return missing
    value: Json = record
    for step in path:
        if isinstance(step, str):
            if not isinstance(value, dict) or step not in value:
                return missing
            value = value[step]
        elif isinstance(value, list) and step < len(value):
            value = value[step]
        else:
            return missing
    return value
