"""The table of cases that every program of this repository keeps to."""

from __future__ import annotations

from tap_sentry_audit.api.rate_limit import parse_retry_after
from testing.conformance import Program, conformance_suite
from testing.fake_sentry import FakeSentry, Log, entries

TestConformance = conformance_suite(
    Program(
        package="tap_sentry_audit",
        server=lambda: FakeSentry({"acme": Log(entries.even(3))}),
        settings={"auth_token": "token", "organization": "acme"},
        address="host",
        required="auth_token",
        number=("lookback_seconds", 0, 2_678_400),
        flag="redact_secrets",
        confidential="auth_token",
        unusable="hidden hidden",
        usable="hidden-secret",
        retry_after=parse_retry_after,
        without_sdk=("audit_log", "api", "signals", "config"),
    )
)
