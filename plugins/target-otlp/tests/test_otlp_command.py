"""The target as a process: what it reads, writes and says, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from singer_sdk.singerlib.exceptions import InvalidInputLine

from target_otlp.messages import MessageReader
from testing.fake_receiver import FakeReceiver, Reply, attributes
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


def messages(until: int, every: int = 10) -> list[Message]:
    """Records by number, with a state after every tenth or so."""
    made = [schema()]
    for number in range(until):
        made.append(record(number))
        if number % every == every - 1:
            made.append(state(number + 1))
    return made


@pytest.fixture
def server() -> Iterator[FakeReceiver]:
    with FakeReceiver() as running:
        yield running


def test_about_lists_the_settings_and_which_one_is_secret() -> None:
    about = json.loads(run_target([], "--about", "--format=json").stdout)

    properties = about["settings"]["properties"]
    assert [name for name, found in properties.items() if found.get("secret")] == ["headers"]
    # The SDK's settings for tables have no meaning here.
    assert not {"load_method", "batch_size_rows", "add_record_metadata"} & properties.keys()


def test_records_arrive_and_states_come_out(server: FakeReceiver) -> None:
    run = run_target(messages(25), endpoint=server.url, max_batch_size=10, **ID)

    assert run.returncode == 0
    assert server.ids == [str(number) for number in range(25)]
    assert run.stdout == '{"done": 10}\n{"done": 20}\n'
    assert [len(request.log_records) for request in server.requests] == [10, 10, 5]
    assert run.log("INFO")[-1] == f"25 records accepted by {server.url}/v1/logs"
    assert not run.log("WARNING")


def test_a_log_record_is_whole(server: FakeReceiver) -> None:
    before = time.time_ns()
    config = EXAMPLE | {"resource_attributes": {"a": [1, None]}}
    run_target([schema(), record(7)], endpoint=server.url, **config)

    (request,) = server.requests
    (resource_logs,) = request.decoded.resource_logs
    (scope_logs,) = resource_logs.scope_logs
    (log_record,) = scope_logs.log_records
    assert attributes(resource_logs.resource) == {"service.name": "singer", "a": [1, None]}
    assert scope_logs.scope.name == "target-otlp"
    assert attributes(log_record) == {"singer.stream": "audit_logs", "log.record.uid": "7"}
    assert before < log_record.observed_time_unix_nano < time.time_ns()
    assert log_record.body.string_value == '{"id":"7"}'


def test_times_are_left_as_the_tap_wrote_them(server: FakeReceiver) -> None:
    time_ = "2026-01-02T03:04:05.123456789Z"
    run_target(
        [
            schema(at={"type": "string", "format": "date-time"}),
            {"type": "RECORD", "stream": "audit_logs", "record": {"at": time_}},
        ],
        endpoint=server.url,
    )

    assert json.loads(server.kept[0].body.string_value) == {"at": time_}


def test_what_the_schema_lacks_and_metadata_of_the_tap_are_sent(server: FakeReceiver) -> None:
    sent = {"_sdc_sequence": 5, "unheard": {"of": []}}
    run = run_target(
        [schema(), {"type": "RECORD", "stream": "audit_logs", "record": sent}], endpoint=server.url
    )

    assert json.loads(server.kept[0].body.string_value) == sent
    assert not run.log("WARNING")


def test_streams_share_batches_in_the_order_in_which_they_came(server: FakeReceiver) -> None:
    made = [schema("a"), schema("b")]
    for number in range(6):
        made += [record(number, "a" if number % 2 else "b"), state(number)]
    run = run_target(made, endpoint=server.url, max_batch_size=3, **ID)

    assert [len(request.log_records) for request in server.requests] == [3, 3]
    assert [attributes(one)["singer.stream"] for one in server.kept] == [*"bababa"]
    assert run.messages == [{"done": 1}, {"done": 2}, {"done": 4}, {"done": 5}]


def test_a_state_with_numbers_of_any_size_comes_out_as_it_went_in(server: FakeReceiver) -> None:
    value = '{"at": 1.10, "big": 123456789012345678901234567890, "text": "\\ud800\\u00e9"}'
    run = run_target(f'{{"type": "STATE", "value": {value}}}\n'.encode(), endpoint=server.url)

    assert run.stdout == f"{value}\n"


def test_stream_maps_work(server: FakeReceiver) -> None:
    maps = {"audit_logs": {"id": "id", "double": "int(id) * 2", "__else__": None}}
    run_target([schema(id={"type": "string"}), record(4)], endpoint=server.url, stream_maps=maps)

    assert json.loads(server.kept[0].body.string_value) == {"id": "4", "double": 8}


def test_a_time_that_is_not_where_mapping_says_is_told_once(server: FakeReceiver) -> None:
    mapping = {"audit_logs": {"time": "$.created"}}
    run = run_target(messages(5), endpoint=server.url, mapping=mapping)

    (warning,) = run.log("WARNING")
    assert warning == (
        "audit_logs: at least one record has no time at the path that mapping says; such records "
        "are sent without one"
    )
    assert len(server.kept) == 5


def test_settings_come_from_the_environment(server: FakeReceiver) -> None:
    environment = {
        "TARGET_OTLP_ENDPOINT": server.url,
        "TARGET_OTLP_HEADERS": '{"api-key": "hidden"}',
        "TARGET_OTLP_MAX_BATCH_SIZE": "2",
        "TARGET_OTLP_TIMEOUT_SECONDS": "5",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    }
    run = run_target_in(environment, messages(3), "--config=ENV")

    assert run.returncode == 0
    assert [request.headers["api-key"] for request in server.requests] == ["hidden"] * 2
    assert "hidden" not in run.stderr


def test_opentelemetrys_variables_are_enough(server: FakeReceiver) -> None:
    run = run_target_in({"OTEL_EXPORTER_OTLP_ENDPOINT": server.url}, messages(1))

    assert run.returncode == 0
    assert server.requests[0].path == "/v1/logs"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{secret", "is no message in JSON."),
        (b"\xff\xfe", "is no message in JSON."),
        (b'{"type": "RECORD", "stream": "a\xff", "record": {}}', "is no message in JSON."),
        (b"5", "is no message in JSON."),
        (b"", "is no message in JSON."),
        (b"[" * 100_000, "is no message in JSON."),
        (b'{"secret": 1}', "has no type that Singer knows."),
        (b'{"type": "secret"}', "has no type that Singer knows."),
        (b'{"type": ["secret"]}', "has no type that Singer knows."),
        (b'{"type": "RECORD", "stream": "a"}', "is a RECORD without a usable record."),
        (b'{"type": "RECORD", "record": {"a": "secret"}}', "is a RECORD without a usable stream."),
        (b'{"type": "RECORD", "stream": 5, "record": {}}', "is a RECORD without a usable stream."),
        (b'{"type": "STATE", "value": "secret"}', "is a STATE without a usable value."),
        (
            b'{"type": "SCHEMA", "stream": "a", "schema": {"properties": {}}, "key_properties": 5}',
            "is a SCHEMA whose key_properties are no list.",
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
        (b"{secret", "Line 4 of the input is no message in JSON."),
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


def test_a_receiver_that_dies_is_named_and_the_next_run_goes_on_from_the_state() -> None:
    refuses = Reply(500, b"disk full")
    with FakeReceiver(*[Reply()] * 3, refuses) as server:
        first = run_target(messages(95, every=7), endpoint=server.url, max_batch_size=10, **ID)
        assert first.returncode == 1
        (error,) = first.log("ERROR")
        assert error == (
            f"{server.url}/v1/logs answered 500 disk full. 30 records were accepted before, "
            "and the state is out up to the first 28."
        )
        assert "Traceback" not in first.stderr
        done = first.messages[-1]["done"]
        assert done == 28

        server.replies = [Reply()]
        rest = [message for message in messages(95, every=7) if _number(message) >= done]
        second = run_target([schema(), *rest], endpoint=server.url, max_batch_size=10, **ID)

        assert second.returncode == 0
        assert second.messages[-1] == {"done": 91}
        # Every record came, and what came again can be told by its id.
        assert sorted(set(server.ids), key=int_of) == [str(number) for number in range(95)]
        assert sorted(
            (id_ for id_ in set(server.ids) if server.ids.count(id_) > 1), key=int_of
        ) == ["28", "29"]


@contextmanager
def running(server: FakeReceiver, *messages: Message) -> Iterator[subprocess.Popen[bytes]]:
    """Run the target, and give it messages behind which its input stays open."""
    environment = {**ENVIRONMENT, "TARGET_OTLP_ENDPOINT": server.url}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*COMMAND, "--config=ENV"], env=environment, stdin=pipe, stdout=pipe, stderr=pipe
    ) as process:
        assert process.stdin
        assert process.stdout
        # A state for which nothing waits comes out at once: then the target is there.
        for message in (state(0), *messages):
            process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b'{"done": 0}\n'
        time.sleep(0.2)
        yield process


def test_what_waits_is_sent_when_the_target_is_told_to_stop(server: FakeReceiver) -> None:
    with running(server, schema(), record(1), state(1)) as process:
        process.send_signal(signal.SIGTERM)
        stdout, _ = process.communicate(timeout=20)

    assert process.returncode == 0
    assert stdout == b'{"done": 1}\n'
    assert len(server.kept) == 1


@pytest.mark.parametrize("reply", [Reply(403, b"no"), Reply(503, b"no"), Reply(hangs_up=True)])
def test_to_be_told_to_stop_while_the_receiver_fails_is_a_failure_at_once(reply: Reply) -> None:
    with (
        FakeReceiver(reply) as server,
        running(server, schema(), record(1), state(1)) as process,
    ):
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=5)

    assert process.returncode == 1
    assert stdout == b""
    assert (
        stderr.count(b"0 records were accepted before, and the state is out up to the first 0.")
        == 1
    )
    assert b"Traceback" not in stderr


def test_a_signal_ends_a_wait_before_another_try() -> None:
    waits = Reply(503, headers={"Retry-After": "60"})
    full = [record(number) for number in range(500)]
    with FakeReceiver(waits, Reply()) as server, running(server, schema(), *full) as process:
        while not server.requests:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=5)

    assert process.returncode == 0
    assert len(server.kept) == 500


def test_a_second_signal_stops_at_once() -> None:
    slow = Reply(after_seconds=4)
    with FakeReceiver(slow) as server, running(server, schema(), record(1)) as process:
        process.send_signal(signal.SIGTERM)
        while not server.requests:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=2)

    assert process.returncode == -signal.SIGTERM


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
    assert b"The state cannot be written to stdout (BrokenPipeError)" in stderr
    assert b"Exception ignored" not in stderr


def test_input_can_come_from_a_file_in_any_utf_8(server: FakeReceiver, tmp_path: Path) -> None:
    lines = [json.dumps(schema()).encode(), b'{"type": "RECORD", "stream": "audit_logs", "record":']
    # A byte order mark, and a surrogate as some programs write it.
    odd = b"\xef\xbb\xbf" + lines[0] + b"\n" + lines[1] + b' {"id": "\xed\xa0\x80"}}\n'
    (tmp_path / "input").write_bytes(odd)
    run = run_target([], f"--input={tmp_path / 'input'}", endpoint=server.url)

    assert run.returncode == 0
    assert server.kept[0].body.string_value == '{"id":"\\ud800"}'


def test_a_version_that_is_activated_is_nothing_to_logs(server: FakeReceiver) -> None:
    version = {"type": "ACTIVATE_VERSION", "stream": "audit_logs", "version": 1}
    run = run_target([version, schema(), record(1), version], endpoint=server.url)

    assert run.returncode == 0
    assert not run.log("WARNING")


def test_what_the_receiver_says_is_told_whatever_it_is() -> None:
    with FakeReceiver(Reply(500, b"missing env var DB_URL")) as server:
        run = run_target([schema(), record(1)], endpoint=server.url)

    (error,) = run.log("ERROR")
    assert "answered 500 missing env var DB_URL. 0 records were accepted" in error


def _number(message: Message) -> int:
    """The number of a record, or of what a state has done; others come before all."""
    if message["type"] == "RECORD":
        return int(message["record"]["id"])
    return int(message["value"]["done"]) if message["type"] == "STATE" else -1


def int_of(id_: object) -> int:
    return int(str(id_))
