"""The audit-log endpoint: its queries and its pages."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tap_sentry_audit.api.decoding import cut_deep, decode_escaped, decode_object
from tap_sentry_audit.api.exceptions import InvalidBodyError
from tap_sentry_audit.api.pagination import PAGE_SIZE, Cursor, Link, parse_links
from tap_sentry_audit.api.timestamps import format_time, parse_row_time, server_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from tap_sentry_audit.api.client import Client
    from tap_sentry_audit.api.concurrency import Attempt
    from tap_sentry_audit.api.decoding import Json

    Fetch = Callable[["Query"], "Page"]
    """Fetches a page; several threads may call it."""


MOST_LEVELS = 700
"""How deep a row may be nested. Whoever decodes or encodes it recurses, in Python 1,000 times."""


class _Answer(msgspec.Struct):
    rows: list[msgspec.Raw]
    options: msgspec.Raw = msgspec.Raw(b"[]")


class _Key(msgspec.Struct):
    id: str | int
    dateCreated: str  # noqa: N815  (Sentry's name)


class _Keys(msgspec.Struct):
    rows: list[_Key | None]


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_keys = msgspec.json.Decoder(_Keys).decode
_decode_raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_key_list = msgspec.json.Decoder(list[_Key | None]).decode
_decode_key = msgspec.json.Decoder(_Key | None).decode
_decode_values = msgspec.json.Decoder(list[Any]).decode


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
    """A request for a page of at most so many `rows`.

    A `cursor` of type `str` is one that the server handed out.
    """

    cursor: Cursor | str | None
    event: str | None = None
    actor: int | None = None
    rows: int = PAGE_SIZE

    def parameters(self) -> dict[str, str]:
        """Return the URL parameters."""
        filters = {"cursor": self.cursor, "event": self.event, "actor": self.actor}
        return {"per_page": str(self.rows)} | {
            name: str(value) for name, value in filters.items() if value is not None
        }


@dataclass(frozen=True, slots=True)
class Page:
    """One page, its `entries` oldest first. `server_time` is as in `timestamps.server_time`.

    `null_rows` counts the rows that hold no entry: those that Sentry failed to serialize, for which
    it sends `null` (23.7.1), and `odd_rows`, which lack a usable id or time.
    `page_size` is how many rows a full page has, as far as that is known: a server may have other
    ideas of it.
    """

    entries: list[Entry]
    server_time: datetime
    null_rows: int = 0
    odd_rows: tuple[bytes, ...] = ()
    event_names: tuple[str, ...] = ()
    newer: Link | None = None
    older: Link | None = None
    page_size: int = PAGE_SIZE

    @property
    def rows(self) -> int:
        """How many rows the page has, with or without an entry."""
        return len(self.entries) + self.null_rows

    @property
    def more_newer(self) -> bool:
        """Whether newer rows follow; without a `Link` header, a full page means that they do."""
        return self.newer.has_results if self.newer else self.is_full

    @property
    def more_older(self) -> bool:
        """Whether older rows follow; without a `Link` header, a full page means that they do."""
        return self.older.has_results if self.older else self.is_full

    @property
    def is_full(self) -> bool:
        """Whether the page has as many rows as any that the server has sent, or `PAGE_SIZE`."""
        return self.rows >= self.page_size


def path(organization: str) -> str:
    """Return the endpoint's path below `/api/0/`; without the trailing slash it answers 404."""
    return f"organizations/{organization}/audit-logs/"


def fetch_from(
    client: Client,
    organization: str,
    *,
    on_odd_rows: Callable[[str], None] | None = None,
    attempt: Attempt = nullcontext,
) -> Fetch:
    """Return an organization's `Fetch`; `attempt` is as in `Client.get`.

    `on_odd_rows` is called with a sentence for each page that has odd rows which no page before it
    had, by whichever thread fetches it.
    """
    known: Counter[int] = Counter()
    widest = 1
    lock = threading.Lock()

    def fetch(query: Query) -> Page:
        nonlocal widest
        parameters = query.parameters()
        page = client.get(path(organization), parameters, parse_page, attempt=attempt)
        with lock:
            widest = min(PAGE_SIZE, max(widest, page.rows))
            page = replace(page, page_size=widest)
        if page.odd_rows and on_odd_rows:
            rows = Counter(map(hash, page.odd_rows))
            with lock:
                count = (rows - known).total()
                known.update(rows - known)
            if count:
                on_odd_rows(_describe_odd_rows(count, query, page))
        return page

    return fetch


