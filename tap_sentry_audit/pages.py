"""The audit-log endpoint: what it is asked, and its answer as a value."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

from tap_sentry_audit.cursors import Cursor, Link, links

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE_SIZE = 100
"""Rows in a full page: Sentry's default and its maximum (23.7.1 answers 400 to 101)."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_decoder = msgspec.json.Decoder(float_hook=Decimal)

Json: TypeAlias = "str | int | float | Decimal | bool | list[Json] | dict[str, Json] | None"


class Unreadable(ValueError):  # noqa: N818  (it says what the answer is)
    """The body is not what the endpoint answers."""


class Entry(NamedTuple):
    """One audit entry: `row` is what the server sent, `created` its `dateCreated` in UTC."""

    created: datetime
    id: str
    row: dict[str, Json]


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
    `server_time` is the answer's `Date` header, in whole seconds, rounded up; where there is
    none (Sentry's own web server sends none) our own clock.
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


def read_page(body: bytes, headers: Mapping[str, str]) -> Page:
    """Return the page that an answer holds.

    The body is `{"rows": [...], "options": [...]}`, or a bare list of rows (before mid-2022).

    Raises:
        Unreadable: The body is no JSON, or has another shape.

    """
    answer = decode(body)
    rows = answer.get("rows") if isinstance(answer, dict) else answer
    options = answer.get("options") if isinstance(answer, dict) else None
    if not isinstance(rows, list):
        message = "the body is not a list of audit entries"
        raise Unreadable(message)
    entries = [_entry(row) for row in rows if row is not None]
    entries.sort(key=attrgetter("created", "id"))
    relations = links(headers.get("Link", ""))
    return Page(
        entries=entries,
        null_rows=len(rows) - len(entries),
        event_names=tuple(map(str, options)) if isinstance(options, list) else (),
        newer=relations.get("previous"),
        older=relations.get("next"),
        server_time=_server_time(headers.get("Date", "")),
    )


def decode(body: bytes) -> Json:
    """Return the JSON value, every number exact.

    Raises:
        Unreadable: It is no JSON.

    """
    try:
        value: Json = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Lone surrogates are JSON to most, but not to msgspec.
        try:
            value = json.loads(body, parse_float=Decimal, parse_constant=str)
        except (ValueError, RecursionError):
            message = "the body is no JSON"
            raise Unreadable(message) from None
    return value


def milliseconds(moment: datetime) -> int:
    """Return the whole milliseconds since 1970-01-01 UTC."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def created_text(created: datetime) -> str:
    """Return the one form of `dateCreated` that sorts as text: always six decimals and `Z`.

    Sentry leaves the fraction out where it is zero.
    """
    return f"{created.isoformat(timespec='microseconds')[:26]}Z"


def read_time(text: str) -> datetime:
    """Return the UTC time of an ISO 8601 text; one without a zone is taken as UTC.

    Raises:
        ValueError: It is none.

    """
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _entry(row: Json) -> Entry:
    try:
        return Entry(read_time(row["dateCreated"]), str(row["id"]), row)  # type: ignore[index, call-overload, arg-type]
    except (KeyError, TypeError, ValueError):
        message = "an audit entry has no usable id or dateCreated"
        raise Unreadable(message) from None


def _server_time(date: str) -> datetime:
    try:
        return parsedate_to_datetime(date).astimezone(UTC) + timedelta(seconds=1)
    except ValueError:
        return datetime.now(UTC)
