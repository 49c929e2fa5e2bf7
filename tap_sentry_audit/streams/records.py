"""Turns Sentry's rows into Singer records: stable types, nothing dropped."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from tap_sentry_audit.api.timestamps import format_time, parse_time
from tap_sentry_audit.streams.schemas import (
    ADDITIONAL,
    AUDIT_LOGS,
    ORGANIZATION,
    is_of_type,
    types_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tap_sentry_audit.api.decoding import Json
    from tap_sentry_audit.config import Schema

    Fit = Callable[[Json], Json]
    """Returns a value in its field's declared type, or None if it does not fit."""

Record = dict[str, "Json"]

_INTEGER = re.compile(r"\d{1,19}", re.ASCII)  # more digits do not fit into 64 bits
_FIXED_WIDTH = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


def make_record(row: Record, fits: Mapping[str, Fit], organization: str) -> Record:
    """Turn a row into a record in place: the API's names, each with its declared type.

    Values that do not fit and fields that are not declared go into `additionalFields`. `fits`
    comes from `fits_of`.
    """
    additional: Record = {}
    for name, value in list(row.items()):
        fit = fits.get(name)
        if fit is None:
            additional[name] = row.pop(name)
            continue
        fitted = fit(value)
        if fitted is not value:
            row[name] = fitted
            if fitted is None:
                additional[name] = value
    row[ORGANIZATION] = organization
    row[ADDITIONAL] = additional or None
    return row


def make_audit_record(row: Record, organization: str) -> Record:
    """Turn an audit entry into a record in place, with every field of the schema.

    Sentry sends a target user as an object, a number or a string (all three seen).
    """
    user = row.get("targetUser")
    detail = user if isinstance(user, dict) else None
    if detail is not None:
        row["targetUser"] = detail.get("id")
    record = make_record(row, _AUDIT_FITS, organization)
    record["targetUserDetail"] = detail
    for name, default in _AUDIT_DEFAULTS.items():
        if record.get(name) is None:
            record[name] = default
    return record


def fits_of(schema: Schema) -> dict[str, Fit]:
    """Return, for each of Sentry's own fields, what brings a value to its declared type."""
    return {
        name: _fit_of(field)
        for name, field in schema["properties"].items()
        if name not in {ORGANIZATION, ADDITIONAL}
    }


def _fit_of(field: Schema) -> Fit:
    kind = types_of(field)[0]
    fit = _FITS.get(field.get("format", kind))
    return fit or (lambda value: value if is_of_type(value, kind) else None)


def _string(value: Json) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else None


def _int64(value: Json) -> int | None:
    """Return an integer that databases can hold."""
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def _time(value: Json) -> str | None:
    try:
        return format_time(parse_time(value)) if isinstance(value, str) else None
    except (OverflowError, ValueError):
        return None


def _parsed_time(value: Json) -> str | None:
    """Return a time that was parsed before, so only its form can be wrong."""
    if isinstance(value, str) and _FIXED_WIDTH.fullmatch(value):
        return value
    return _time(value)


def _text(value: Json) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value) if type(value) is int or isinstance(value, Decimal) else None


def _user(value: Json) -> Record | None:
    if value is None or isinstance(value, dict):
        return value
    return {"name": value} if isinstance(value, str) else {"id": value}


def _object(value: Json) -> Record | None:
    return value if value is None or isinstance(value, dict) else {"value": value}


def _integer(value: Json) -> int | None:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return value if type(value) is int else None


_FITS: dict[str, Fit] = {"date-time": _time, "string": _string, "integer": _int64}

_AUDIT_FITS: dict[str, Fit] = {
    "id": _text,
    "actor": _user,
    "event": _text,
    "ipAddress": _text,
    "note": _text,
    "targetObject": _integer,
    "targetUser": _text,
    "data": _object,
    "dateCreated": _parsed_time,
}
"""Looser than `_FITS`: they also convert the other types that Sentry has sent in these fields."""

_AUDIT_DEFAULTS: Record = dict.fromkeys(AUDIT_LOGS["properties"]) | {"event": ""}
