"""The JSON schemas of records.

They follow a record of sentry.io and recorded answers of Sentry 23.7.1. A root field has one type.
A nested field is declared with the type seen there, followed by every other: a target must not fail
because Sentry changed something deep inside a user.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tap_sentry_audit.config import Schema

ORGANIZATION = "organization"
"""The field with the slug of the organization that a record was read from."""

ADDITIONAL = "additionalFields"
"""The field for values that this version does not know or whose type is not the declared one."""

_PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float, Decimal),
    "boolean": bool,
    "array": list,
    "object": dict,
}


def types_of(field: Schema) -> list[str]:
    """Return a field's declared types without null, the usual one first."""
    types = field.get("type", [])
    return [one for one in ([types] if isinstance(types, str) else types) if one != "null"]


def usual_type(field: Schema) -> str | None:
    """Return the first of a field's types, or None if it declares none."""
    return next(iter(types_of(field)), None)


def is_of_type(value: object, kind: str) -> bool:
    """Whether a JSON value is of a type, given by its JSON schema name."""
    return isinstance(value, _PYTHON_TYPES[kind]) and (
        kind == "boolean" or not isinstance(value, bool)
    )


def _nested(usual: str, description: str) -> Schema:
    others = [name for name in (*_PYTHON_TYPES, "null") if name != usual]
    return {"type": [usual, *others], "description": description}


_USER: dict[str, Schema] = {
    "id": _nested("string", "The user's id."),
    "name": _nested(
        "string", "Full name; the only field if it is an API key, SCIM, or a deleted user."
    ),
    "username": _nested("string", "Login name."),
    "email": _nested("string", "Primary email address."),
    "avatarUrl": _nested("string", "URL of the user's picture."),
    "isActive": _nested("boolean", "Whether the account is active."),
    "hasPasswordAuth": _nested("boolean", "Whether the user can log in with a password."),
    "isManaged": _nested("boolean", "Whether the organization manages the account."),
    "dateJoined": _nested("string", "When the account was created."),
    "lastLogin": _nested("string", "When the user last logged in."),
    "has2fa": _nested("boolean", "Whether a second factor is set up."),
    "lastActive": _nested("string", "When the user was last seen."),
    "isSuperuser": _nested(
        "boolean", "Whether the user is a superuser, who may do anything on the server."
    ),
    "isStaff": _nested("boolean", "Whether the user is on the staff of the server."),
    "experiments": _nested("object", "Sentry's own experiments."),
    "emails": _nested("array", "All email addresses, each with id, email, and is_verified."),
    "avatar": _nested("object", "avatarType, avatarUuid, and avatarUrl."),
    "flags": _nested("object", "Only in the entries of the token's own user."),
    "identities": _nested("array", "Only in the entries of the token's own user."),
    "options": _nested("object", "Only in the entries of the token's own user."),
}


_KINDS: dict[str, Schema] = {
    "string": {"type": ["string", "null"]},
    "integer": {"type": ["integer", "null"]},
    "boolean": {"type": ["boolean", "null"]},
    # Without `properties`: flattening, the tap's or a target's, drops an object that has none.
    "object": {"type": ["object", "null"], "additionalProperties": True},
    # Without `items`: with them, one target or another takes the items for another type.
    "array": {"type": ["array", "null"]},
    "time": {"type": ["string", "null"], "format": "date-time"},
}


def _field(kind: str, description: str) -> Schema:
    return _KINDS[kind] | {"description": description}


def _required(kind: str, description: str) -> Schema:
    return _field(kind, description) | {"type": "string"}


def _user(description: str) -> Schema:
    return {
        "type": ["object", "null"],
        "properties": _USER,
        "additionalProperties": True,
        "description": description,
    }


_ADDITIONAL_FIELDS = _field(
    "object", "Fields that this version of the tap does not know, under Sentry's names."
)

AUDIT_LOGS: Schema = {
    "type": "object",
    "properties": {
        "id": _required("string", "The entry's id, unique in the organization."),
        ORGANIZATION: _required(
            "string", "The slug of the organization that the entry was read from."
        ),
        "actor": _user(
            "Who did it, as Sentry knows the user today: the same entry can differ when it is "
            "read again. Only a name if it was an API key, SCIM, or a user deleted since.",
        ),
        "event": _required("string", "What was done, such as member.invite."),
        "ipAddress": _field("string", "The address it was done from, IPv4 or IPv6."),
        "note": _field(
            "string", "What was done, as a sentence; empty if Sentry could not make one."
        ),
        "targetObject": _field(
            "integer", "The id of the object it was done to; can exceed 32 bits."
        ),
        "targetUser": _field("string", "The id of the user it was done to."),
        "targetUserDetail": _user("The same user in full, if Sentry sends more than the id."),
        "data": _field("object", "Details; their shape depends on the event."),
        "dateCreated": _required("time", "When it was done: UTC, always with six decimals and Z."),
        ADDITIONAL: _ADDITIONAL_FIELDS,
    },
}


def schema_of(**names: str) -> Schema:
    """Return the schema of a plain row from its field names, separated by blanks, for each kind.

    Kinds are `string`, `integer`, `boolean`, `object`, `array` and `time`. The first string is the
    key; all other fields can be null. What fields hold inside is open.
    """
    properties = {name: _KINDS[kind] for kind, text in names.items() for name in text.split()}
    key = names["string"].split()[0]
    properties[key] = {"type": "string"}
    properties[ORGANIZATION] = _required(
        "string", "The slug of the organization that it was read from."
    )
    properties[ADDITIONAL] = _ADDITIONAL_FIELDS
    return {"type": "object", "properties": properties}
