"""Sentry's pagination: cursors, the `Link` header, and plain lists page by page.

A cursor is `<milliseconds>:<offset>:<is_prev>`. The server keeps no record of it, so a client can
make its own (Sentry 23.7.1; Sentry's API documentation describes the format but does not promise
it: `audit_log.reader` checks what comes back). The cursors of plain lists count rows
(`100:1:0`), except for issues, where they are times: if a list shrinks while it is read, a row can
move to the page before, and the next run finds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from requests.utils import parse_header_links

from tap_sentry_audit.api.decoding import decode_objects, parse_integer
from tap_sentry_audit.api.exceptions import InvalidBodyError, SentryError
from tap_sentry_audit.api.timestamps import parse_row_time, server_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from tap_sentry_audit.api.decoding import Json

Row = dict[str, "Json"]

PAGE_SIZE = 100
"""Rows in a full page of any list: Sentry's default and maximum (23.7.1 answers 400 to 101)."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a log and the direction to read from it.

    `milliseconds` counts from 1970-01-01 UTC. With `towards_newer`, the cursor reads rows at or
    after it, oldest page first; otherwise rows at or before it, newest page first. Rows inside a
    page are always newest first. Towards newer, Sentry 23.7.1 drops the first row if it lies in
    the cursor's own millisecond: start one millisecond early.
    """

    milliseconds: int
    offset: int = 0
    towards_newer: bool = True

    @classmethod
    def at(cls, milliseconds: int) -> Cursor:
        """Return the cursor whose page starts with all of a millisecond."""
        return cls(max(0, milliseconds - 1))

    def __str__(self) -> str:
        """Return the value of the `cursor` parameter."""
        return f"{self.milliseconds}:{self.offset}:{int(self.towards_newer)}"


@dataclass(frozen=True, slots=True)
class Link:
    """One relation of a `Link` header: the server's own cursor, and whether it leads to rows.

    Every response has both relations; only `has_results` means that there are more rows.
    """

    cursor: str
    has_results: bool

    @property
    def milliseconds(self) -> int:
        """The whole millisecond of the page's last row, or 0 if the cursor does not contain it."""
        return parse_integer(self.cursor.partition(":")[0].partition(".")[0]) or 0


def parse_links(header: str) -> dict[str, Link]:
    """Return the relations of a `Link` header by name (`previous` is newer, `next` is older).

    Their URLs are left out on purpose: they contain the host of the server's own
    `system.url-prefix`, and the token must not go there (getsentry/sentry#50933).
    """
    return {
        link["rel"]: Link(cursor=link["cursor"], has_results=link["results"] == "true")
        for link in parse_header_links(header)
        if {"rel", "cursor", "results"} <= link.keys()
    }


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a list. `older` is the next page's cursor, None on the last page.

    `null_rows` counts the rows that the server could not show. `hits` counts the whole list, where
    the server does so (issues; it stops at `most_hits`). `body` is the page as it was sent.
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
    """Parse a page whose rows have all `needed` fields, and a time in the field named `time`.

    A needed field is a string or an integer.

    Raises:
        InvalidBodyError: The body is not a list of such objects.

    """
    found = decode_objects(body)
    rows = [row for row in found if row is not None]
    if any(type(row.get(name)) not in {str, int} for row in rows for name in needed):
        message = f"not every row has {' and '.join(needed)}"
        raise InvalidBodyError(message)
    try:
        if time is not None:
            for row in rows:
                parse_row_time(str(row[time]))
    except (KeyError, ValueError):
        message = f"not every row has a time as {time}"
        raise InvalidBodyError(message) from None
    older = parse_links(headers.get("Link", "")).get("next")
    if older is None and len(found) >= PAGE_SIZE:
        message = "it is a full page, and nothing says whether there are more (no Link header)"
        raise InvalidBodyError(message)
    if older and older.has_results and not older.cursor:
        message = "more rows follow, and nothing says where (an empty cursor in the Link header)"
        raise InvalidBodyError(message)
    return ListPage(
        rows=rows,
        older=older.cursor if older and older.has_results else None,
        server_time=server_time(headers),
        hits=parse_integer(headers.get("X-Hits", "")),
        most_hits=parse_integer(headers.get("X-Max-Hits", "")),
        body=body,
        null_rows=len(found) - len(rows),
    )


def parse_detail(body: bytes, headers: Mapping[str, str]) -> ListPage:
    """Parse a single object as a page of one row.

    Raises:
        InvalidBodyError: The body is not an object with an id.

    """
    page = parse_list(b"[" + body + b"]", headers, "id")
    if len(page.rows) != 1:
        message = "the body is not an object with an id"
        raise InvalidBodyError(message)
    return page


MOST_EMPTY_PAGES = 10
"""Pages without any rows, one after the other, that may promise more."""


class ListCursors:
    """The cursors of one walk along a list, each of which may be used once."""

    def __init__(self, first: str | None = None) -> None:
        """Start with a cursor, or at the first page."""
        self._used = {first}
        self._empty = 0

    def follow(self, page: ListPage) -> str | None:
        """Return the cursor of the next page, or None after the last page.

        Raises:
            SentryError: The server leads in a circle, or from one empty page to another.

        """
        if page.older is not None and page.older in self._used:
            message = "the server links to a page of a list that it has already shown"
            raise SentryError(message)
        self._empty = 0 if page.rows or page.null_rows else self._empty + 1
        if page.older is not None and self._empty >= MOST_EMPTY_PAGES:
            message = "the server promises more rows of a list but shows empty pages"
            raise SentryError(message)
        self._used.add(page.older)
        return page.older


def pages(fetch: Callable[[str | None], ListPage], first: str | None = None) -> Iterator[ListPage]:
    """Yield the pages of a list; `fetch` takes a cursor, `first` on the first call.

    Raises:
        SentryError: The server leads in a circle.

    """
    cursors = ListCursors(first)
    page = fetch(first)
    yield page
    while (cursor := cursors.follow(page)) is not None:
        page = fetch(cursor)
        yield page
