"""The way to read a server that does not take our own cursors: along its own, from the newest.

What comes newest first is kept in a temporary file and delivered oldest first. Where entries
share a time over the end of a page, such a server may lose some: nothing can be done from here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tap_sentry_audit.api.spool import Spool
from tap_sentry_audit.audit_log.pages import Query, read_page
from tap_sentry_audit.audit_log.reader import Stretch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from tap_sentry_audit.audit_log.pages import Page
    from tap_sentry_audit.audit_log.reader import Fetch


def read_backwards(fetch: Fetch, start: datetime | None, end: datetime | None) -> Iterator[Stretch]:
    """Yield the entries from `start` on and before `end`, oldest first, after all were read.

    An empty stretch comes for each page that is read. What `fetch` raises passes through.
    """
    with Spool() as spool:
        kept: list[Stretch] = []
        for page in _pages(fetch, start):
            kept.append(Stretch([], page.server_time, page.null_rows))
            spool.put(b"[" + b",".join(entry.json for entry in page.entries) + b"]")
            yield Stretch([], page.server_time)
        before: set[str] = set()
        for stretch, body in zip(reversed(kept), spool.backwards(), strict=True):
            entries = read_page(body, {}).entries
            within = [
                entry
                for entry in entries
                if entry.id not in before
                and (start is None or entry.created >= start)
                and (end is None or entry.created < end)
            ]
            before = {entry.id for entry in entries}
            yield replace(stretch, entries=within)


def _pages(fetch: Fetch, start: datetime | None) -> Iterator[Page]:
    query = Query(cursor=None)
    while True:
        page = fetch(query)
        yield page
        is_past = start is not None and page.entries and page.entries[0].created < start
        if is_past or page.older is None or not page.older.has_results:
            return
        query = Query(page.older.cursor)
