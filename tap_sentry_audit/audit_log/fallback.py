"""Reads a log whatever the server makes of our cursors; if need be, along its own.

The server's own cursors lead from the newest entry to the oldest. What comes newest first is kept
in a temporary file and delivered oldest first. Where entries share a time over the end of a page,
such a server may lose some: nothing can be done from here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tap_sentry_audit.api.exceptions import BadRequestError, SentryError
from tap_sentry_audit.api.spool import Spool
from tap_sentry_audit.audit_log.pages import Query, parse_page
from tap_sentry_audit.audit_log.reader import CursorIgnoredError, read_range
from tap_sentry_audit.audit_log.segments import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from tap_sentry_audit.audit_log.pages import Fetch, Page
    from tap_sentry_audit.audit_log.reader import Width


def read_log(
    fetch: Fetch,
    start: datetime | None,
    end: datetime | None,
    width: Width,
    on_fallback: Callable[[], None],
) -> Iterator[Chunk]:
    """Yield the entries from `start` on and before `end`, oldest first, as `read_range` does.

    `on_fallback` is called where the server does not take our cursors and its own are followed.

    Raises:
        SentryError: A request failed; or the server stopped taking our cursors on the way.

    """
    has_begun = False
    try:
        for chunk in read_range(fetch, start, end, width):
            has_begun = has_begun or bool(chunk.entries)
            yield chunk
    except (CursorIgnoredError, BadRequestError) as error:
        if has_begun:
            # What was delivered is not all known any more, so it must not be read again.
            message = "the server no longer answers what it is asked; run again"
            raise SentryError(message) from error
        on_fallback()
        yield from read_along_server_cursors(fetch, start, end)


def read_along_server_cursors(
    fetch: Fetch, start: datetime | None, end: datetime | None
) -> Iterator[Chunk]:
    """Yield the entries from `start` on and before `end`, oldest first, after all were read.

    An empty chunk comes for each page that is read. What `fetch` raises passes through.
    """
    with Spool() as spool:
        kept: list[Chunk] = []
        for page in _pages(fetch, start):
            kept.append(Chunk([], page.server_time, page.null_rows))
            spool.put(b"[" + b",".join(entry.json for entry in page.entries) + b"]")
            yield Chunk([], page.server_time)
        before: set[str] = set()
        for chunk, body in zip(reversed(kept), spool.backwards(), strict=True):
            entries = parse_page(body, {}).entries
            within = [
                entry
                for entry in entries
                if entry.id not in before
                and (start is None or entry.created >= start)
                and (end is None or entry.created < end)
            ]
            before = {entry.id for entry in entries}
            yield replace(chunk, entries=within)


def _pages(fetch: Fetch, start: datetime | None) -> Iterator[Page]:
    query = Query(cursor=None)
    while True:
        page = fetch(query)
        yield page
        is_past = start is not None and page.entries and page.entries[0].created < start
        if is_past or page.older is None or not page.older.has_results:
            return
        query = Query(page.older.cursor)
