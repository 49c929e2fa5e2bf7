"""Secrets in records: found by the name of their field, masked in place.

Sentry 23.7.1 writes some into its audit log: a project's security token (`project.edit`), the
OAuth tokens of a linked identity (`sso-identity.link`), the secret part of a DSN (`projectkey.*`)
and API keys. The notes of `project.edit`, `org.edit` and `sso.edit` repeat what `data` holds, so
a secret found there is masked in the note as well.
"""

from __future__ import annotations

import re
from decimal import Decimal
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_sentry_audit.api.decoding import Json

_API_KEY = " (api key)"
_MASK = "********"
_SHOWN = 4

_SHORTEST_IN_TEXT = 2 * _SHOWN
"""Shorter values are not looked for in a text: they may be parts of ordinary words."""

_NAMES = (
    "token",
    "sentry:token",
    "security_token",
    "access_token",
    "refresh_token",
    "id_token",
    "client_secret",
    "secret",
    "secret_key",
    "password",
    "private_key",
)
"""Fields that hold a secret, whatever they are in; the API calls `sentry:token` `securityToken`."""

_WHERE_A_TEXT_IS_CUT = re.compile(r"\.\.\.|…|\Z")
"""Sentry's `truncatechars` ends a text that it cuts with three full stops."""


def masked(secret: str) -> str:
    """Return what tells a secret from others without giving it away: its last four characters."""
    return _MASK + (secret[-_SHOWN:] if len(secret) > 2 * _SHOWN else "")


def mask_fields(record: dict[str, Json]) -> list[str]:
    """Mask what the fields with a secret's name hold, at any depth, and return what they held.

    Below such a name every text and number is masked; objects and lists keep their shape, and
    what can be no secret stays: null, true, false, an empty text (Sentry 23.7.1 writes
    `{"secret_key": {"hidden-secret": true}}` for what it hides itself).
    """
    found: list[str] = []
    for container in _containers(record):
        if isinstance(container, dict) and not _SPELLINGS.isdisjoint(container):
            for name in [name for name in container if name in _SPELLINGS]:
                container[name] = mask_value(container[name], found)
    return found


def mask_audit_record(record: dict[str, Json]) -> None:
    """Mask the secrets of an audit record, wherever they stand in it, its note included."""
    found = mask_fields(record)
    event, data, note = record["event"], record["data"], record["note"]
    # Other events' `key` is no secret: a tag's name, say.
    if isinstance(data, dict) and "key" in data and str(event).startswith("api-key."):
        data["key"] = mask_value(data["key"], found)
    _mask_api_key(record["actor"], found)
    _mask_api_key(record["targetUserDetail"], found)
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


def mask_value(value: Json, found: list[str]) -> Json:
    """Return a secret masked and put it into `found`; an object or a list is changed in place."""
    if not isinstance(value, dict | list):
        return _mask_leaf(value, found)
    for container in _containers(value):
        if isinstance(container, dict):
            container.update({name: _mask_leaf(one, found) for name, one in container.items()})
        else:
            container[:] = [_mask_leaf(one, found) for one in container]
    return value


def mask_text(text: str, secrets: list[str]) -> str:
    """Return a text with secrets of at least eight characters masked.

    They are found as they are, as Python's `repr` and as JSON write them, and cut short to
    no less than eight characters where the text ends or an ellipsis follows.
    """
    # The longest first: another one may be a part of it.
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= _SHORTEST_IN_TEXT:
            text = _without(secret, text)
    return text


def _without(secret: str, text: str) -> str:
    json = encode_basestring(secret), encode_basestring_ascii(secret)
    quoted = repr(secret), ascii(secret), *json
    for form in sorted({secret, *(one[1:-1] for one in quoted)}, key=len, reverse=True):
        if form[:_SHORTEST_IN_TEXT] in text:
            text = _without_cut(form, masked(secret), text.replace(form, masked(secret)))
    return text


def _without_cut(form: str, mask: str, text: str) -> str:
    """Return a text with `mask` where it breaks off within a secret, as it does or by ellipsis."""
    # From the end, so that what is replaced moves no place that is still to come.
    for cut in reversed([found.start() for found in _WHERE_A_TEXT_IS_CUT.finditer(text)]):
        start = text.find(form[:_SHORTEST_IN_TEXT], 0, cut)
        while start >= 0 and not form.startswith(text[start:cut]):
            start = text.find(form[:_SHORTEST_IN_TEXT], start + 1, cut)
        if start >= 0:
            text = text[:start] + mask + text[cut:]
    return text


def _mask_leaf(value: Json, found: list[str]) -> Json:
    """Return a text or a number masked and put it into `found`; return all else as it is."""
    if value == "" or isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return value
    found.append(str(value))
    return masked(str(value))


def _containers(value: dict[str, Json] | list[Json]) -> list[dict[str, Json] | list[Json]]:
    """Return a value and all objects and lists in it.

    Every record is walked through like this: `isinstance` and a generator would take twice as long.
    """
    found = [value]
    for container in found:  # which grows meanwhile
        for one in container if isinstance(container, list) else container.values():
            kind = type(one)
            if kind is dict or kind is list:
                found.append(one)  # type: ignore[arg-type]  # mypy does not narrow by `kind`
    return found


def _spellings(name: str) -> Iterator[str]:
    """Yield `access_token`, `accessToken`, `AccessToken`, `ACCESS_TOKEN` and their like.

    Sentry's log writes the first and its API the second; users' own events write any.
    """
    first, *rest = name.split("_")
    yield first + "".join(map(str.title, rest))
    for separator in ("_", "-", ""):
        yield separator.join([first, *rest])
        yield separator.join([first, *rest]).upper()
        yield separator.join(map(str.title, [first, *rest]))


_SPELLINGS = frozenset(spelling for name in _NAMES for spelling in _spellings(name))
