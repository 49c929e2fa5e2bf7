"""What may be shown of a receiver's words: no secrets of the settings, and no parts of records."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue

_SHOWN = 300
_READ = 1000
"""How many characters of a text are looked at: what is taken out makes room for more."""

_SHORTEST_SECRET = 6
_SHORTEST_VALUE = 3
"""A shorter value can be in any text by chance."""

_RUN = 8
"""How many characters of a value in a row count as a part of it."""


class Redactor:
    """Makes a line to show of a text that somebody else wrote."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """Take out these secrets, whole and in parts."""
        self._secrets = _parts(secrets)

    def line(self, text: str, request: ExportLogsServiceRequest | None = None) -> str:
        """Return text as one line of limited length, without secrets and values of the request."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        if text and request is not None:
            text = _without_values(text[:_READ], list(_values(request)))
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _parts(values: Sequence[str]) -> list[str]:
    """Return the secrets of headers and a query, whole and in parts, the longest first."""
    parts = {part for value in values for part in (value, *re.split(r"[\s;,&=]+", value))}
    parts |= {unquote(part) for part in parts}
    for value in values:
        if value.lower().startswith("basic "):
            with suppress(ValueError):
                decoded = b64decode(value[6:] + "==").decode("utf-8", "replace")
                parts |= {decoded, decoded.partition(":")[2]}
    return sorted((part for part in parts if len(part) >= _SHORTEST_SECRET), key=len, reverse=True)


def _without_values(text: str, values: list[str]) -> str:
    """Return text with `…` for each value in it, and for each run of characters of a value."""
    whole = {value for value in values if len(value) >= _SHORTEST_VALUE and value in text}
    for value in sorted(whole, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "…", text)
    everything = "\0".join({value for value in values if len(value) >= _RUN})
    kept = ""
    begin = 0
    while begin < len(text):
        end = begin + _RUN
        if end > len(text) or text[begin:end] not in everything:
            kept += text[begin]
            begin += 1
            continue
        while end < len(text) and text[begin : end + 1] in everything:
            end += 1
        kept += "…"
        begin = end
    return kept


def _values(request: ExportLogsServiceRequest) -> Iterator[str]:
    """Yield the texts and numbers of all records, from within JSON too; names are none."""
    for resource_logs in request.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            for log_record in scope_logs.log_records:
                yield log_record.event_name
                yield from _values_of(log_record.body)
                for attribute in log_record.attributes:
                    yield from _values_of(attribute.value)


def _values_of(value: AnyValue) -> Iterator[str]:
    match value.WhichOneof("value"):
        case "string_value":
            yield from _leaves(value.string_value)
        case "array_value":
            for item in value.array_value.values:
                yield from _values_of(item)
        case "kvlist_value":
            for pair in value.kvlist_value.values:
                yield from _values_of(pair.value)
        case "int_value":
            yield str(value.int_value)
        case "double_value":
            yield str(value.double_value)


def _leaves(text: str) -> Iterator[str]:
    waiting: list[object] = [text]
    if text.startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            waiting = [json.loads(text, parse_int=str, parse_float=str)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | dict):
            waiting += value.values() if isinstance(value, dict) else value
