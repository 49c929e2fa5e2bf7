"""The SDK's own tests for taps."""

from __future__ import annotations

import atexit
from contextlib import ExitStack

from singer_sdk.testing import SuiteConfig, get_tap_test_class

from fake_sentry import FakeSentry, Log, entries
from tap_process import config
from tap_sentry_audit.tap import TapSentryAudit

# The SDK wants the settings when the class is made, so the server runs from here on.
_STACK = ExitStack()
_SENTRY = _STACK.enter_context(FakeSentry({"acme": Log(entries.even(30))}))
atexit.register(_STACK.close)

TestTapSentryAudit = get_tap_test_class(
    TapSentryAudit,
    config=config(_SENTRY),
    suite_config=SuiteConfig(max_records_limit=20),
)
