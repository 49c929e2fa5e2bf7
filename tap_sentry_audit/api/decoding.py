"""JSON as Sentry sends it, every value exact."""

from __future__ import annotations

import json
import re
import sys
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from tap_sentry_audit.api.exceptions import InvalidBodyError

Json: TypeAlias = "str | int | float | Decimal | bool | list[Json] | dict[str, Json] | None"

_decode_object = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def decode_object(body: bytes) -> dict[str, Json]:
    """Return a JSON object, numbers as integers and decimals.

    Raises:
        ValueError: It is none.

    """
    try:
        return _decode_object(body)
    except msgspec.ValidationError:
        # An integer of thousands of digits, or no object.
        found: Json = json.loads(body, parse_float=Decimal, parse_int=_integer)
        if isinstance(found, dict):
            return found
        raise


def decode_objects(body: bytes) -> list[dict[str, Json] | None]:
    """Return a JSON list of objects and nulls; lone surrogates become text.

    Raises:
        InvalidBodyError: It is none.

    """
    try:
        try:
            rows = _decode_list(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            rows = _decode_list(encodable(body))
        return [None if bytes(row) == b"null" else decode_object(bytes(row)) for row in rows]
    except (RecursionError, ValueError):
        message = "the body is not a list of objects"
        raise InvalidBodyError(message) from None


def encodable(body: bytes) -> bytes:
    r"""Return the JSON with lone surrogates as text (`\\ud800`).

    JSON can name them, but UTF-8 cannot carry them: so nothing is lost, and every target can
    read it.
    """
    return _ESCAPE.sub(lambda found: b"\\" * bool(found["lone"]) + found[0], body)


_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<lone>u[dD][89a-fA-F])|.)", re.DOTALL
)


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) < sys.int_info.str_digits_check_threshold else Decimal(text)
