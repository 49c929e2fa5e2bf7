"""The SDK's own tests for targets."""

from __future__ import annotations

import atexit
from contextlib import ExitStack

from singer_sdk.testing import get_target_test_class
from singer_sdk.testing.suites import SingerTestSuite
from singer_sdk.testing.target_tests import TargetRecordMissingRequiredProperty

from target_otlp.target import TargetOtlp
from testing.fake_receiver import FakeReceiver

# The SDK wants the settings when the class is made, so the server runs from here on.
_STACK = ExitStack()
_SERVER = _STACK.enter_context(FakeReceiver())
atexit.register(_STACK.close)

TestTargetOtlp = get_target_test_class(
    TargetOtlp,
    config={"endpoint": _SERVER.url},
    # One that the SDK has and leaves out of its suite.
    custom_suites=[SingerTestSuite("target", [TargetRecordMissingRequiredProperty])],
)
