"""What Sentry sends as Singer records: stable types, nothing dropped, secrets masked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tap_sentry_audit.api.timestamps import read_time, time_text
from tap_sentry_audit.streams.redaction import mask_fields, mask_text, mask_value, masked
from tap_sentry_audit.streams.schemas import ADDITIONAL, is_of_type, usual_type

if TYPE_CHECKING:
    from tap_sentry_audit.api.decoding import Json
    from tap_sentry_audit.api.pagination import Row
    from tap_sentry_audit.audit_log.pages import Entry
    from tap_sentry_audit.streams.schemas import Schema

Record = dict[str, "Json"]

_API_KEY = " (api key)"
_DIGITS = 20
_FIXED_WIDTH = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


def record_of(entry: Entry, organization: str, *, redact_secrets: bool) -> Record:
    """Return the record of an entry: the API's names, each with the type that SCHEMA declares.

    Fields at the root that this version does not know stay in; the SDK leaves them out of the
    message and says so.
    """
    record = entry.row
    target_user = record.get("targetUser")
    data = record.get("data")
    written = record["dateCreated"]
    record["id"] = entry.id
    record["organization"] = organization
    record["actor"] = _user(record.get("actor"))
    record["event"] = event = _text(record.get("event")) or ""
    record["ipAddress"] = _text(record.get("ipAddress"))
    record["note"] = _text(record.get("note"))
    record["targetObject"] = _integer(record.get("targetObject"))
    record["targetUser"] = _user_id(target_user)
    record["targetUserDetail"] = target_user if isinstance(target_user, dict) else None
    record["data"] = data if data is None or isinstance(data, dict) else {"value": data}
    if not _FIXED_WIDTH.fullmatch(str(written)):
        record["dateCreated"] = time_text(entry.created)
    if redact_secrets:
        _mask_secrets(event, record)
    return record


def row_record(
    row: Row, schema: Schema, organization: str, *, redact_secrets: bool = True
) -> Record:
    """Return the record of a plain row: the API's names, each with the type that `schema` declares.

    What does not fit, or is not declared, goes into `additionalFields`: nothing is dropped.
    What is nested in the row is masked in place.
    """
    properties = schema["properties"]
    record: Record = {}
    additional: Record = {}
    for name, value in row.items():
        if name not in properties or name in {"organization", ADDITIONAL}:
            additional[name] = value
            continue
        fitted = _fitted(value, properties[name])
        record[name] = fitted
        if fitted is None and value is not None:
            additional[name] = value
    record["organization"] = organization
    record[ADDITIONAL] = additional or None
    if redact_secrets:
        mask_fields(record)
    return record


def _fitted(value: Json, declared: Schema) -> Json:
    """Return a value as its type is declared, or nothing if it is of another."""
    if declared.get("format") == "date-time":
        return _time(value)
    kind = usual_type(declared)
    match kind:
        case "string" if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        case "integer" if not _is_int64(value):
            return None
    return value if kind is not None and is_of_type(value, kind) else None


def _is_int64(value: Json) -> bool:
    """Whether a database's integer can hold a value."""
    return isinstance(value, int) and -(2**63) <= value < 2**63


def _time(value: Json) -> str | None:
    try:
        return time_text(read_time(value)) if isinstance(value, str) else None
    except (OverflowError, ValueError):
        return None


def _user(value: Json) -> Record | None:
    if value is None or isinstance(value, dict):
        return value
    return {"name": value} if isinstance(value, str) else {"id": value}


def _user_id(value: Json) -> str | None:
    """Return a user's id, from an object, a number or a text (all three seen)."""
    return _text(value.get("id") if isinstance(value, dict) else value)


def _text(value: Json) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def _integer(value: Json) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _DIGITS:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _mask_secrets(event: str, record: Record) -> None:
    """Mask the secrets of an audit entry, wherever they stand in it, its note included."""
    found = mask_fields(record)
    data = record["data"]
    # Other events' `key` is no secret: a tag's name, say.
    if isinstance(data, dict) and "key" in data and event.startswith("api-key."):
        data["key"] = mask_value(data["key"], found)
    _mask_api_key(record["actor"], found)
    _mask_api_key(record["targetUserDetail"], found)
    note = record["note"]
    if found and isinstance(note, str):
        record["note"] = mask_text(note, found)


def _mask_api_key(user: Json, found: list[str]) -> None:
    """Mask an API key in a user's name: Sentry 23.7.1 names the actor `<the key> (api key)`."""
    if isinstance(user, dict):
        name = user.get("name")
        if isinstance(name, str) and name.endswith(_API_KEY):
            key = name.removesuffix(_API_KEY)
            found.append(key)
            user["name"] = masked(key) + _API_KEY
