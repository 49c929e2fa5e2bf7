"""The reader's `fetch` without a server between, and what is to be read of a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tap_sentry_audit.api.timestamps import parse_time
from tap_sentry_audit.audit_log.pages import Page, Query, parse_page
from testing.fake_sentry import Log, endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

MILLISECOND = 1_000
START = 1_735_689_600_000_000


def asking(log: Log, per_page: int = 100) -> Callable[[Query], Page]:
    """The stand-in's endpoint as the reader's `fetch`."""

    def fetch(query: Query) -> Page:
        parameters = query.parameters() | {"per_page": str(per_page)}
        answer = endpoint.answer(log, "http://sentry.invalid/", list(parameters.items()))
        assert answer.status == 200
        return parse_page(answer.body, answer.headers)

    return fetch


def expected(log: Log) -> list[str]:
    """Ids by time; tied ones in the reader's order."""
    rows = [row for row in log.rows() if row]
    rows.sort(key=lambda row: (parse_time(row["dateCreated"]), row["id"]))
    return [row["id"] for row in rows]
