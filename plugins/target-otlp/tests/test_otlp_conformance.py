"""The table of cases that every program of this repository keeps to."""

from __future__ import annotations

import json

from target_otlp.responses import parse_retry_after
from testing.conformance import Program, conformance_suite
from testing.fake_receiver import FakeReceiver
from testing.otlp_target import record, schema

LINES = [schema(id={"type": "string"}), record(1), {"type": "STATE", "value": {"a": 1}}]

TestConformance = conformance_suite(
    Program(
        package="target_otlp",
        server=FakeReceiver,
        settings={"max_retry_seconds": 0},
        address="endpoint",
        required="endpoint",
        number=("max_batch_size", 1, 1000),
        confidential="headers",
        unusable={"Authorization": "hidden\n"},
        usable={"Authorization": "Bearer hidden-secret"},
        retry_after=parse_retry_after,
        without_sdk=(
            *("clock", "config", "delivery", "log_mapping", "mapping", "parsers", "progress"),
            *("receiver", "redaction", "rejections", "responses", "signals", "transport", "values"),
        ),
        input="".join(f"{json.dumps(line)}\n" for line in LINES).encode(),
    )
)
