"""Audit entries as the API sends them, and as Singer records.

The API's facts are from CaptivateIQ's published description; nothing here was seen live.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from singer_sdk import typing as th

from tap_captivateiq_audit.errors import ApiError

if TYPE_CHECKING:
    from decimal import Decimal

Json: TypeAlias = "str | int | Decimal | bool | list[Json] | dict[str, Json] | None"
Row: TypeAlias = "dict[str, Json]"

OTHERS = "additional_fields"
"""The field for what the description does not have, or has as something else."""

_OPEN = th.ObjectType(additional_properties=True)
_SINGER: dict[type, Any] = {
    str: th.StringType(),
    int: th.IntegerType(),
    list: th.ArrayType(_OPEN),
    dict: _OPEN,
}
_FIELDS: dict[str, type] = {
    "object": str,
    "organization_id": str,
    "organization_name": str,
    "user_id": str,
    "user_name": str,
    "user_email": str,
    "logged_in_user_id": str,
    "logged_in_user_name": str,
    "logged_in_user_email": str,
    "ip_address": str,
    "event_type": str,
    "version": int,
    "object_id": str,
    "object_name": str,
    "object_type": str,
    "parent_objects": list,
    "data": dict,
}

SCHEMA: dict[str, Any] = th.PropertiesList(
    th.Property("id", th.StringType, required=True),
    th.Property("created_at", th.DateTimeType, required=True),
    *(th.Property(name, _SINGER[kind]) for name, kind in _FIELDS.items()),
    th.Property(OTHERS, _OPEN),
).to_dict()


@dataclass(frozen=True, slots=True)
class Entry:
    """An audit entry: its id, its time in UTC, and all that the API sent of it."""

    id: str
    created: datetime
    row: Row


@dataclass(frozen=True, slots=True)
class Page:
    """An answer. `total` is how many entries the server counts in what was asked for."""

    entries: list[Entry]
    total: int | None
    has_next: bool


def read_page(body: object) -> Page:
    """Return an answer's body as a page.

    Raises:
        ApiError: An entry has no id or no time.
        TypeError: It is no list of entries.

    """
    rows = body.get("data") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(rows, list):
        message = "no list of entries"
        raise TypeError(message)
    total = body.get("total_count")
    is_count = isinstance(total, int) and not isinstance(total, bool) and total >= 0
    entries = [_read_entry(row) for row in rows]
    return Page(entries, total if is_count else None, has_next=bool(body.get("next")))


def time_text(time: datetime) -> str:
    """Return the one form of a UTC time that sorts as text: always six decimals and `Z`."""
    return f"{time.isoformat(timespec='microseconds')[:26]}Z"


def read_time(text: str) -> datetime:
    """Return the UTC time of an ISO 8601 text; one without a zone is taken as UTC.

    Raises:
        ValueError: It is none.

    """
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def record_of(entry: Entry) -> dict[str, Any]:
    """Return an entry as a record: what it should be, and everything else in `OTHERS`."""
    record: dict[str, Any] = {"id": entry.id, "created_at": time_text(entry.created)}
    others = {name: entry.row[name] for name in entry.row if name not in record}
    for name, kind in _FIELDS.items():
        value = entry.row.get(name)
        record[name] = others.pop(name, None) if _fits(value, kind) else None
    return record | {OTHERS: others or None}


def _fits(value: Json, kind: type) -> bool:
    if isinstance(value, list):
        return kind is list and all(isinstance(item, dict) for item in value)
    return value is None or type(value) is kind


def _read_entry(row: object) -> Entry:
    key = row.get("id") if isinstance(row, dict) else None
    if not isinstance(row, dict) or not isinstance(key, str | int) or key == "":
        message = "the API sent an entry without an id, by which it could be told from others"
        raise ApiError(message)
    try:
        created = read_time(str(row.get("created_at")))
    except (ValueError, OverflowError):
        message = f"the API sent an entry without a readable created_at: id {key}"
        raise ApiError(message) from None
    return Entry(str(key), created, row)
