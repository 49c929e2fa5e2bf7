"""What may be shown of a receiver's words: no secrets of the settings, and no parts of records.

A receiver may repeat what it was sent as it is, in part, in other case, or escaped. Its words are a
help and no promise: what cannot be masked in its place is withheld as a whole.
"""

from __future__ import annotations

import html
import json
import re
from base64 import urlsafe_b64decode
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue

WITHHELD = "(what it says is withheld: it repeats a part of {})"

_SHOWN = 300
_READ = 1000
"""How many characters of a text are looked at: what is taken out makes room for more."""

_SHORTEST_SECRET = 6
_SHORTEST_VALUE = 3
"""A shorter value can be in any text by chance."""

_RUN = 8
"""How many characters of a value in a row count as a part of it."""

_LAYERS = 4
"""How often a text may be escaped."""

_END = "\ud800"
"""Separates values: no run goes over it. Neither UTF-8 nor protobuf can hold half a character."""

_SECRET_MASK, _VALUE_MASK = "***", "…"
_MASK = re.compile(f"{re.escape(_SECRET_MASK)}|{_VALUE_MASK}")
_SCHEMES = "Basic|Bearer|Digest|Token|ApiKey|Api-Key|Key|Splunk"
_SCHEME = re.compile(rf"(?:{_SCHEMES})\s+", re.IGNORECASE)
"""What a header starts with that is not secret."""

_HEX_ESCAPE = re.compile(r"\\x([0-9a-f]{2})", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|(.))", re.IGNORECASE | re.DOTALL)
_CONTROL = dict(zip("nrtbf", "\n\r\t\b\f", strict=True))
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{11,}")
_NO_WORD = re.compile(rf"[^\w{_END}]+")


class Redactor:
    """Makes a line to show of a text that somebody else wrote."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """Take out these secrets, whole and in parts."""
        parts = _parts(secrets)
        self._words = sorted(parts, key=len, reverse=True)
        self._secrets = _Values(parts)

    def line(self, text: str, request: ExportLogsServiceRequest | None = None) -> str:
        """Return text as one line of limited length, without secrets and values of the request."""
        text = text[:_READ]
        if not text:
            return ""
        values = _Values(set() if request is None else set(_values(request)))
        shown = self._masked(text, values)
        plain = _unescaped(text)
        if plain != text and (masked := self._masked(plain, values)) != plain:
            shown = masked
        for whose, what in ((self._secrets, "headers or of the query"), (values, "a record")):
            if whose.are_hidden_in(text, shown):
                return WITHHELD.format(what)
        line = " ".join("".join(c if c.isprintable() else " " for c in shown).split())
        return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"

    def _masked(self, text: str, values: _Values) -> str:
        for word in self._words:
            text = re.sub(re.escape(word), _SECRET_MASK, text, flags=re.IGNORECASE)
        text = self._secrets.masked(text, _SECRET_MASK)
        return values.masked(values.without_whole(text), _VALUE_MASK)


class _Values:
    """Texts that must not be shown, nor eight characters in a row of one of them."""

    def __init__(self, values: set[str]) -> None:
        self._values = values | {_unescaped(value) for value in values}
        self._all = _lower(_END.join(self._values))
        self._words = _NO_WORD.sub("", self._all)

    def without_whole(self, text: str) -> str:
        """Return text without the values that are words of it."""
        whole = [one for one in self._values if len(one) >= _SHORTEST_VALUE and one in text]
        for value in sorted(whole, key=len, reverse=True):
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", _VALUE_MASK, text)
        return text

    def masked(self, text: str, mask: str) -> str:
        """Return text with a mask for each run of characters of a value, whatever its case."""
        starts = _runs(_lower(text), self._all)
        if not starts:
            return text
        covered = {start + index for start in starts for index in range(_RUN)}
        return "".join(
            character if index not in covered else mask * (index - 1 not in covered)
            for index, character in enumerate(text)
        )

    def are_hidden_in(self, text: str, shown: str) -> bool:
        """Whether a run is in what would be shown of a text: in base64, or with other separators.

        It is what the text as a whole says that counts for base64: a mask could cut it.
        """
        words = _NO_WORD.sub("", _lower(_MASK.sub(_END, shown)))
        decoded = _lower(_END.join(_decoded(_unescaped(text))))
        return bool(_runs(words, self._words) or _runs(decoded, self._all))


def _runs(text: str, within: str) -> list[int]:
    """Return where the runs of a text start that are in another, long one.

    Each of them has a place in it that is a multiple of four, and four characters behind that: few
    do, so the long text is searched a quarter as often.
    """
    return [
        begin
        for place in range(0, len(text), _RUN // 2)
        if text[place : place + _RUN // 2 + 1] in within
        for begin in range(max(0, place - _RUN // 2 + 1), place + 1)
        if begin + _RUN <= len(text)
        and _END not in (run := text[begin : begin + _RUN])
        and run in within
    ]


def _lower(text: str) -> str:
    """Return text in lower case, as long as it was."""
    lower = text.lower()
    # A few letters become two.
    return lower if len(lower) == len(text) else "".join(c.lower()[0] for c in text)


def _unescaped(text: str) -> str:
    """Return text without the escapes of HTML, URLs and JSON, or of several of them."""
    for _ in range(_LAYERS):
        before = text
        if "&" in text:
            text = html.unescape(text)
        if "\\" in text:
            text = _ESCAPE.sub(_character, _HEX_ESCAPE.sub(r"%\1", text))
            # The two halves of a character beyond 16 bits.
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if "%" in text:
            text = unquote(text)
        if text == before:
            break
    return text


def _character(escape: re.Match[str]) -> str:
    code, other = escape.groups()
    return chr(int(code, 16)) if code else _CONTROL.get(other, other)


def _decoded(text: str) -> Iterator[str]:
    """Yield what is in base64 in a text, from wherever it starts."""
    for found in _BASE64.findall(text):
        token = found.replace("+", "-").replace("/", "_")
        for begin in range(4):
            part = token[begin:] + "A" * (-(len(token) - begin) % 4)
            yield urlsafe_b64decode(part).decode("utf-8", "ignore")


def _parts(values: Sequence[str]) -> set[str]:
    """Return the secrets of headers and a query, whole and in parts."""
    parts = set()
    for value in values:
        secret = _SCHEME.sub("", value, count=1) if _SCHEME.match(value) else value
        parts |= {secret, *re.split(r"[\s;,&=]+", secret)}
        if value.lower().startswith("basic "):
            with suppress(ValueError):
                padded = secret.rstrip("=") + "=="
                decoded = urlsafe_b64decode(padded.translate(_URLSAFE)).decode("utf-8", "replace")
                parts |= {decoded, *decoded.split(":", 1)}
    parts |= {_unescaped(part) for part in parts}
    return {part for part in parts if len(part) >= _SHORTEST_SECRET}


_URLSAFE = str.maketrans("+/", "-_")


def _values(request: ExportLogsServiceRequest) -> Iterator[str]:
    """Yield the texts and numbers of all records, from within JSON too, but no names."""
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
