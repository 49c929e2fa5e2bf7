"""The audit-log endpoint: what it is asked, and its answer as a value."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tap_sentry_audit.api.decoding import decode_object, encodable
from tap_sentry_audit.api.exceptions import InvalidBodyError
from tap_sentry_audit.api.pagination import PAGE_SIZE, Cursor, Link, parse_links
from tap_sentry_audit.api.timestamps import parse_time, server_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from tap_sentry_audit.api.client import Client
    from tap_sentry_audit.api.decoding import Json

    Fetch = Callable[["Query"], "Page"]
    """Asks for a page; several threads may call it."""


class _Answer(msgspec.Struct):
    rows: list[msgspec.Raw]
    options: list[str] = []


class _Key(msgspec.Struct):
    id: str | int
    dateCreated: str  # noqa: N815  (Sentry's name)


class _Keys(msgspec.Struct):
    rows: list[_Key | None]


_answer = msgspec.json.Decoder(_Answer).decode
_keys = msgspec.json.Decoder(_Keys).decode
_raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_key_list = msgspec.json.Decoder(list[_Key | None]).decode


class Entry(NamedTuple):
    """One audit entry: `created` is its `dateCreated` in UTC, `json` what the server sent.

    The JSON stays as it came until it is needed: an entry that waits takes little memory.
    """

    created: datetime
    id: str
    json: bytes

    @property
    def row(self) -> dict[str, Json]:
        """What the server sent, every number exact."""
        return decode_object(self.json)


@dataclass(frozen=True, slots=True)
class Query:
    """One request for a page. `cursor` may also be one that the server handed out."""

    cursor: Cursor | str | None
    event: str | None = None
    actor: int | None = None

    def parameters(self) -> dict[str, str]:
        """Return the URL parameters."""
        wanted = {"cursor": self.cursor, "event": self.event, "actor": self.actor}
        return {"per_page": str(PAGE_SIZE)} | {
            name: str(value) for name, value in wanted.items() if value is not None
        }


@dataclass(frozen=True, slots=True)
class Page:
    """One answer. `entries` are oldest first; `null_rows` were lost inside the server.

    Sentry puts `null` in a row's place when it fails to serialize it (23.7.1).
    `server_time` is the server's clock (see `timestamps.server_time`).
    """

    entries: list[Entry]
    server_time: datetime
    null_rows: int = 0
    event_names: tuple[str, ...] = ()
    newer: Link | None = None
    older: Link | None = None

    @property
    def more_newer(self) -> bool:
        """Whether newer rows lie behind this page.

        Servers without a `Link` header are taken at the number of rows that they sent.
        """
        if self.newer is None:
            return len(self.entries) + self.null_rows >= PAGE_SIZE
        return self.newer.has_results


def path(organization: str) -> str:
    """Return the endpoint's path below `/api/0/`. Without its last slash it answers 404."""
    return f"organizations/{organization}/audit-logs/"


def fetch_from(client: Client, organization: str, permission: str) -> Fetch:
    """Return what asks a client for pages of an organization's log.

    `permission` says what the token and its user need, for a 403.
    """

    def fetch(query: Query) -> Page:
        return client.get(path(organization), query.parameters(), parse_page, permission)

    return fetch


def parse_page(body: bytes, headers: Mapping[str, str]) -> Page:
    """Return the page that an answer holds.

    The body is `{"rows": [...], "options": [...]}`, or a bare list of rows (before mid-2022).

    Raises:
        InvalidBodyError: The body is no JSON, or has another shape.

    """
    try:
        rows, keys, event_names = _rows(body)
        entries = [
            Entry(parse_time(key.dateCreated), str(key.id), bytes(row))
            for key, row in zip(keys, rows, strict=True)
            if key is not None
        ]
    except (OverflowError, RecursionError, ValueError) as error:
        raise InvalidBodyError(_why(error)) from None
    entries.sort(key=attrgetter("created", "id"))
    relations = parse_links(headers.get("Link", ""))
    return Page(
        entries=entries,
        null_rows=len(rows) - len(entries),
        event_names=tuple(event_names),
        newer=relations.get("previous"),
        older=relations.get("next"),
        server_time=server_time(headers),
    )


def _rows(body: bytes) -> tuple[list[msgspec.Raw], list[_Key | None], list[str]]:
    try:
        return _decoded(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return _decoded(encodable(body))


def _decoded(body: bytes) -> tuple[list[msgspec.Raw], list[_Key | None], list[str]]:
    if body.lstrip().startswith(b"["):
        return _raw_list(body), _key_list(body), []
    answer = _answer(body)
    return answer.rows, _keys(body).rows, answer.options


def _why(error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return "the body is not a list of audit entries, each with an id and a dateCreated"
    return "the body is no JSON with usable dates"
