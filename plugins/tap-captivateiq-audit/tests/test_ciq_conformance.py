"""The table of cases that every program of this repository keeps to."""

from __future__ import annotations

from datetime import UTC, datetime

from tap_captivateiq_audit.client import parse_retry_after
from testing.conformance import Program, conformance_suite
from testing.fake_captivateiq import TOKEN, FakeCaptivateIQ, Log, row

TestConformance = conformance_suite(
    Program(
        package="tap_captivateiq_audit",
        server=lambda: FakeCaptivateIQ(Log([row(1, datetime.now(UTC))])),
        settings={"api_token": TOKEN, "requests_per_second": 100},
        address="api_url",
        required="api_token",
        number=("lookback_days", 0, 31),
        flag="backfill",
        confidential="api_token",
        unusable="hidden hidden",
        usable="hidden-secret",
        retry_after=parse_retry_after,
        without_sdk=(
            *("bookmark", "client", "clock", "config", "days", "entries", "exceptions"),
            *("flaws", "rate_limit", "reader", "signals", "state"),
        ),
    )
)