def _describe_odd_rows(count: int, query: Query, page: Page) -> str:
    what = "1 row is" if count == 1 else f"{count:,} rows are"
    where = f"the page at cursor {query.cursor}" if query.cursor else "the newest page"
    if page.entries:
        first, last = format_time(page.entries[0].created), format_time(page.entries[-1].created)
        where += f", whose entries are from {first} to {last}"
    why = "without a usable id or time, or nested too deeply"
    return f"{what} left out, {why}: {where}"


def parse_page(body: bytes, headers: Mapping[str, str]) -> Page:
    """Parse a response of the audit-log endpoint.

    The body is `{"rows": [...], "options": [...]}`, or a bare list of rows (before mid-2022).

    Raises:
        InvalidBodyError: The body is not JSON, or has another shape; or it has odd rows alone, and
            nothing else shows that it is a page.

    """
    try:
        body.decode()  # msgspec leaves alone what it need not decode
        rows, keys, event_names = decode_escaped(_decode, body)
    except msgspec.ValidationError:
        message = "the body is not a list of audit entries"
        raise InvalidBodyError(message) from None
    except (RecursionError, ValueError):
        message = "the body is not JSON"
        raise InvalidBodyError(message) from None
    found = [_entry(key, row) for key, row in zip(keys, rows, strict=True)]
    entries = [entry for entry in found if entry is not None]
    without = [row for entry, row in zip(found, rows, strict=True) if entry is None]
    odd_rows = [row for row in map(bytes, without) if row != b"null"]
    links = parse_links(headers.get("Link", ""))
    if odd_rows and not entries and not links:
        message = "its rows are not audit entries, each with an id and a dateCreated"
        raise InvalidBodyError(message)
    entries.sort(key=attrgetter("created", "id"))
    return Page(
        entries=entries,
        null_rows=len(rows) - len(entries),
        odd_rows=tuple(odd_rows),
        event_names=tuple(event_names),
        newer=links.get("previous"),
        older=links.get("next"),
        server_time=server_time(headers),
    )


def _decode(body: bytes) -> tuple[list[msgspec.Raw], list[_Key | None], list[str]]:
    """Return the rows, the key of each row that has one, and the names of events."""
    try:
        rows, event_names = _decode_rows(body)
    except RecursionError:
        # What is left of a row is still too deep, so `_entry` refuses it.
        body = cut_deep(body, MOST_LEVELS + 3)
        rows, event_names = _decode_rows(body)
    try:
        keys = _decode_key_list(body) if _is_list(body) else _decode_keys(body).rows
    except msgspec.ValidationError:
        keys = [_key(row) for row in rows]
    return rows, keys, event_names


def _decode_rows(body: bytes) -> tuple[list[msgspec.Raw], list[str]]:
    if _is_list(body):
        return _decode_raw_list(body), []
    answer = _decode_answer(body)
    try:
        options = _decode_values(answer.options)
    except (RecursionError, msgspec.ValidationError):
        # They only help to read ties.
        options = []
    return answer.rows, [name for name in options if isinstance(name, str)]


def _is_list(body: bytes) -> bool:
    return body.lstrip().startswith(b"[")


def _key(row: msgspec.Raw) -> _Key | None:
    try:
        key: _Key | None = _decode_key(row)
    except msgspec.ValidationError:
        return None
    return key


def _entry(key: _Key | None, row: msgspec.Raw) -> Entry | None:
    """Return a row's entry, or None if it cannot be used."""
    if key is None or key.id == "":
        return None
    try:
        created = parse_row_time(key.dateCreated)
    except ValueError:
        return None
    text = bytes(row)
    return Entry(created, str(key.id), text) if cut_deep(text, MOST_LEVELS) is text else None
