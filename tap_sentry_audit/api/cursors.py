"""Sentry's cursor and `Link` header as values.

A cursor is `<milliseconds>:<offset>:<is_prev>`. The server keeps nothing for it, so a client
may make its own (Sentry 23.7.1; the format stands in Sentry's API documentation, but is no
promise: see `reader`, which checks every answer to one).
"""

from __future__ import annotations

from dataclasses import dataclass

from requests.utils import parse_header_links


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


def links(header: str) -> dict[str, Link]:
    """Return the relations of a `Link` header by name (`previous` is newer, `next` older).

    Their URLs are left out on purpose: they carry the host of the server's own
    `system.url-prefix`, and a token must not follow them there (getsentry/sentry#50933).
    """
    return {
        link["rel"]: Link(cursor=link["cursor"], has_results=link["results"] == "true")
        for link in parse_header_links(header)
        if {"rel", "cursor", "results"} <= link.keys()
    }
