"""Reads a log even from a server that does not accept our cursors, along its own if need be.

The server's own cursors lead from the newest entry to the oldest, so the pages are kept in a
temporary file and delivered oldest first. Where entries share a time across the end of a page,
such a server may lose some, and a client cannot prevent that.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tap_sentry_audit.api.exceptions import BadRequestError, SentryError
from tap_sentry_audit.api.pagination import PAGE_SIZE
from tap_sentry_audit.api.spool import Spool
from tap_sentry_audit.audit_log.pages import Query, parse_page
from tap_sentry_audit.audit_log.reader import CursorIgnoredError, read_range
from tap_sentry_audit.audit_log.segments import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from tap_sentry_audit.audit_log.pages import Fetch
    from tap_sentry_audit.audit_log.reader import Width


def read_log(
    fetch: Fetch,
    start: datetime | None,
    end: datetime | None,
    width: Width,
    on_fallback: Callable[[], None],
) -> Iterator[Chunk]:
    """Yield the entries from `start` to before `end`, oldest first, as `read_range` does.

    `on_fallback` is called if the server does not accept our cursors and its own are used.

    Raises:
        SentryError: A request failed; or the server stopped accepting our cursors on the way.

    """
    has_begun = False
    try:
        for chunk in read_range(fetch, start, end, width):
            has_begun = has_begun or bool(chunk.entries)
            yield chunk
    except (CursorIgnoredError, BadRequestError) as error:
        if has_begun:
            # We no longer know all that was delivered, so it must not be read again.
            message = "the server no longer answers as it was asked to: run again"
            raise SentryError(message) from error
        on_fallback()
        yield from read_along_server_cursors(fetch, start, end)


def read_along_server_cursors(
    fetch: Fetch, start: datetime | None, end: datetime | None
) -> Iterator[Chunk]:
    """Yield the entries from `start` to before `end`, oldest first, once all have been read.

    Until then, each page yields an empty chunk. Errors of `fetch` pass through.

    Raises:
        SentryError: The server's cursors do not lead to the oldest entry.

    """
    with Spool() as spool:
        kept: list[Chunk] = []
        cursor: str | None = None
        shown: set[str] = set()
        used: set[str | None] = set()
        while True:
            used.add(cursor)
            page = fetch(Query(cursor))
            kept.append(Chunk([], page.server_time, page.null_rows, len(page.odd_rows)))
            spool.put(b"[" + b",".join(entry.json for entry in page.entries) + b"]")
            yield Chunk([], page.server_time)
            is_past = start is not None and page.entries and page.entries[0].created < start
            if is_past:
                break
            if page.older is None and page.rows >= PAGE_SIZE:
                message = "a page of the log is full, but the server does not say what follows"
                raise SentryError(message)
            if page.older is None or not page.older.has_results:
                break
            ids = {entry.id for entry in page.entries}
            if page.older.cursor in used or not page.rows or (ids and ids <= shown):
                message = "the server promises more entries but shows only known ones"
                raise SentryError(message)
            cursor, shown = page.older.cursor, ids
        before: set[str] = set()
        for chunk, body in zip(reversed(kept), spool.backwards(), strict=True):
            entries = parse_page(body, {}).entries
            new = [entry for entry in entries if entry.id not in before]
            before = {entry.id for entry in entries}
            yield replace(chunk, entries=new).within(start, end)
