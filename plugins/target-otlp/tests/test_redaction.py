"""What a receiver repeats of records and of secrets is not shown."""

from __future__ import annotations

import html
import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from target_otlp.log_mapping import LogMapping
from target_otlp.mapping import fill
from target_otlp.redaction import Redactor
from testing.fake_receiver import FakeReceiver, Reply
from testing.otlp_target import EXAMPLE, run_target, schema

if TYPE_CHECKING:
    from collections.abc import Callable

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
        (json.dumps(PRIVATE["note"], ensure_ascii=False), '"…"'),
        ("Edited The no plan", "…no plan"),
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


def in_base64(text: str) -> str:
    return b64encode(text.encode()).decode()


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent-encoded": lambda text: quote(text, safe=""),
    "for HTML": html.escape,
    "in JSON": json.dumps,
    "as PHP writes JSON": lambda text: json.dumps(text).replace("/", "\\/"),
    "in JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "percent-encoded in HTML": lambda text: html.escape(quote(html.escape(text))),
    "in base64": in_base64,
    "in base64 behind a name": lambda text: in_base64(f"me:{text}"),
    "in capitals": str.upper,
    "its first ten characters": lambda text: text[:10],
    "its last ten characters": lambda text: text[-10:],
    "with spaces": lambda text: text.replace("-", " - "),
}
SECRET = 'k9/Zü&<tag>-"quoted"-QmF0+dGVy=='  # noqa: S105  (the test's)


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_no_form_of_a_secret_or_of_a_value_is_shown(form: Callable[[str], str]) -> None:
    text = f"bad value {form(SECRET)} at 7"
    for line in (
        Redactor([f"Bearer {SECRET}"]).line(text),
        Redactor([]).line(text, request({"text": SECRET})),
    ):
        for part in ("k9", "tag", "quoted", "QmF0", "dGVy", in_base64(SECRET)[:6]):
            assert part.lower() not in line.lower()


@pytest.mark.parametrize("form", [str, json.dumps, lambda text: json.dumps(text, indent=1)])
def test_a_short_value_is_not_shown_though_it_is_escaped(form: Callable[[str], str]) -> None:
    assert Redactor([]).line(f"no {form('Иван')}", request({"a": "Иван"})) in {"no …", 'no "…"'}


def test_words_in_which_nothing_can_be_masked_are_withheld_and_it_says_why() -> None:
    told = f"got {in_base64('hidden-secret')}"

    line = Redactor(["hidden-secret"]).line(told)
    assert line == "(what it says is withheld: it repeats a part of headers or of the query)"
    line = Redactor([]).line(told, request({"a": "hidden-secret"}))
    assert line == "(what it says is withheld: it repeats a part of a record)"


def test_escapes_that_hide_nothing_are_shown_as_they_are() -> None:
    text = "see http://localhost/a%20b?c=&lt; \\u0041"
    assert Redactor(["hidden-secret"]).line(text, request(PRIVATE)) == text


def test_neither_part_of_a_basic_header_is_shown() -> None:
    header = f"Basic {in_base64('ingest-user:hunter2-password')}"
    line = Redactor([header]).line("hunter2-password is wrong for ingest-user, Basic is not")
    assert line == "*** is wrong for ***, Basic is not"


@example(in_base64, "secret \0", "", "")
@given(st.sampled_from(list(FORMS.values())[:10]), st.text(min_size=8), st.text(), st.text())
def test_whatever_is_around_it_eight_characters_of_a_secret_are_not_shown(
    form: Callable[[str], str], secret: str, before: str, after: str
) -> None:
    line = Redactor([secret]).line(f"{before} {form(secret)} {after}")
    assert form(secret) not in line
