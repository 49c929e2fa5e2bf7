"""Parses what receivers answer: OTLP's protobuf or JSON, plain text, or nothing."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from math import ceil
from typing import TYPE_CHECKING, NoReturn

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

if TYPE_CHECKING:
    from collections.abc import Mapping

_PARTIAL_SUCCESS = ("partialSuccess", "partial_success")
_REJECTED = ("rejectedLogRecords", "rejected_log_records")
_NO_OBJECT = "JSON that is not an object"
_INT64 = 1 << 63
_ENDLESS = 1e9
"""Seconds that stand for a wait of more digits."""


@dataclass(frozen=True, slots=True)
class PartialSuccess:
    """A response to an accepted request: how many records were rejected, and a message."""

    rejected: int = 0
    message: str = ""


class InvalidResponseError(ValueError):
    """A body that no OTLP receiver sends. The text says what kind of body it is."""


def _refuse(kind: str) -> NoReturn:
    raise InvalidResponseError(kind)


def parse_partial_success(body: bytes) -> PartialSuccess:
    """Parse an ExportLogsServiceResponse in JSON or protobuf; an empty body is a full success.

    Rejected records count even if the rest of the response cannot be parsed. Any other body raises
    InvalidResponseError: nothing says that the request was accepted.
    """
    # Stripped for text alone: protobuf can start with bytes that are white space in text.
    text = body.decode("utf-8-sig", "replace").strip()
    if not text:
        return PartialSuccess()
    # A partial success in protobuf has control characters, so no text is one by chance. Its length
    # can be the code of a brace, so protobuf comes before JSON.
    answer = None if _is_printable(text) else _parse_protobuf(body)
    if answer:
        return answer
    if text[0] in "{[":
        return _parse_json(text)
    _refuse(_kind(text))


def _parse_json(text: str) -> PartialSuccess:
    value, rest = _json(text)
    if value is None and any(name in text for name in _REJECTED):
        return PartialSuccess(1, text)
    if value is None:
        _refuse("JSON that cannot be read")
    if not isinstance(value, dict):
        _refuse(_NO_OBJECT)
    if len(value) > 1 or not value.keys() <= set(_PARTIAL_SUCCESS):
        _refuse(f"JSON with the key{'s' * (len(value) > 1)} {', '.join(value)}")
    partial = _member(value, *_PARTIAL_SUCCESS)
    if not isinstance(partial, dict | None):
        _refuse("JSON whose partialSuccess is not an object")
    for name in partial or ():
        if name.startswith("rejected") and name not in _REJECTED:
            # An endpoint for traces or metrics answers so.
            _refuse(f"JSON with the key {name}")
    rejected = _count(_member(partial, *_REJECTED) or 0)
    if rejected is None:
        _refuse("JSON whose rejectedLogRecords is not a number")
    if rest.strip() and not rejected:
        _refuse("JSON followed by something else")
    reason = _member(partial, "errorMessage", "error_message")
    return PartialSuccess(rejected, "" if reason is None else str(reason))


def _parse_protobuf(body: bytes) -> PartialSuccess | None:
    """Parse an ExportLogsServiceResponse, or return None if it is not such a message.

    Its partial_success is field 1; in that rejected_log_records is 1 and error_message 2.
    """
    parts = []
    for number, part in _fields(body) or [(0, None)]:
        if number != 1 or not isinstance(part, bytes):
            return None
        parts.append(part)
    # Protobuf merges them when they are joined.
    fields = _fields(b"".join(parts))
    if fields is None:
        return None
    partial = dict(fields)
    rejected, message = partial.get(1, 0), partial.get(2, b"")
    if not isinstance(rejected, int) or not isinstance(message, bytes):
        return None
    return PartialSuccess(0 if rejected >= _INT64 else rejected, _text(message))


def _kind(text: str) -> str:
    """Describe a text that is not the answer of an OTLP receiver, without quoting it."""
    if re.search("<html|<!doctype html", text, re.IGNORECASE):
        return "an HTML page"
    if text.startswith("<"):
        return "XML"
    if _json(text)[0] is not None or text == "null":
        return _NO_OBJECT
    return "plain text" if _is_printable(text) and "\ufffd" not in text else "binary data"


def _is_printable(text: str) -> bool:
    return "".join(text.split()).isprintable()


def parse_status_message(body: bytes) -> str:
    """Parse the message of a failure: a google.rpc.Status, JSON with a message, or text."""
    text = body.decode("utf-8-sig", "replace").lstrip()
    if text[:1] in {"{", "["}:
        value, _ = _json(text)
        message = _member(value, "message")
        if isinstance(message, str):
            return message
        # Without JSON's escapes, so that secrets in the text can be found.
        return text if value is None else json.dumps(value, ensure_ascii=False)
    # google.rpc.Status: code = 1, message = 2.
    return _text(dict(_fields(body) or []).get(2)) or _text(body)


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that `Retry-After` asks to wait, or None if it asks for nothing.

    It is a whole number of seconds or a date (RFC 9110); a date counts from the server's own clock,
    or, where there is no `Date`, from `now`, ours, in seconds since 1970.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _ENDLESS)
    moment, date = _parse_date(text), _parse_date(headers.get("Date", ""))
    return max(0.0, moment.timestamp() - (date.timestamp() if date else now)) if moment else None


def _parse_date(text: str) -> datetime | None:
    """Return the UTC time in an HTTP header, or None if it has none; one without a zone is UTC."""
    try:
        date = parsedate_to_datetime(text)
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _json(text: str) -> tuple[object, str]:
    """Return the JSON value at the start of a text, or None, and the text after it."""
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(text)
    except (ValueError, RecursionError):
        return None, text
    return value, text[end:]


def _member(value: object, *names: str) -> object:
    if not isinstance(value, dict):
        return None
    return next((value[name] for name in names if value.get(name) is not None), None)


def _count(value: object) -> int | None:
    """Return a number of records, or None; in JSON, protobuf's 64-bit integers are text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return max(0, ceil(min(Decimal(value), Decimal(_INT64))))
    except ArithmeticError:
        return None


def _fields(body: bytes) -> list[tuple[int, object]] | None:
    """Return the fields of any protobuf message with their numbers, or None if it is not one.

    The message's own class would refuse all of it because of a text that is not UTF-8.
    """
    try:
        message = Empty.FromString(body)
    except DecodeError:
        return None
    fields = UnknownFieldSet(message)
    found = [(fields[index].field_number, fields[index].data) for index in range(len(fields))]
    # No field has the number 0, but protobuf 6 accepts it.
    return None if any(number == 0 for number, _ in found) else found


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
