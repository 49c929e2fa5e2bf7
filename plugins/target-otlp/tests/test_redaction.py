"""What a receiver repeats of records is not shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from target_otlp.config import LogMapping
from target_otlp.mapping import fill
from target_otlp.redaction import Redactor
from testing.fake_receiver import FakeReceiver, Reply
from testing.otlp_target import EXAMPLE, run_target, schema

PRIVATE: dict[str, Any] = {
    "id": "198021612",
    "actor": {"email": "ada@example.com", "name": "Ada Byron"},
    "note": 'edited the "secret" plan of Täglich & Co',
    "targetObject": 4509666605727747,
    "tags": ["first tag", {"deep": "water-melon"}],
    "number": 1.5e300,
}


def request(record: dict[str, Any]) -> ExportLogsServiceRequest:
    made = ExportLogsServiceRequest()
    log_record = made.resource_logs.add().scope_logs.add().log_records.add()
    mapping = LogMapping("a", attributes={"all": ()})
    fill(log_record, record, mapping)
    return made


def shown(text: str) -> str:
    return Redactor([]).line(text, request(PRIVATE))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("timestamp is too old", "timestamp is too old"),
        ("cannot parse field 'note'", "cannot parse field 'note'"),
        ("no email ada@example.com!", "no email …!"),
        ("no email ada@examp...", "no email …..."),
        ('{"id":"198021612","actor"', '{"id":"…","actor"'),
        ("object 4509666605727747: gone", "object …: gone"),
        ("Ada Byron may not", "… may not"),
        (json.dumps(PRIVATE["note"], ensure_ascii=False), '"…\\"secret\\…"'),
        ("water-melon", "…"),
        ("", ""),
    ],
)
def test_values_and_runs_of_eight_characters_of_them_are_taken_out(
    text: str, expected: str
) -> None:
    assert shown(text) == expected


@given(st.text(min_size=8, max_size=40), st.text(max_size=10), st.text(max_size=10))
def test_no_value_of_eight_characters_is_ever_shown(value: str, before: str, after: str) -> None:
    line = Redactor([]).line(before + value + after, request({"value": value}))

    assert " ".join(value.split()) not in line or not value.strip()


@pytest.mark.parametrize("status", [200, 400, 401, 413, 503])
def test_a_receiver_that_echoes_a_request_shows_nothing_of_it(status: int) -> None:
    body = json.dumps({"message": f"refused: {json.dumps(PRIVATE)}"}).encode()
    messages = [schema(), {"type": "RECORD", "stream": "audit_logs", "record": PRIVATE}]
    with FakeReceiver(Reply(status, body)) as server:
        run = run_target(messages, endpoint=server.url, max_retry_seconds=0, **EXAMPLE)

    assert run.returncode == 1
    for part in ("198021612", "ada@", "Byron", "edited", "4509666605727747", "melon"):
        assert part not in run.stderr
