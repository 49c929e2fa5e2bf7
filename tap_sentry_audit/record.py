"""An audit entry as a Singer record: stable types, nothing of Sentry's dropped, secrets masked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tap_sentry_audit.pages import created_text

if TYPE_CHECKING:
    from tap_sentry_audit.pages import Entry, Json

Record = dict[str, "Json"]

_API_KEY = " (api key)"
_MASK = "********"
_SHOWN = 4


def record_of(entry: Entry, organization: str, *, redact_secrets: bool) -> Record:
    """Return the record of an entry: the API's names, each with the type that SCHEMA declares.

    Fields at the root that this version does not know stay in; the SDK leaves them out of the
    message and says so.
    """
    row = entry.row
    event = _text(row.get("event")) or ""
    actor = _user(row.get("actor"))
    target_user = row.get("targetUser")
    target_user_detail = target_user if isinstance(target_user, dict) else None
    data = row.get("data")
    if data is not None and not isinstance(data, dict):
        data = {"value": data}
    if redact_secrets:
        actor = _without_api_key(actor)
        target_user_detail = _without_api_key(target_user_detail)
        data = _without_secrets(event, data)
    return {
        **row,
        "id": entry.id,
        "organization": organization,
        "actor": actor,
        "event": event,
        "ipAddress": _text(row.get("ipAddress")),
        "note": _text(row.get("note")),
        "targetObject": _integer(row.get("targetObject")),
        "targetUser": _user_id(target_user),
        "targetUserDetail": target_user_detail,
        "data": data,
        "dateCreated": created_text(entry.created),
    }


def masked(secret: str) -> str:
    """Return what tells a secret from others without giving it away: its last four characters."""
    return _MASK + (secret[-_SHOWN:] if len(secret) > 2 * _SHOWN else "")


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
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _without_api_key(user: Record | None) -> Record | None:
    """Mask an API key in a user's name: Sentry 23.7.1 names the actor `<the key> (api key)`."""
    name = user.get("name") if user else None
    if user is None or not isinstance(name, str) or not name.endswith(_API_KEY):
        return user
    return {**user, "name": masked(name.removesuffix(_API_KEY)) + _API_KEY}


def _without_secrets(event: str, data: Record | None) -> Record | None:
    """Mask `secret_key` (`projectkey.*`) and the `key` of `api-key.*` (Sentry 23.7.1).

    Other events' `key` is no secret: a tag's name, say.
    """
    if not data:
        return data
    names = ("secret_key", "key") if event.startswith("api-key.") else ("secret_key",)
    found = {name: masked(str(data[name])) for name in names if data.get(name) is not None}
    return {**data, **found} if found else data
