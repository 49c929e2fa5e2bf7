"""An entry as the reader makes it of a row, and its record as the stream makes it."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from tap_sentry_audit.audit_log.pages import parse_page
from tap_sentry_audit.tap import TapSentryAudit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_sentry_audit.audit_log.pages import Entry


def entry_of(row: Mapping[str, Any]) -> Entry:
    """Read a row out of a page of its own."""
    [entry] = parse_page(json.dumps([row]).encode(), {}).entries
    return entry


def record_of(
    row: Mapping[str, Any], stream: str = "audit_logs", *, redact_secrets: bool = True
) -> dict[str, Any]:
    """Return the record that a stream makes of a row of the organization `acme`."""
    read = entry_of(row).row if stream == "audit_logs" else json.loads(json.dumps(row))
    record = (
        tap(redact_secrets=redact_secrets)
        .streams[stream]
        .post_process(read, {"organization": "acme"})
    )
    assert record is not None
    return record


@cache
def tap(*, redact_secrets: bool) -> TapSentryAudit:
    settings = {"auth_token": "token", "organization": "acme", "redact_secrets": redact_secrets}
    return TapSentryAudit(config=settings)
