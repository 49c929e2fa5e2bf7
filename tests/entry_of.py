"""An entry as the reader makes it of a row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tap_sentry_audit.audit_log.pages import read_page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_sentry_audit.audit_log.pages import Entry


def entry_of(row: Mapping[str, Any]) -> Entry:
    """Read a row out of a page of its own."""
    [entry] = read_page(json.dumps([row]).encode(), {}).entries
    return entry
