"""Audit entries as Singer records, and the schema of the records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from singer_sdk import typing as th

from tap_captivateiq_audit.entries import time_text

if TYPE_CHECKING:
    from tap_captivateiq_audit.entries import Entry, Json

ADDITIONAL_FIELDS = "additional_fields"
"""The field for what the description does not have, or has with another type."""

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
    th.Property(ADDITIONAL_FIELDS, _OPEN),
).to_dict()


class EntryRecord(dict[str, Any]):
    """A record that knows its entry: the SDK takes out of it what a catalog deselects."""

    def __init__(self, entry: Entry) -> None:
        """Make the record; what does not fit the schema goes to `ADDITIONAL_FIELDS`."""
        super().__init__(id=entry.id, created_at=time_text(entry.created))
        self.entry = entry
        others = {name: entry.row[name] for name in entry.row if name not in self}
        for name, kind in _FIELDS.items():
            value = entry.row.get(name)
            self[name] = others.pop(name, None) if _fits(value, kind) else None
        self[ADDITIONAL_FIELDS] = others or None


def _fits(value: Json, kind: type) -> bool:
    if isinstance(value, list):
        return kind is list and all(isinstance(item, dict) for item in value)
    return value is None or type(value) is kind
