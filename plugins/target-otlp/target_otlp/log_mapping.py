"""Where the parts of a log record come from: the setting `mapping`, and the paths in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from target_otlp.parsers import InvalidValueError, json_object, names, refuse, string

if TYPE_CHECKING:
    from collections.abc import Mapping

EVERY_STREAM = "*"
STREAM = "singer.stream"
EVENT_NAME = "event.name"
UNIQUE_ID = "log.record.uid"
_OWN_ATTRIBUTES = {STREAM: "the stream's name", EVENT_NAME: "event_name", UNIQUE_ID: "id"}
"""The attributes that the target sets itself, and where their values come from."""

_PATHS = ("time", "event_name", "id", "severity", "body")
_CONSTANT = "="
"""What marks a constant where a path could be."""

_STEP = r"\.([^.*\[\]'\"\s]+)|\[(\d+)\]|\['([^']+)'\]|\[\"([^\"]+)\"\]"
_PATH = re.compile(rf"\$(?:{_STEP})*")
_STEPS = re.compile(_STEP)

JsonPath = tuple[str | int, ...]
"""The steps from a record to a value in it: names, and indexes of lists."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A text that is the same in every record."""

    value: str


@dataclass(frozen=True, slots=True)
class Joined:
    """A text from several parts, all of which a record must have."""

    parts: tuple[JsonPath | Constant, ...]


Source: TypeAlias = JsonPath | Constant | Joined
"""Where a part of a log record comes from."""


@dataclass(frozen=True, slots=True)
class LogMapping:
    """Where the parts of a stream's log records come from; None is nowhere."""

    stream: str
    time: Source | None = None
    event_name: Source | None = None
    id: Source | None = None
    severity: Source | None = None
    body: Source | None = ()
    attributes: Mapping[str, Source] = field(default_factory=dict)


def mappings(value: object) -> dict[str, LogMapping]:
    """Parse the mapping of each stream; what it lacks comes from the mapping of every stream."""
    given = {EVERY_STREAM: {}} | names(value, _is_mapping)
    found = {}
    for stream, own in given.items():
        try:
            found[stream] = _mapping(stream, json_object(given[EVERY_STREAM]), json_object(own))
        except InvalidValueError as error:
            refuse(f"of {stream} {error}")
    return found


def _is_mapping(value: Any) -> bool:  # noqa: ANN401  (whatever JSON can hold)
    """Whether a value is the mapping of a stream, and not a part of its name."""
    return (
        not isinstance(value, dict)
        or not value.keys().isdisjoint((*_PATHS, "attributes"))
        or not all(isinstance(part, dict) for part in value.values())
    )


def _mapping(stream: str, every: dict[str, Any], own: dict[str, Any]) -> LogMapping:
    given = every | own
    attributes = names(every.get("attributes") or {}) | names(own.get("attributes") or {})
    for name in sorted(given.keys() - {*_PATHS, "attributes"}):
        refuse(f"has {name!r}: it can have {', '.join(_PATHS)} and attributes")
    for name in attributes.keys() & _OWN_ATTRIBUTES.keys():
        refuse(f"has the attribute {name}, which comes from {_OWN_ATTRIBUTES[name]}: leave it out")
    sources = {name: _source(name, given[name]) for name in _PATHS if name in given}
    named = {name: _source(name, value) for name, value in attributes.items() if value is not None}
    return LogMapping(stream, **sources, attributes=named)


def _source(name: str, value: object) -> Any:  # noqa: ANN401  (a source, or None for null)
    """Parse a path, or a constant behind `=`; an id can have a list of them."""
    if name == "id" and isinstance(value, list):
        if not value:
            refuse("has id: it is an empty list: write paths into it, or one path without a list")
        return Joined(tuple(_source("part of id", each) for each in value))
    if isinstance(value, str) and value.startswith(_CONSTANT):
        return Constant(value.removeprefix(_CONSTANT))
    try:
        return None if value is None and name != "part of id" else parse_path(string(value))
    except ValueError as error:
        refuse(f"has {name}: {error}")


def parse_path(text: str) -> JsonPath:
    """Return the steps of a JSON path (`$.actor.email`, `$.tags[0]`, `$['a b']`).

    A text that is not a path, or one that could lead to several values, raises ValueError.
    """
    if not _PATH.fullmatch(text):
        refuse(
            f"{text!r} is not a path to one value: write one such as $.actor.email or $.tags[0], "
            "or a constant such as =production"
        )
    return tuple(
        int(index) if index else dotted or single or double
        for dotted, index, single, double in _STEPS.findall(text)
    )
