"""Sentry's pagination: cursors, the `Link` header, and plain lists page by page.

A cursor is `<milliseconds>:<offset>:<is_prev>`. The server keeps no record of it, so a client may
make its own (Sentry 23.7.1; the format is in Sentry's API documentation, but it is no promise:
`audit_log.reader` checks every answer to one). The cursors of plain lists count rows (`100:1:0`),
except for issues, where they are times: if a list shrinks while it is read, a row can slip from
one page to the one before, and the next run finds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from requests.utils import parse_header_links

from tap_sentry_audit.api.decoding import decode_objects
from tap_sentry_audit.api.exceptions import InvalidBodyError, SentryError
from tap_sentry_audit.api.timestamps import parse_time, server_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from tap_sentry_audit.api.decoding import Json

Row = dict[str, "Json"]

PAGE_SIZE = 100
"""Rows in a full page, of every list: Sentry's default and maximum (23.7.1 answers 400 to 101)."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a log and the direction to read from it.

    `milliseconds` counts from 1970-01-01 UTC. `towards_newer` reads rows at or after it, oldest
    page first; otherwise rows at or before it, newest page first. Rows inside a page are
    newest first either way. Sentry 23.7.1 drops the first row towards newer if it lies in
    the cursor's own millisecond, so ask from the millisecond before the one you mean.
    """

    milliseconds: int
    offset: int = 0
    towards_newer: bool = True

    @classmethod
    def at(cls, milliseconds: int) -> Cursor:
        """Return the cursor whose page begins with a millisecond, all of it."""
        return cls(max(0, milliseconds - 1))

    def __str__(self) -> str:
        """Return the form that the `cursor` parameter takes."""
        return f"{self.milliseconds}:{self.offset}:{int(self.towards_newer)}"


@dataclass(frozen=True, slots=True)
class Link:
    """One relation of a `Link` header: the server's own cursor, and if rows lie behind it.

    Both relations come with every answer; only `has_results` says that there is more.
    """

    cursor: str
    has_results: bool

    @property
    def milliseconds(self) -> int:
        """The whole millisecond of the row at which the page ends; 0 if it is not told."""
        text = self.cursor.partition(":")[0].partition(".")[0]
        return int(text) if text.isascii() and text.isdigit() else 0


def parse_links(header: str) -> dict[str, Link]:
    """Return the relations of a `Link` header by name (`previous` is newer, `next` older).

    Their URLs are left out on purpose: they carry the host of the server's own
    `system.url-prefix`, and a token must not follow them there (getsentry/sentry#50933).
    """
    return {
        link["rel"]: Link(cursor=link["cursor"], has_results=link["results"] == "true")
        for link in parse_header_links(header)
        if {"rel", "cursor", "results"} <= link.keys()
    }


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


def parse_list(
    body: bytes, headers: Mapping[str, str], *needed: str, time: str | None = None
) -> ListPage:
    """Return the page that an answer holds.

    Each row has the fields that are `needed`, and a time in the field that `time` names.

    Raises:
        InvalidBodyError: The body is no list of such objects.

    """
    found = decode_objects(body)
    rows = [row for row in found if row is not None]
    if any(row.get(name) is None for row in rows for name in needed):
        message = f"not every row has {' and '.join(needed)}"
        raise InvalidBodyError(message)
    if time is not None:
        _check_times(rows, time)
    older = parse_links(headers.get("Link", "")).get("next")
    if older is None and len(found) >= PAGE_SIZE:
        message = "it is a full page, and nothing says if there are more (no Link header)"
        raise InvalidBodyError(message)
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
            parse_time(str(row[name]))
    except (KeyError, OverflowError, ValueError):
        message = f"not every row has a time as {name}"
        raise InvalidBodyError(message) from None


class ListCursors:
    """The cursors of one walk along a list, each asked for once.

    `current` is the cursor to ask for next, None for the first page.
    """

    def __init__(self, first: str | None = None) -> None:
        """Begin with a cursor, or at the first page."""
        self.current = first
        self._asked = {first}

    def follow(self, page: ListPage) -> str | None:
        """Return the cursor behind a page, or None if it is the last one.

        Raises:
            SentryError: The server leads in a circle.

        """
        if page.older in self._asked and page.older is not None:
            message = "the server leads to a page of a list that it has shown already"
            raise SentryError(message)
        self._asked.add(page.older)
        self.current = page.older
        return page.older


def pages(fetch: Callable[[str | None], ListPage], first: str | None = None) -> Iterator[ListPage]:
    """Yield the pages of a list from a cursor on; `fetch` asks for the page at one.

    Raises:
        SentryError: The server leads in a circle.

    """
    cursors = ListCursors(first)
    while True:
        page = fetch(cursors.current)
        yield page
        if cursors.follow(page) is None:
            return


def parse_detail(body: bytes, headers: Mapping[str, str]) -> ListPage:
    """Return the page of the one object that an answer holds.

    Raises:
        InvalidBodyError: The body is not an object with an id.

    """
    page = parse_list(b"[" + body + b"]", headers, "id")
    if len(page.rows) != 1:
        message = "the body is not an object with an id"
        raise InvalidBodyError(message)
    return page


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
