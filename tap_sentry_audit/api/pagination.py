"""Sentry's plain lists: projects, members, issues, events and their like, page by page.

The server says in the `Link` header if more follow (`results="true"`) and at which cursor. The
cursors count rows (`100:1:0`), but for issues, where they are times: where a list shrinks while
it is read, a row can slip from one page to the one before, and is found by the next run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tap_sentry_audit.api.cursors import links
from tap_sentry_audit.api.decoding import Unreadable, decode_objects
from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.api.timestamps import read_time, server_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from tap_sentry_audit.api.decoding import Json

Row = dict[str, "Json"]

PAGE_SIZE = 100
"""Rows in a full page, of every list (Sentry 23.7.1 answers 400 to 101)."""


@dataclass(frozen=True, slots=True)
class ListPage:
    """One answer. `older` is the next page's cursor, or nothing where this is the last one.

    `null_rows` are those that the server could not show; `hits` are all rows of the list, where
    the server counts them (issues; it stops at `most_hits`); `body` is what it sent.
    """

    rows: list[Row]
    older: str | None
    server_time: datetime
    hits: int | None
    most_hits: int | None
    body: bytes
    null_rows: int = 0


def read_list(
    body: bytes, headers: Mapping[str, str], *needed: str, time: str | None = None
) -> ListPage:
    """Return the page that an answer holds.

    Each row has the fields that are `needed`, and a time in the field that `time` names.

    Raises:
        Unreadable: The body is no list of such objects.

    """
    found = decode_objects(body)
    rows = [row for row in found if row is not None]
    if any(row.get(name) is None for row in rows for name in needed):
        message = f"not every row has {' and '.join(needed)}"
        raise Unreadable(message)
    if time is not None:
        _check_times(rows, time)
    older = links(headers.get("Link", "")).get("next")
    if older is None and len(found) >= PAGE_SIZE:
        message = "it is a full page, and nothing says if there are more (no Link header)"
        raise Unreadable(message)
    return ListPage(
        rows=rows,
        older=older.cursor if older and older.has_results else None,
        server_time=server_time(headers),
        hits=_number(headers.get("X-Hits", "")),
        most_hits=_number(headers.get("X-Max-Hits", "")),
        body=body,
        null_rows=len(found) - len(rows),
    )


def _check_times(rows: list[Row], name: str) -> None:
    try:
        for row in rows:
            read_time(str(row[name]))
    except (KeyError, OverflowError, ValueError):
        message = f"not every row has a time as {name}"
        raise Unreadable(message) from None


def pages(fetch: Callable[[str | None], ListPage], cursor: str | None = None) -> Iterator[ListPage]:
    """Yield the pages of a list from a cursor on; `fetch` asks for the page at one.

    Raises:
        SentryError: The server leads in a circle.

    """
    asked = {cursor}
    while True:
        page = fetch(cursor)
        yield page
        cursor = page.older
        if cursor is None:
            return
        if cursor in asked:
            message = "the server leads to a page of a list that it has shown already"
            raise SentryError(message)
        asked.add(cursor)


@dataclass(frozen=True, slots=True)
class Detail:
    """One object, and the server's clock when it was read."""

    row: Row
    server_time: datetime


def read_detail(body: bytes, headers: Mapping[str, str]) -> Detail:
    """Return the object that an answer holds.

    Raises:
        Unreadable: The body is no object with an id.

    """
    rows = decode_objects(b"[" + body + b"]")
    if len(rows) != 1 or rows[0] is None or rows[0].get("id") is None:
        message = "the body is no object with an id"
        raise Unreadable(message)
    return Detail(rows[0], server_time(headers))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
