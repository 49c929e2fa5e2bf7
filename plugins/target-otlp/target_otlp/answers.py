"""What receivers say, in whatever form: OTLP's protobuf or JSON, plain text, or nothing."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from email.utils import parsedate_to_datetime

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

_INT64 = 1 << 63
_LONGEST = 1e9


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said to a request that it accepted: how much of it not, and its message."""

    rejected: int = 0
    message: str = ""


def partial_success(body: bytes) -> Answer:
    """Read an acceptance: nothing was rejected unless it says so.

    The number counts even where the rest cannot be read.
    """
    if _is_json(body):
        value = _json(body)
        if value is None and b"rejected" in body:
            return Answer(1, _text(body))
        told = _member(value, "partialSuccess", "partial_success")
        rejected = _member(told, "rejectedLogRecords", "rejected_log_records")
        message = _member(told, "errorMessage", "error_message")
        return Answer(_count(rejected), "" if message is None else str(message))
    # ExportLogsServiceResponse: partial_success = 1; in it rejected_log_records = 1, message = 2.
    fields = _fields(_fields(body).get(1))
    rejected = fields.get(1)
    is_negative = isinstance(rejected, int) and rejected >= _INT64
    return Answer(0 if is_negative else _count(rejected), _text(fields.get(2)))


def status_message(body: bytes) -> str:
    """Read what is said to a failure: a google.rpc.Status, JSON with a message, or text."""
    if _is_json(body):
        value = _json(body)
        message = _member(value, "message")
        if isinstance(message, str):
            return message
        # As text that can be searched for secrets: without JSON's escapes.
        return _text(body) if value is None else json.dumps(value, ensure_ascii=False)
    # google.rpc.Status: code = 1, message = 2.
    return _text(_fields(body).get(2)) or _text(body)


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


def _is_json(body: bytes) -> bool:
    return body.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in {b"{", b"["}


def _json(body: bytes) -> object:
    """Return what stands first in a body; None where that is no JSON."""
    text = body.decode("utf-8-sig", "replace").lstrip()
    try:
        value: object = json.JSONDecoder(strict=False).raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None
    return value


def _member(value: object, *names: str) -> object:
    if not isinstance(value, dict):
        return None
    return next((value[name] for name in names if value.get(name) is not None), None)


def _count(value: object) -> int:
    """Return a number of records; 64-bit integers of JSON are text."""
    try:
        return max(0, int(Decimal(value))) if isinstance(value, int | float | str) else 0
    except (ArithmeticError, ValueError):
        return 0


def _fields(body: object) -> dict[int, object]:
    """Return the fields of any protobuf message by number, or none where it is no message.

    The message's own class would refuse all of it for a text that is no UTF-8.
    """
    try:
        message = Empty.FromString(body if isinstance(body, bytes) else b"")
    except DecodeError:
        return {}
    fields = UnknownFieldSet(message)
    return {fields[place].field_number: fields[place].data for place in range(len(fields))}


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
