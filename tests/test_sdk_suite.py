"""The SDK's own tests for taps."""

from __future__ import annotations

import atexit
from contextlib import ExitStack

from singer_sdk.testing import SuiteConfig, get_tap_test_class

from tap_sentry_audit.tap import STREAMS, TapSentryAudit
from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.sentry_tap import config, selecting

# The SDK wants the settings when the class is made, so the server runs from here on.
_STACK = ExitStack()
_ACME = Inventory.made(projects=1, events=5, issues=5)
# What Sentry's documentation shows and 23.7.1 does not have.
_ACME.issues = [row | {"priority": "high"} for row in _ACME.issues]
for _slug, _rows in _ACME.events.items():
    _newer: dict[str, object] = {
        "previousEventID": None,
        "nextEventID": None,
        "release": {"version": "1"},
        "userReport": None,
        "sdkUpdates": [],
        "resolvedWith": [],
    }
    _ACME.events[_slug] = [row | _newer for row in _rows]
_SENTRY = _STACK.enter_context(
    FakeSentry({"acme": Log(entries.even(30))}, inventories={"acme": _ACME})
)
atexit.register(_STACK.close)

TestTapSentryAudit = get_tap_test_class(
    TapSentryAudit,
    config=config(_SENTRY),
    catalog=selecting(*(stream.name for stream in STREAMS)),
    suite_config=SuiteConfig(max_records_limit=20),
)
