"""The audit-log endpoint: what it is asked, and its answer as a value."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from tap_sentry_audit.cursors import Cursor, Link, links

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE_SIZE = 100
"""Rows in a full page: Sentry's default and its maximum (23.7.1 answers 400 to 101)."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Answer(msgspec.Struct):
    rows: list[msgspec.Raw]
    options: list[str] = []


class _Key(msgspec.Struct):
    id: str | int
    dateCreated: str  # noqa: N815  (Sentry's name)


class _Keys(msgspec.Struct):
    rows: list[_Key | None]


_decode_row = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_answer = msgspec.json.Decoder(_Answer).decode
_keys = msgspec.json.Decoder(_Keys).decode
_raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_key_list = msgspec.json.Decoder(list[_Key | None]).decode

Json: TypeAlias = "str | int | float | Decimal | bool | list[Json] | dict[str, Json] | None"


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) < sys.int_info.str_digits_check_threshold else Decimal(text)


class Unreadable(ValueError):  # noqa: N818  (it says what the answer is)
    """The body is not what the endpoint answers."""


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
        try:
            return _decode_row(self.json)
        except msgspec.ValidationError:
            # An integer of thousands of digits.
            row: dict[str, Json] = json.loads(self.json, parse_float=Decimal, parse_int=_integer)
            return row


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
    try:
        rows, keys, event_names = _rows(body)
        entries = [
            Entry(read_time(key.dateCreated), str(key.id), bytes(row))
            for key, row in zip(keys, rows, strict=True)
            if key is not None
        ]
    except (OverflowError, RecursionError, ValueError) as error:
        raise Unreadable(_why(error)) from None
    entries.sort(key=attrgetter("created", "id"))
    relations = links(headers.get("Link", ""))
    return Page(
        entries=entries,
        null_rows=len(rows) - len(entries),
        event_names=tuple(event_names),
        newer=relations.get("previous"),
        older=relations.get("next"),
        server_time=_server_time(headers.get("Date", "")),
    )


def _rows(body: bytes) -> tuple[list[msgspec.Raw], list[_Key | None], list[str]]:
    try:
        return _decoded(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return _decoded(_encodable(body))


def _decoded(body: bytes) -> tuple[list[msgspec.Raw], list[_Key | None], list[str]]:
    if body.lstrip().startswith(b"["):
        return _raw_list(body), _key_list(body), []
    answer = _answer(body)
    return answer.rows, _keys(body).rows, answer.options


def _encodable(body: bytes) -> bytes:
    r"""Return the JSON with lone surrogates as text (`\\ud800`).

    JSON can name them, but UTF-8 cannot carry them: so nothing is lost, and every target can
    read it.
    """
    return _ESCAPE.sub(lambda found: b"\\" * bool(found["lone"]) + found[0], body)


_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<lone>u[dD][89a-fA-F])|.)", re.DOTALL
)


def _why(error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return "the body is not a list of audit entries, each with an id and a dateCreated"
    return "the body is no JSON with usable dates"


def milliseconds(time: datetime) -> int:
    """Return the whole milliseconds since 1970-01-01 UTC."""
    return (time - EPOCH) // timedelta(milliseconds=1)


def moment(milliseconds: int) -> datetime:
    """Return the time that is so many milliseconds after 1970-01-01 UTC."""
    return EPOCH + timedelta(milliseconds=milliseconds)


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


def _server_time(date: str) -> datetime:
    try:
        return parsedate_to_datetime(date).astimezone(UTC) + timedelta(seconds=1)
    except ValueError:
        return datetime.now(UTC)
