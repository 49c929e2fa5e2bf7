"""What receivers say, in whatever form: OTLP's protobuf or JSON, plain text, or nothing."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from email.utils import parsedate_to_datetime
from math import ceil

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

_PARTIAL_SUCCESS = ("partialSuccess", "partial_success")
_REJECTED = ("rejectedLogRecords", "rejected_log_records")
_NO_OBJECT = "JSON that is no object"

_INT64 = 1 << 63
_LONGEST = 1e9


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said to a request that it accepted: how much of it not, and its message."""

    rejected: int = 0
    message: str = ""


class NotOtlpError(ValueError):
    """A body that no OTLP receiver answers with. The text says of what kind it is."""


def partial_success(body: bytes) -> Answer:
    """Read an ExportLogsServiceResponse, as JSON or protobuf; without a byte it is a full success.

    That some records were rejected counts even where the rest cannot be read.

    Raises:
        NotOtlpError: It is none, so nobody has said that anything was accepted.

    """
    # Not for protobuf, which can begin with what is white space in a text.
    text = body.decode("utf-8-sig", "replace").strip()
    if not text:
        return Answer()
    # What a partial success is made of has control characters in it, so no text is one by chance.
    # Its length can be the code of a brace, so it comes before JSON.
    answer = None if _is_printable(text) else _of_protobuf(body)
    if answer:
        return answer
    if text[0] in "{[":
        return _of_json(text)
    raise NotOtlpError(_kind(text))


def _of_json(text: str) -> Answer:
    value, rest = _json(text)
    if value is None and any(name in text for name in _REJECTED):
        return Answer(1, text)
    if value is None:
        message = "JSON that cannot be read"
        raise NotOtlpError(message)
    if not isinstance(value, dict):
        raise NotOtlpError(_NO_OBJECT)
    if len(value) > 1 or not value.keys() <= set(_PARTIAL_SUCCESS):
        message = f"JSON with the key{'s' * (len(value) > 1)} {', '.join(value)}"
        raise NotOtlpError(message)
    told = _member(value, *_PARTIAL_SUCCESS)
    if not isinstance(told, dict | None):
        message = "JSON whose partialSuccess is no object"
        raise NotOtlpError(message)
    others = [name for name in told or () if name.startswith("rejected") and name not in _REJECTED]
    if others:
        # So says an endpoint for traces or metrics.
        message = f"JSON with the key {others[0]}"
        raise NotOtlpError(message)
    rejected = _count(_member(told, *_REJECTED) or 0)
    if rejected is None:
        message = "JSON whose rejectedLogRecords is no number"
        raise NotOtlpError(message)
    if rest.strip() and not rejected:
        message = "JSON and something after it"
        raise NotOtlpError(message)
    told_why = _member(told, "errorMessage", "error_message")
    return Answer(rejected, "" if told_why is None else str(told_why))


def _of_protobuf(body: bytes) -> Answer | None:
    """Read ExportLogsServiceResponse, or return None where it is no such message.

    Its partial_success is field 1; in that rejected_log_records is 1 and error_message 2.
    """
    parts = []
    for number, part in _fields(body) or [(0, None)]:
        if number != 1 or not isinstance(part, bytes):
            return None
        parts.append(part)
    # Joined is how protobuf merges them.
    fields = _fields(b"".join(parts))
    if fields is None:
        return None
    told = dict(fields)
    rejected, message = told.get(1, 0), told.get(2, b"")
    if not isinstance(rejected, int) or not isinstance(message, bytes):
        return None
    return Answer(0 if rejected >= _INT64 else rejected, _text(message))


def _kind(text: str) -> str:
    """Say what a text is that is no answer of an OTLP receiver, without anything of it."""
    if re.search("<html|<!doctype html", text, re.IGNORECASE):
        return "an HTML page"
    if text.startswith("<"):
        return "XML"
    if _json(text)[0] is not None or text == "null":
        return _NO_OBJECT
    return "plain text" if _is_printable(text) and "\ufffd" not in text else "binary data"


def _is_printable(text: str) -> bool:
    return "".join(text.split()).isprintable()


def status_message(body: bytes) -> str:
    """Read what is said to a failure: a google.rpc.Status, JSON with a message, or text."""
    text = body.decode("utf-8-sig", "replace").lstrip()
    if text[:1] in {"{", "["}:
        value, _ = _json(text)
        message = _member(value, "message")
        if isinstance(message, str):
            return message
        # As text that can be searched for secrets: without JSON's escapes.
        return text if value is None else json.dumps(value, ensure_ascii=False)
    # google.rpc.Status: code = 1, message = 2.
    return _text(dict(_fields(body) or []).get(2)) or _text(body)


def retry_after(text: str) -> float | None:
    """Return the seconds that a header Retry-After asks for, in either of its forms."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:20]), _LONGEST)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - time.time())


def _json(text: str) -> tuple[object, str]:
    """Return what stands first in a text, and what follows it; None where that is no JSON."""
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
    """Return a number of records, None where it is no number; 64-bit integers of JSON are text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return max(0, ceil(min(Decimal(value), Decimal(_INT64))))
    except ArithmeticError:
        return None


def _fields(body: bytes) -> list[tuple[int, object]] | None:
    """Return the fields of any protobuf message with their numbers; None where it is no message.

    The message's own class would refuse all of it for a text that is no UTF-8.
    """
    try:
        message = Empty.FromString(body)
    except DecodeError:
        return None
    fields = UnknownFieldSet(message)
    found = [(fields[place].field_number, fields[place].data) for place in range(len(fields))]
    # No field has the number 0, but protobuf 6 reads over it.
    return None if any(number == 0 for number, _ in found) else found


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
