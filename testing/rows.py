"""Rows as the tap's streams turn them into records, and what checks records."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator, FormatChecker

from tap_sentry_audit.audit_log.pages import parse_page
from tap_sentry_audit.tap import TapSentryAudit

if TYPE_CHECKING:
    from collections.abc import Mapping


def record_of(
    row: Mapping[str, Any], stream: str = "audit_logs", *, redact_secrets: bool = True
) -> dict[str, Any]:
    """Return the record that a stream makes of a row of the organization `acme`."""
    page = json.dumps([row])
    if stream == "audit_logs":
        [entry] = parse_page(page.encode(), {}).entries
        read = entry.row
    else:
        [read] = json.loads(page)
    made = tap(redact_secrets=redact_secrets).streams[stream]
    record = made.post_process(read, {"organization": "acme"})
    assert record is not None
    return record


@cache
def tap(*, redact_secrets: bool) -> TapSentryAudit:
    settings = {"auth_token": "token", "organization": "acme", "redact_secrets": redact_secrets}
    return TapSentryAudit(config=settings)


def strict(schema: dict[str, Any]) -> Draft202012Validator:
    """Return a validator that lets no field pass that the schema does not have."""
    schema = schema | {"additionalProperties": False}
    return Draft202012Validator(schema, format_checker=FormatChecker(["date-time"]))
