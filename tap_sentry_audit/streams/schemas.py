"""The JSON schemas of records.

Declared from a record of sentry.io and the recorded answers of Sentry 23.7.1. Root fields have
one type each. Nested ones are declared by the type they had, and every other is let through: a
target must not fail because Sentry changed something deep inside a user.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tap_sentry_audit.config import Schema

ORGANIZATION = "organization"
"""Where a record names the slug of the organization that it was read from."""

ADDITIONAL = "additionalFields"
"""Where fields go that this version does not know, or that are of another type than declared."""

_TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")


_PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float, Decimal),
    "boolean": bool,
    "object": dict,
    "array": list,
}


def types_of(field: Schema) -> list[str]:
    """Return the types that a field is declared with, the usual one first, null left out."""
    types = field.get("type", [])
    return [one for one in ([types] if isinstance(types, str) else types) if one != "null"]


def usual_type(field: Schema) -> str | None:
    """Return the first of a field's types, or nothing if it is declared without any."""
    return next(iter(types_of(field)), None)


def is_of_type(value: object, kind: str) -> bool:
    """Whether a JSON value is of a type, by its JSON schema name."""
    return isinstance(value, _PYTHON_TYPES[kind]) and (
        kind == "boolean" or not isinstance(value, bool)
    )


def _nested(usual: str, description: str) -> Schema:
    return {
        "type": [usual, *(name for name in _TYPES if name != usual)],
        "description": description,
    }


_USER: dict[str, Schema] = {
    "id": _nested("string", "The user's id."),
    "name": _nested("string", "Full name; for an API key, SCIM or a deleted user all there is."),
    "username": _nested("string", "Login name."),
    "email": _nested("string", "Primary address."),
    "avatarUrl": _nested("string", "Where the picture is."),
    "isActive": _nested("boolean", "Whether the account is active."),
    "hasPasswordAuth": _nested("boolean", "Whether the user can log in with a password."),
    "isManaged": _nested("boolean", "Whether the organization manages the account."),
    "dateJoined": _nested("string", "When the account was made."),
    "lastLogin": _nested("string", "When the user last logged in."),
    "has2fa": _nested("boolean", "Whether a second factor is set up."),
    "lastActive": _nested("string", "When the user was last seen."),
    "isSuperuser": _nested("boolean", "Whether the user may do everything on the server."),
    "isStaff": _nested("boolean", "Whether the user is the server's staff."),
    "experiments": _nested("object", "Sentry's own experiments."),
    "emails": _nested("array", "All addresses, each with id, email and is_verified."),
    "avatar": _nested("object", "avatarType, avatarUuid and avatarUrl."),
    "flags": _nested("object", "Only in the entries of the token's own user."),
    "identities": _nested("array", "Only in the entries of the token's own user."),
    "options": _nested("object", "Only in the entries of the token's own user."),
}


def _user(description: str) -> Schema:
    return {
        "type": ["object", "null"],
        "properties": _USER,
        "additionalProperties": True,
        "description": description,
    }


_KINDS: dict[str, Schema] = {
    "string": {"type": ["string", "null"]},
    "integer": {"type": ["integer", "null"]},
    "boolean": {"type": ["boolean", "null"]},
    # Without `properties`: whoever flattens, the tap or a target, drops an object that has none.
    "object": {"type": ["object", "null"], "additionalProperties": True},
    # Without `items`: any other way some target takes the inner values for another type.
    "array": {"type": ["array", "null"]},
    "time": {"type": ["string", "null"], "format": "date-time"},
}

_ADDITIONAL_FIELDS: Schema = _KINDS["object"] | {
    "description": "What this version of the tap does not know, by Sentry's names.",
}


AUDIT_LOGS: Schema = {
    "type": "object",
    "properties": {
        "id": {
            "type": "string",
            "description": "The entry's id, unique in the organization.",
        },
        ORGANIZATION: {
            "type": "string",
            "description": "The slug the entry was read from.",
        },
        "actor": _user(
            "Who did it, as Sentry knows the user today: the same entry can differ on a later "
            "read. Only a name where it was an API key, SCIM or a user since deleted.",
        ),
        "event": {
            "type": "string",
            "description": "What was done, such as member.invite.",
        },
        "ipAddress": {
            "type": ["string", "null"],
            "description": "From where; IPv4 or IPv6.",
        },
        "note": {
            "type": ["string", "null"],
            "description": "A sentence; empty where Sentry could not make one.",
        },
        "targetObject": {
            "type": ["integer", "null"],
            "description": "The id of what it was done to; can exceed 32 bits.",
        },
        "targetUser": {
            "type": ["string", "null"],
            "description": "The id of the user whom it was done to.",
        },
        "targetUserDetail": _user("That user in full, where Sentry sends more than the id."),
        "data": {
            "type": ["object", "null"],
            "additionalProperties": True,
            "description": "What else Sentry noted; its shape depends on the event.",
        },
        "dateCreated": {
            "type": "string",
            "format": "date-time",
            "description": "When it was done: UTC, always six decimals and Z.",
        },
        ADDITIONAL: _ADDITIONAL_FIELDS,
    },
}


def schema_of(**names: str) -> Schema:
    """Return the schema of a plain row: for each kind its fields, separated by blanks.

    Kinds are `string`, `integer`, `boolean`, `object`, `array` and `time`. All but the first
    string, the key, can be null, and what the fields hold inside is open.
    """
    properties = {name: _KINDS[kind] for kind, text in names.items() for name in text.split()}
    key = names["string"].split()[0]
    properties[key] = {"type": "string"}
    properties[ORGANIZATION] = {
        "type": "string",
        "description": "The slug of the organization that it was read from.",
    }
    properties[ADDITIONAL] = _ADDITIONAL_FIELDS
    return {"type": "object", "properties": properties}
