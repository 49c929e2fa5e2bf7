"""The target as a process: what it reads, writes and says, and how it ends."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from singer_sdk.singerlib.exceptions import InvalidInputLine

from target_otlp.config import VERSION
from target_otlp.messages import MessageReader
from testing.fake_receiver import FakeReceiver, Reply, attributes, refuses
from testing.otlp_target import (
    COMMAND,
    ENVIRONMENT,
    EXAMPLE,
    record,
    run_target,
    run_target_in,
    schema,
    state,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testing.forked import Message

ID: dict[str, object] = {"mapping": {"*": {"id": "$.id"}}}


def numbered(count: int) -> list[Message]:
    """Records by number, with a state after every tenth."""
    made = []
    for number in range(count):
        made.append(record(number))
        if number % 10 == 9:
            made.append(state(number + 1))
    return made


@pytest.fixture
def server() -> Iterator[FakeReceiver]:
    with FakeReceiver() as running:
        yield running


def test_records_arrive_and_states_come_out(server: FakeReceiver) -> None:
    run = run_target([schema(), *numbered(25)], endpoint=server.url, max_batch_size=10, **ID)

    assert run.returncode == 0
    assert server.ids == [str(number) for number in range(25)]
    assert run.stdout == '{"done": 10}\n{"done": 20}\n'
    assert [len(request.log_records) for request in server.requests] == [10, 10, 5]
    assert run.log("INFO")[-1].startswith(f"25 records accepted by {server.url}/v1/logs, ")
    assert not run.log("WARNING")


def test_a_log_record_is_whole(server: FakeReceiver) -> None:
    before = time.time_ns()
    config = EXAMPLE | {"resource_attributes": {"a": [1, None]}}
    message = record(7)
    message["record"]["organization"] = "acme"
    run_target([schema(), message], endpoint=server.url, **config)

    (request,) = server.requests
    (resource_logs,) = request.decoded.resource_logs
    (scope_logs,) = resource_logs.scope_logs
    (log_record,) = scope_logs.log_records
    assert attributes(resource_logs.resource) == {"service.name": "singer", "a": [1, None]}
    assert scope_logs.scope.name == "target-otlp"
    assert scope_logs.scope.version == VERSION
    assert attributes(log_record) == {
        "singer.stream": "audit_logs",
        "log.record.uid": "acme/7",
        "sentry.organization": "acme",
    }
    assert before < log_record.observed_time_unix_nano < time.time_ns()
    assert log_record.body.string_value == '{"id":"7","organization":"acme"}'


def test_a_record_and_a_state_are_sent_as_the_tap_wrote_them(server: FakeReceiver) -> None:
    sent = {"_sdc_sequence": 5, "unheard": {"of": []}, "at": "2026-01-02T03:04:05.123456789Z"}
    lines: list[Message] = [
        {"type": "ACTIVATE_VERSION", "stream": "audit_logs", "version": 1},
        schema(at={"type": "string", "format": "date-time"}),
        {"type": "RECORD", "stream": "audit_logs", "record": sent},
    ]
    value = '{"at": 1.10, "big": 123456789012345678901234567890, "text": "\\ud800\\u00e9"}'
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    text += f'{{"type": "STATE", "value": {value}}}\n'
    run = run_target(text.encode(), endpoint=server.url)

    assert json.loads(server.kept[0].body.string_value) == sent
    assert run.stdout == f"{value}\n"
    assert not run.log("WARNING")


def test_streams_share_batches_in_the_order_in_which_they_came(server: FakeReceiver) -> None:
    made = [schema("a"), schema("b")]
    for number in range(6):
        made += [record(number, "a" if number % 2 else "b"), state(number)]
    run = run_target(made, endpoint=server.url, max_batch_size=3, **ID)

    assert [len(request.log_records) for request in server.requests] == [3, 3]
    assert [attributes(one)["singer.stream"] for one in server.kept] == [*"bababa"]
    assert run.messages == [{"done": 1}, {"done": 2}, {"done": 4}, {"done": 5}]


def test_stream_maps_work(server: FakeReceiver) -> None:
    maps = {"audit_logs": {"id": "id", "double": "int(id) * 2", "__else__": None}}
    run_target([schema(id={"type": "string"}), record(4)], endpoint=server.url, stream_maps=maps)

    assert json.loads(server.kept[0].body.string_value) == {"id": "4", "double": 8}


def test_a_time_that_is_not_where_mapping_says_is_told_once(server: FakeReceiver) -> None:
    mapping = {"audit_logs": {"time": "$.created"}}
    run = run_target([schema(), *numbered(5)], endpoint=server.url, mapping=mapping)

    (warning,) = run.log("WARNING")
    assert warning == (
        "audit_logs: at least one record has no time at the path in mapping; such records "
        "are sent without one"
    )
    assert len(server.kept) == 5


def test_an_object_can_come_from_the_environment(server: FakeReceiver) -> None:
    environment = {
        "TARGET_OTLP_ENDPOINT": server.url,
        "TARGET_OTLP_HEADERS": '{"api-key": "hidden"}',
    }
    run = run_target_in(environment, [schema(), record(1)], "--config=ENV")

    assert run.returncode == 0
    assert [request.headers["api-key"] for request in server.requests] == ["hidden"]
    assert "hidden" not in run.stderr


def test_a_malformed_header_of_an_answer_shows_neither_a_key_nor_a_traceback() -> None:
    raw = b"HTTP/1.1 200 OK\r\nServer x\r\nConnection: close\r\n\r\n"
    with FakeReceiver(Reply(raw=raw)) as server:
        run = run_target([schema(), record(1)], endpoint=f"{server.url}/v1/logs?api_key=hidden")

    assert run.returncode == 0
    assert "hidden" not in run.stderr
    assert "Traceback" not in run.stderr


def test_a_receiver_that_fails_is_named_with_what_is_done() -> None:
    with FakeReceiver(Reply(), Reply(), Reply(500, b"disk full")) as server:
        run = run_target([schema(), *numbered(25)], endpoint=server.url, max_batch_size=8)

    assert (run.returncode, run.messages) == (1, [{"done": 10}])
    [error] = run.log("ERROR")
    assert error == (
        f"{server.url}/v1/logs answered 500 disk full. 16 records were accepted before "
        "that; the state covers the first 10."
    )
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{secret", "is not a JSON message."),
        (b"\xff\xfe", "is not a JSON message."),
        (b"5", "is not a JSON message."),
        (b"", "is not a JSON message."),
        (b"[" * 100_000, "is not a JSON message."),
        (
            b'{"type": "STATE", "value": ' + b"[" * 501 + b"]" * 501 + b"}",
            "is a STATE that is nested more than 500 levels deep.",
        ),
        (b"[" * 501 + b"]" * 501, "is nested more than 500 levels deep."),
        (b'{"type": "secret"}', "has no known type."),
        (b'{"type": ["secret"]}', "has no known type."),
        (b'{"type": "RECORD", "stream": "a"}', "is a RECORD without a usable record."),
        (b'{"type": "RECORD", "record": {"a": "secret"}}', "is a RECORD without a usable stream."),
        (b'{"type": "STATE", "value": "secret"}', "is a STATE without a usable value."),
        (
            b'{"type": "SCHEMA", "stream": "a", "schema": {"properties": {}}, "key_properties": 5}',
            "is a SCHEMA whose key_properties are not a list.",
        ),
        (b'{"type": "SCHEMA", "stream": "a", "schema": 5}', "is a SCHEMA without a usable schema."),
        (
            b'{"type": "SCHEMA", "stream": "a", "schema": {}}',
            "is a SCHEMA whose schema has no properties.",
        ),
        (
            b'{"type": "BATCH", "stream": "audit_logs", "manifest": []}',
            (
                "is a BATCH, and only records can be sent: take batch_config out of the tap's "
                "settings."
            ),
        ),
    ],
)
def test_a_line_that_is_no_message_is_named_and_not_repeated(line: bytes, told: str) -> None:
    reader = MessageReader()
    reader.deserialize_json(b'{"type": "STATE", "value": {}}')
    with pytest.raises(InvalidInputLine) as caught:
        reader.deserialize_json(line)

    assert str(caught.value) == f"Line 2 of the input {told}"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{secret", "Line 4 of the input is not a JSON message."),
        (
            b'{"type": "RECORD", "stream": "b", "record": {}}',
            "A record for stream 'b' was encountered before a corresponding schema.",
        ),
    ],
)
def test_a_bad_line_is_one_clear_error_and_the_state_before_it_is_kept(
    server: FakeReceiver, line: bytes, told: str
) -> None:
    good = "".join(json.dumps(message) + "\n" for message in [schema(), record(1), state(1)])
    run = run_target(good.encode() + line + b"\n", endpoint=server.url, max_batch_size=1)

    assert run.returncode == 1
    assert run.messages == [{"done": 1}]
    (error,) = run.log("ERROR")
    assert error.startswith(told)
    assert "Traceback" not in run.stderr
    assert "secret" not in run.stderr


def test_a_state_that_nobody_takes_is_one_clear_error(server: FakeReceiver) -> None:
    with subprocess.Popen(
        [*COMMAND, "--config=ENV"],
        env={**ENVIRONMENT, "TARGET_OTLP_ENDPOINT": server.url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        process.stdout.close()
        _, stderr = process.communicate(json.dumps(state(1)).encode(), timeout=20)

    assert process.returncode == 1
    assert b"The state cannot be written to stdout (Broken pipe)" in stderr
    assert b"Exception ignored" not in stderr


def test_input_can_come_from_a_file_in_any_utf_8(server: FakeReceiver, tmp_path: Path) -> None:
    lines = [json.dumps(schema()).encode(), b'{"type": "RECORD", "stream": "audit_logs", "record":']
    # A byte order mark, and a surrogate as some programs write it.
    odd = b"\xef\xbb\xbf" + lines[0] + b"\n" + lines[1] + b' {"id": "\xed\xa0\x80"}}\n'
    (tmp_path / "input").write_bytes(odd)
    run = run_target([], f"--input={tmp_path / 'input'}", endpoint=server.url)

    assert run.returncode == 0
    assert server.kept[0].body.string_value == '{"id":"\\ud800"}'


def test_without_stderr_the_target_runs_as_usual(server: FakeReceiver, tmp_path: Path) -> None:
    path = tmp_path / "rejected"
    server.judge = refuses("1")
    messages = [schema() | {"key_properties": ["id"]}, *numbered(10)]
    environment = {
        **ENVIRONMENT,
        "TARGET_OTLP_ENDPOINT": server.url,
        "TARGET_OTLP_REJECTED_RECORDS_PATH": str(path),
        "TARGET_OTLP_MAPPING": json.dumps(ID["mapping"]),
    }
    run = subprocess.run(
        ["/bin/sh", "-c", f"exec {shlex.join(COMMAND)} --config=ENV 2>&-"],
        env=environment,
        input="".join(f"{json.dumps(message)}\n" for message in messages),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert (run.returncode, run.stdout) == (1, '{"done": 10}\n')
    assert len(server.kept) == 9
    assert json.loads(path.read_text())["record"] == {"id": "1"}


def test_help_has_an_example_and_names_the_documentation() -> None:
    run = run_target_in({}, [], "--help")

    assert "  tap-sentry-audit --config tap.json | target-otlp --config ENV" in run.stdout
    assert "plugins/target-otlp/README.md" in run.stdout


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(500, b"disk full."), "answered 500 disk full. 0 records were"),
        (Reply(302, headers={"Location": "http://o/"}), "the right endpoint? 0 records were"),
    ],
)
def test_a_sentence_has_one_end(reply: Reply, told: str) -> None:
    with FakeReceiver(reply) as server:
        run = run_target([schema(), record(1)], endpoint=server.url)

    assert told in run.log("ERROR")[0]
