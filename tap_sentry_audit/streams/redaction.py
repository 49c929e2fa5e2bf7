"""Finds secrets in records by their field's name, and masks them in place.

Sentry 23.7.1 writes these into its audit log: a project's security token (`project.edit`), the
OAuth tokens of a linked identity (`sso-identity.link`), the secret part of a DSN (`projectkey.*`)
and API keys. The notes of `project.edit`, `org.edit` and `sso.edit` repeat what `data` holds, so
a secret found there is masked in the note, too.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import TYPE_CHECKING

from tap_sentry_audit.streams.schemas import ADDITIONAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tap_sentry_audit.api.decoding import Json

_API_KEY = " (api key)"
_QUOTING = (repr, ascii, encode_basestring, encode_basestring_ascii)
_MASK = "********"
_SHOWN = 4

_SHORTEST_IN_TEXT = 2 * _SHOWN
"""Shorter values are not masked in texts: they may be parts of ordinary words."""

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
"""Fields that always hold a secret; the API calls `sentry:token` `securityToken`."""

_CUT = re.compile(r"\.\.\.|…|\Z")
"""Where a text may be cut short: Sentry's `truncatechars` puts three full stops there."""


def masked(secret: str) -> str:
    """Return asterisks and, where the secret is long enough, its last four characters."""
    return _MASK + (secret[-_SHOWN:] if len(secret) > 2 * _SHOWN else "")


def mask_fields(record: dict[str, Json]) -> list[str]:
    """Mask the values of fields with a secret's name, at any depth, and return the secrets.

    Under such a name, every string and number is masked. Objects and lists keep their shape; null,
    true, false and empty strings stay (Sentry 23.7.1 writes
    `{"secret_key": {"hidden-secret": true}}` for what it hides itself).
    """
    found: list[str] = []
    for container in _containers(record):
        if isinstance(container, dict) and not _SPELLINGS.isdisjoint(container):
            for name in [name for name in container if name in _SPELLINGS]:
                container[name] = mask_value(container[name], found)
    return found


def mask_audit_record(record: dict[str, Json]) -> None:
    """Mask the secrets of an audit record, those in its note included.

    A user or a note in a shape that this version does not know is in `additionalFields`.
    """
    found = mask_fields(record)
    event, data, aside = record["event"], record["data"], record[ADDITIONAL]
    # In other events `key` is not a secret but the name of a tag, for example.
    if isinstance(data, dict) and "key" in data and str(event).startswith("api-key."):
        data["key"] = mask_value(data["key"], found)
    _mask_api_key(record["actor"], found)
    _mask_api_key(record["targetUserDetail"], found)
    for one in _containers(aside) if isinstance(aside, dict) else ():
        _mask_api_key(one, found)
    if found:
        record["note"] = _mask_in_text(record["note"], found)
        if isinstance(aside, dict):
            _change_leaves(aside, partial(_mask_in_text, found=found))


def _mask_api_key(user: Json, found: list[str]) -> None:
    """Mask an API key in a user's name: Sentry 23.7.1 names the actor `<the key> (api key)`."""
    if isinstance(user, dict) and str(user.get("name")).endswith(_API_KEY):
        key = str(user["name"]).removesuffix(_API_KEY)
        found.append(key)
        user["name"] = masked(key) + _API_KEY


def mask_value(value: Json, found: list[str]) -> Json:
    """Return a masked value, and add its secrets to `found`; objects and lists change in place."""
    if not isinstance(value, dict | list):
        return _mask_leaf(value, found)
    _change_leaves(value, partial(_mask_leaf, found=found))
    return value


def _change_leaves(value: dict[str, Json] | list[Json], change: Callable[[Json], Json]) -> None:
    """Replace what is in an object or a list, at any depth; `change` returns containers as is."""
    for container in _containers(value):
        if isinstance(container, dict):
            container.update({name: change(one) for name, one in container.items()})
        else:
            container[:] = [change(one) for one in container]


def _mask_in_text(value: Json, found: list[str]) -> Json:
    return mask_text(value, found) if isinstance(value, str) else value


def mask_text(text: str, secrets: list[str]) -> str:
    """Return a text with secrets of at least eight characters masked.

    They are found verbatim, as Python's `repr` and as JSON write them, and cut short to
    no less than eight characters where the text ends or an ellipsis follows.
    """
    # The longest first: another one may be a part of it.
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= _SHORTEST_IN_TEXT:
            quoted = (write(secret)[1:-1] for write in _QUOTING)
            for form in sorted({secret, *quoted}, key=len, reverse=True):
                if form[:_SHORTEST_IN_TEXT] in text:
                    text = text.replace(form, masked(secret))
                    text = _mask_where_cut(text, form, masked(secret))
    return text


def _mask_where_cut(text: str, form: str, mask: str) -> str:
    """Return a text with `mask` wherever it is cut short within a secret."""
    # From the end, so that a replacement does not move the places still to come.
    for cut in reversed([found.start() for found in _CUT.finditer(text)]):
        start = text.find(form[:_SHORTEST_IN_TEXT], 0, cut)
        while start >= 0 and not form.startswith(text[start:cut]):
            start = text.find(form[:_SHORTEST_IN_TEXT], start + 1, cut)
        if start >= 0:
            text = text[:start] + mask + text[cut:]
    return text


def _mask_leaf(value: Json, found: list[str]) -> Json:
    """Return a masked string or number, and add it to `found`; return other values unchanged."""
    if value == "" or isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return value
    found.append(str(value))
    return masked(str(value))


def _containers(value: dict[str, Json] | list[Json]) -> list[dict[str, Json] | list[Json]]:
    """Return a value and all objects and lists in it.

    Every record comes through here: `isinstance` of each value would take twice as long.
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

    Sentry's log writes the first, its API the second, and users' own events any.
    """
    first, *rest = name.split("_")
    yield first + "".join(map(str.title, rest))
    for separator in ("_", "-", ""):
        yield separator.join([first, *rest])
        yield separator.join([first, *rest]).upper()
        yield separator.join(map(str.title, [first, *rest]))


_SPELLINGS = frozenset(spelling for name in _NAMES for spelling in _spellings(name))
