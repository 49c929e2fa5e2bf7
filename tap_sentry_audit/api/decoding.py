"""JSON as Sentry sends it, every value exact."""

from __future__ import annotations

import json
import re
import sys
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from tap_sentry_audit.api.exceptions import InvalidBodyError

if TYPE_CHECKING:
    from collections.abc import Callable

    Decoded = TypeVar("Decoded")

Json: TypeAlias = "str | int | float | Decimal | bool | list[Json] | dict[str, Json] | None"

_MOST_DIGITS = 18

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def _exact_decimal(text: str) -> Decimal | str:
    """Return a decimal, or the text of a number whose exponent has too many digits for one."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return text


_decode_object = msgspec.json.Decoder(dict[str, Any], float_hook=_exact_decimal).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def decode_object(body: bytes) -> dict[str, Json]:
    """Return a JSON object, its numbers as integers and decimals.

    A number that no decimal can hold (`1e9999999999999999999`) becomes its text.

    Raises:
        ValueError: The body is not a JSON object.

    """
    try:
        return _decode_object(body)
    except msgspec.ValidationError:
        # Either not an object, or one with an integer of thousands of digits.
        found: Json = json.loads(body, parse_float=_exact_decimal, parse_int=_exact_integer)
        if isinstance(found, dict):
            return found
        raise


def decode_objects(body: bytes) -> list[dict[str, Json] | None]:
    """Return a JSON list of objects and nulls; lone surrogates become text.

    Raises:
        InvalidBodyError: The body is not such a list.

    """
    try:
        rows = decode_escaped(_decode_list, body)
        return [None if bytes(row) == b"null" else decode_object(bytes(row)) for row in rows]
    except (RecursionError, ValueError):
        message = "the body is not a list of objects"
        raise InvalidBodyError(message) from None


def decode_escaped(decode: Callable[[bytes], Decoded], body: bytes) -> Decoded:
    r"""Return what `decode` makes of JSON, with lone surrogates as text (`\\ud800`).

    JSON can name them, but UTF-8 cannot carry them. As text nothing is lost, and every target can
    read it. What `decode` raises for other reasons passes through.
    """
    try:
        return decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return decode(_ESCAPE.sub(lambda found: b"\\" * bool(found["lone"]) + found[0], body))


_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<lone>u[dD][89a-fA-F])|.)", re.DOTALL
)


def cut_deep(body: bytes, levels: int) -> bytes:
    """Return JSON with null in place of what is nested deeper; the same object if nothing is."""
    # Each level takes two bytes at least.
    if len(body) <= 2 * levels or body.count(b"[") + body.count(b"{") <= levels:
        return body
    pieces, level, kept, begin = [], 0, 0, 0
    for token in _TOKEN.finditer(body):
        match token[0]:
            case b"[" | b"{":
                level += 1
                if level == levels + 1:
                    begin = token.start()
            case b"]" | b"}":
                if level == levels + 1:
                    pieces += [body[kept:begin], b"null"]
                    kept = token.end()
                level -= 1
    return b"".join([*pieces, body[kept:]]) if pieces else body


def parse_integer(text: str) -> int | None:
    """Return the number that ASCII digits name, or None if the text holds anything else.

    Nobody means a number that does not fit into 64 bits.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def _exact_integer(text: str) -> int | Decimal:
    return int(text) if len(text) < sys.int_info.str_digits_check_threshold else Decimal(text)
