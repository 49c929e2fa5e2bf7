"""The audit-log endpoint: its queries and its pages."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tap_sentry_audit.api.decoding import decode_escaped, decode_object
from tap_sentry_audit.api.exceptions import InvalidBodyError
from tap_sentry_audit.api.pagination import PAGE_SIZE, Cursor, Link, parse_links
from tap_sentry_audit.api.timestamps import parse_time, server_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from tap_sentry_audit.api.client import Client
    from tap_sentry_audit.api.concurrency import Attempt
    from tap_sentry_audit.api.decoding import Json

    Fetch = Callable[["Query"], "Page"]
    """Fetches a page; several threads may call it."""


class _Answer(msgspec.Struct):
    rows: list[msgspec.Raw]
    options: list[str] = []


class _Key(msgspec.Struct):
    id: str | int
    dateCreated: str  # noqa: N815  (Sentry's name)


class _Keys(msgspec.Struct):
    rows: list[_Key | None]


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_keys = msgspec.json.Decoder(_Keys).decode
_decode_raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_key_list = msgspec.json.Decoder(list[_Key | None]).decode


class Entry(NamedTuple):
    """One audit entry: `created` is its `dateCreated` in UTC, `json` is what the server sent.

    The JSON is decoded only on demand, so that entries that wait take little memory.
    """

    created: datetime
    id: str
    json: bytes

    @property
    def row(self) -> dict[str, Json]:
        """The entry as a dictionary, every number exact."""
        return decode_object(self.json)


@dataclass(frozen=True, slots=True)
class Query:
    """A request for a page. A `cursor` of type `str` is one that the server handed out."""

    cursor: Cursor | str | None
    event: str | None = None
    actor: int | None = None

    def parameters(self) -> dict[str, str]:
        """Return the URL parameters."""
        filters = {"cursor": self.cursor, "event": self.event, "actor": self.actor}
        return {"per_page": str(PAGE_SIZE)} | {
            name: str(value) for name, value in filters.items() if value is not None
        }


@dataclass(frozen=True, slots=True)
class Page:
    """One page, its `entries` oldest first. `server_time` is as in `timestamps.server_time`.

    `null_rows` counts the rows that Sentry failed to serialize: it sends `null` in their place
    (23.7.1).
    """

    entries: list[Entry]
    server_time: datetime
    null_rows: int = 0
    event_names: tuple[str, ...] = ()
    newer: Link | None = None
    older: Link | None = None

    @property
    def more_newer(self) -> bool:
        """Whether newer rows follow; without a `Link` header, a full page means that they do."""
        if self.newer is None:
            return len(self.entries) + self.null_rows >= PAGE_SIZE
        return self.newer.has_results


def path(organization: str) -> str:
    """Return the endpoint's path below `/api/0/`; without the trailing slash it answers 404."""
    return f"organizations/{organization}/audit-logs/"


def fetch_from(
    client: Client, organization: str, permission: str, attempt: Attempt = nullcontext
) -> Fetch:
    """Return an organization's `Fetch`; `permission` and `attempt` are as in `Client.get`."""

    def fetch(query: Query) -> Page:
        parameters = query.parameters()
        return client.get(path(organization), parameters, parse_page, permission, attempt=attempt)

    return fetch


def parse_page(body: bytes, headers: Mapping[str, str]) -> Page:
    """Parse a response of the audit-log endpoint.

    The body is `{"rows": [...], "options": [...]}`, or a bare list of rows (before mid-2022).

    Raises:
        InvalidBodyError: The body is not JSON, or has another shape.

    """
    try:
        rows, keys, event_names = decode_escaped(_decode, body)
        entries = [
            Entry(parse_time(key.dateCreated), str(key.id), bytes(row))
            for key, row in zip(keys, rows, strict=True)
            if key is not None
        ]
    except msgspec.ValidationError:
        message = "the body is not a list of audit entries, each with an id and a dateCreated"
        raise InvalidBodyError(message) from None
    except (OverflowError, RecursionError, ValueError):
        message = "the body is no JSON with usable dates"
        raise InvalidBodyError(message) from None
    entries.sort(key=attrgetter("created", "id"))
    links = parse_links(headers.get("Link", ""))
    return Page(
        entries=entries,
        null_rows=len(rows) - len(entries),
        event_names=tuple(event_names),
        newer=links.get("previous"),
        older=links.get("next"),
        server_time=server_time(headers),
    )


def _decode(body: bytes) -> tuple[list[msgspec.Raw], list[_Key | None], list[str]]:
    if body.lstrip().startswith(b"["):
        return _decode_raw_list(body), _decode_key_list(body), []
    answer = _decode_answer(body)
    return answer.rows, _decode_keys(body).rows, answer.options
