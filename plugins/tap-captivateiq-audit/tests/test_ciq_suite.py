"""The SDK's own tests for taps, and the catalog."""

from __future__ import annotations

import atexit
import json
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from singer_sdk.testing import SuiteConfig, get_tap_test_class

from tap_captivateiq_audit.tap import TapCaptivateiqAudit
from testing.captivateiq_tap import config, run_tap
from testing.fake_captivateiq import FakeCaptivateIQ, Log, row

# The SDK wants the settings when the class is made, so the server runs from here on.
_STACK = ExitStack()
_NOW = datetime.now(UTC)
_PARENTS = [{"object_id": "1", "name": "a", "type": "b"}]
_ROWS = [
    row(number, _NOW - timedelta(hours=number + 1), parent_objects=_PARENTS, other=1)
    for number in range(5)
]
_SERVER = _STACK.enter_context(FakeCaptivateIQ(Log(_ROWS)))
atexit.register(_STACK.close)

TestTapCaptivateiqAudit = get_tap_test_class(
    TapCaptivateiqAudit,
    config=config(_SERVER),
    suite_config=SuiteConfig(max_records_limit=5),
)


def test_the_catalog_is_what_it_was() -> None:
    catalog = json.loads(run_tap({}, "--discover").stdout)
    snapshot = json.loads(Path(__file__).with_name("catalog.json").read_text())

    assert catalog == snapshot
