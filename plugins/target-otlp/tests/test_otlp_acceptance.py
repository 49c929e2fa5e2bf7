"""What counts as an acceptance: a status alone does not. The target runs as a process."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from target_otlp.responses import InvalidResponseError, PartialSuccess, parse_partial_success
from testing.fake_receiver import FakeReceiver, Reply
from testing.otlp_target import record, run_target, schema, state

if TYPE_CHECKING:
    from testing.forked import Message

HTML = b'<!doctype html>\n<html lang="en"><head><title>Secret page</title></head></html>\n'
BULK = b'{"took":0,"errors":false,"items":[{"create":{"_id":"secret"}}]}'


def zipped(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


MESSAGES: list[Message] = [schema(), record(1), state(1), record(2), state(2), record(3), state(3)]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (HTML, "an HTML page"),
        (b"\xef\xbb\xbf\r\n<HTML><body>secret \xe9\xff</body></HTML>", "an HTML page"),
        (b'<?xml version="1.0"?><secret/>', "XML"),
        (b"secret", "plain text"),
        (b"ok\n", "plain text"),
        # As protobuf: a partial success with nothing in it but a field that is not known.
        (b"\n\taccepted!", "plain text"),
        (BULK, "JSON with the keys took, errors, items"),
        (b' {"message": "secret"}', "JSON with the key message"),
        # What npm's @elastic/mockotlpserver 0.10.0 answers to JSON, whatever the path.
        (b'{"ok":1}', "JSON with the key ok"),
        (b'{"partialSuccess":{},"took":1}', "JSON with the keys partialSuccess, took"),
        (
            b'{"partialSuccess":{},"partial_success":{"rejected_log_records":1}}',
            "JSON with the keys partialSuccess, partial_success",
        ),
        (b'{"partialSuccess":"secret"}', "JSON whose partialSuccess is no object"),
        (b'{"partialSuccess":[]}', "JSON whose partialSuccess is no object"),
        (
            b'{"partialSuccess":{"rejectedLogRecords":"secret"}}',
            "JSON whose rejectedLogRecords is no number",
        ),
        # What an endpoint for traces says.
        (b'{"partialSuccess":{"rejectedSpans":3}}', "JSON with the key rejectedSpans"),
        (b'{} {"secret": 1}', "JSON and something after it"),
        (b"{secret", "JSON that cannot be read"),
        (b'{"partialSuccess":{', "JSON that cannot be read"),
        (b"[]", "JSON that is no object"),
        (b'[{"partialSuccess":{}}]', "JSON that is no object"),
        (b"null", "JSON that is no object"),
        (b"true", "JSON that is no object"),
        (b"0", "JSON that is no object"),
        (b'\xef\xbb\xbf "secret"', "JSON that is no object"),
        # Protobuf: field 2; field 1 as a number; field 1 that holds no message; field 1 and 3;
        # a partial success whose number is text.
        (b"\x12\x06secret", "binary data"),
        (b"\x08\x00", "binary data"),
        (b"\n\x07\x00secret", "binary data"),
        (b"\n\x00\x18\x00", "binary data"),
        (b"\n\x08\n\x06secret", "binary data"),
        (b"\n\x02\x08", "binary data"),
        (b"\xff\xff", "binary data"),
        (b"\0", "binary data"),
        (zipped(b"{}"), "binary data"),
    ],
    ids=repr,
)
def test_any_other_answer_is_none_of_an_otlp_receiver(body: bytes, kind: str) -> None:
    with pytest.raises(InvalidResponseError) as caught:
        parse_partial_success(body)

    assert str(caught.value) == kind


@pytest.mark.parametrize("status", [200, 201, 202])
def test_such_an_answer_is_a_failure_that_names_path_and_kind(status: int) -> None:
    with FakeReceiver(Reply(), Reply(status, HTML), Reply()) as server:
        run = run_target(MESSAGES, endpoint=server.url, max_batch_size=1)

        assert len(server.requests) == 2
    assert run.returncode == 1
    assert run.messages == [{"done": 1}]
    [error] = run.log("ERROR")
    assert error == (
        f"Check the path of endpoint: {server.url}/v1/logs answered {status} with an HTML page, "
        "which is no answer of an OTLP receiver. 1 records were accepted before, and the state is "
        "out up to the first 1."
    )
    assert "secret" not in run.stderr.lower()
    assert "Traceback" not in run.stderr


def test_the_path_that_is_named_is_the_one_that_was_asked() -> None:
    with FakeReceiver(Reply(200, HTML, {"Content-Type": "text/html"})) as server:
        run = run_target(MESSAGES, endpoint=f"{server.url}/select/vmui/?key=secret")

        assert [request.path for request in server.requests] == ["/select/vmui/?key=secret"]
    assert (run.returncode, run.stdout) == (1, "")
    [error] = run.log("ERROR")
    assert error.startswith(
        f"Check the path of endpoint: {server.url}/select/vmui/ answered 200 with an HTML page, "
    )
    assert "secret" not in run.stderr.lower()


def test_an_answer_with_our_key_in_it_does_not_show_the_key() -> None:
    with FakeReceiver(Reply(200, b'{"no user hunter2hunter2": 1}')) as server:
        headers = {"Authorization": "Bearer hunter2hunter2"}
        run = run_target(MESSAGES, endpoint=server.url, headers=headers)

    assert run.returncode == 1
    assert "hunter2" not in run.stderr
    assert "JSON with the key no user ***, which" in run.stderr


def test_a_compressed_answer_that_is_cut_off_is_no_empty_one() -> None:
    cut = zipped(b'{"partialSuccess":{"rejectedLogRecords":3}}')[:10]
    with FakeReceiver(Reply(200, cut, {"Content-Encoding": "gzip"})) as server:
        run = run_target(MESSAGES, endpoint=server.url)

    assert (run.returncode, run.stdout) == (1, "")


def test_a_compressed_answer_is_read_to_its_end() -> None:
    body = zipped(b"") + zipped(HTML)
    with FakeReceiver(Reply(200, body, {"Content-Encoding": "gzip"})) as server:
        run = run_target(MESSAGES, endpoint=server.url)

    assert (run.returncode, run.stdout) == (1, "")


@pytest.mark.parametrize("length", [91, 123])
def test_a_warning_whose_length_is_the_code_of_a_bracket_is_an_acceptance(length: int) -> None:
    response = ExportLogsServiceResponse()
    response.partial_success.error_message = "m" * (length - 2)
    body = response.SerializeToString()
    assert body[1] == length

    assert parse_partial_success(body) == PartialSuccess(0, "m" * (length - 2))


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
    ],
)
def test_an_answer_that_breaks_off_in_its_headers_is_none(raw: bytes) -> None:
    with FakeReceiver(Reply(raw=raw), Reply()) as server:
        run = run_target(MESSAGES, endpoint=server.url)

        assert len(server.requests) == 2
    assert (run.returncode, run.stdout) == (0, '{"done": 3}\n')


def test_a_malformed_header_shows_neither_a_key_nor_a_traceback() -> None:
    raw = b"HTTP/1.1 200 OK\r\nServer x\r\nConnection: close\r\n\r\n"
    with FakeReceiver(Reply(raw=raw)) as server:
        run = run_target(MESSAGES, endpoint=f"{server.url}/v1/logs?api_key=hunter2hunter2")

    assert run.returncode == 0
    assert "hunter2" not in run.stderr
    assert "Traceback" not in run.stderr


def test_rejected_records_count_in_protobuf_that_is_called_json() -> None:
    # OpenObserve 0.92.2 answers a request in JSON so.
    response = ExportLogsServiceResponse()
    response.partial_success.rejected_log_records = 1
    response.partial_success.error_message = "Too old data, only last 5 hours are accepted"
    body = response.SerializeToString()
    with FakeReceiver(Reply(200, body, {"Content-Type": "application/json"})) as server:
        run = run_target(MESSAGES, endpoint=server.url, encoding="json")

    assert (run.returncode, run.stdout) == (1, "")
    assert "rejected 1 of 3 records: Too old data" in run.log("ERROR")[0]


def test_rejected_records_count_in_a_partial_success_that_comes_in_pieces() -> None:
    # So protobuf merges them.
    with FakeReceiver(Reply(200, b"\n\x02\x08\x03\n\x00")) as server:
        run = run_target(MESSAGES, endpoint=server.url)

    assert (run.returncode, run.stdout) == (1, "")
    assert "rejected 3 of 3 records" in run.log("ERROR")[0]


def test_a_server_that_repeats_what_it_gets_is_none() -> None:
    echo = ExportLogsServiceRequest()
    resource_logs = echo.resource_logs.add()
    # The target's own requests always name the service.
    resource_logs.resource.attributes.add(key="service.name").value.string_value = "singer"
    resource_logs.scope_logs.add().log_records.add().body.string_value = "a"
    with FakeReceiver(Reply(200, echo.SerializeToString())) as server:
        run = run_target(MESSAGES, endpoint=server.url)

    assert (run.returncode, run.stdout) == (1, "")
