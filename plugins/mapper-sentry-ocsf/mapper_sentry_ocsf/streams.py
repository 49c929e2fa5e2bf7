"""The streams that events go into, and their schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mapper_sentry_ocsf.events import KEY
from mapper_sentry_ocsf.table import table

if TYPE_CHECKING:
    from mapper_sentry_ocsf.config import Settings

Schema = dict[str, Any]

_KINDS: dict[str, Schema] = {
    "string": {"type": ["string", "null"]},
    "integer": {"type": ["integer", "null"]},
    # Without `properties`: flattening drops an object that has none of those.
    "object": {"type": ["object", "null"], "additionalProperties": True},
    # Without `items`: with them, some targets get the type of the items wrong.
    "array": {"type": ["array", "null"]},
}


def _field(kind: str, description: str) -> Schema:
    return _KINDS[kind] | {"description": description}


_FIELDS: dict[str, Schema] = {
    KEY: {"type": "string", "description": "The id of the entry: the key. Not part of OCSF."},
    "time": _field("integer", "When it was done: milliseconds since 1970, UTC."),
    "category_uid": _field("integer", "3."),
    "category_name": _field("string", "Identity & Access Management."),
    "class_uid": _field("integer", "3001, 3004, 3005 or 3006."),
    "class_name": _field("string", "The name of the class."),
    "activity_id": _field("integer", "What was done; its meaning depends on the class."),
    "activity_name": _field("string", "The name of the activity; our own if activity_id is 99."),
    "type_uid": _field("integer", "class_uid * 100 + activity_id."),
    "type_name": _field("string", "The names of class and activity."),
    "severity_id": _field(
        "integer", "From 1 (Informational) to 5 (Critical); severity_by_event can set 0 and 6."
    ),
    "severity": _field("string", "The name of the severity."),
    "status_id": _field("integer", "1: Sentry logs what was done, never what was refused."),
    "status": _field("string", "Success."),
    "message": _field("string", "Sentry's sentence about it."),
    "actor": _field("object", "Who did it: user, or app_name for an API key or SCIM."),
    "src_endpoint": _field("object", "Where it came from: ip."),
    "user": _field("object", "The user whom it affects."),
    "group": _field("object", "The team that it affects."),
    "privileges": _field("array", "The role and teams of a member, or the project of a team."),
    "resource": _field("object", "The project that a team gained or lost access to."),
    "entity": _field("object", "Anything else that it affects, with Sentry's data."),
    "metadata": _field("object", "The version of OCSF, and where the event comes from."),
    "unmapped": _field("object", "What has no place in OCSF, such as data."),
    "raw_data": _field("string", "The whole record, as JSON text."),
}

_OF_SOME_CLASSES = {
    "user": {3001, 3005, 3006},
    "group": {3006},
    "privileges": {3005, 3006},
    "resource": {3006},
    "entity": {3004},
}


def streams(settings: Settings) -> dict[int, str]:
    """Return the stream of each class: one for all of them, or one for each."""
    return {
        uid: f"{settings.output_stream}_{name.lower().replace(' ', '_')}"
        if settings.split_by_class
        else settings.output_stream
        for uid, name in table().classes.items()
    }


def schemas(settings: Settings) -> dict[str, Schema]:
    """Return the schema of each stream."""
    found: dict[str, set[int]] = {}
    for uid, stream in streams(settings).items():
        found.setdefault(stream, set()).add(uid)
    return {stream: _schema(classes, settings) for stream, classes in found.items()}


def _schema(classes: set[int], settings: Settings) -> Schema:
    return {
        "type": "object",
        "properties": {
            name: field
            for name, field in _FIELDS.items()
            if classes & _OF_SOME_CLASSES.get(name, classes)
            and (name != "raw_data" or settings.include_raw_data)
        },
    }
