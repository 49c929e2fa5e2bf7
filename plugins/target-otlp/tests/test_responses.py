"""What the body of a response says: accepted, rejected in part, or not from an OTLP receiver."""

from __future__ import annotations

import gzip

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from target_otlp.responses import InvalidResponseError, PartialSuccess, parse_partial_success
from testing.fake_receiver import partial_success

BULK = b'{"took":0,"errors":false,"items":[{"create":{"_id":"secret"}}]}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \r\n\t",
        b"\xef\xbb\xbf",
        b"\n\x00",
        # An unknown field in the partial success.
        b"\n\x02\x18\x07",
        # A number below 0, as protobuf writes it.
        partial_success(-1),
        b"\xef\xbb\xbf\r\n{}\r\n",
        b'{"partialSuccess": {}}',
        b'{"partialSuccess": null}',
        b'{"partialSuccess": {"rejectedLogRecords": "0"}}',
        b'{"partial_success":{"rejected_log_records":"0","error_message":""}}',
        b'{"partialSuccess":{"rejectedLogRecords":0,"new":[1]}}',
    ],
    ids=repr,
)
def test_a_receiver_accepts_all_records_with(body: bytes) -> None:
    assert parse_partial_success(body) == PartialSuccess()


@pytest.mark.parametrize(
    "body",
    [
        partial_success(3, "too old"),
        # Protobuf merges the pieces of a message.
        b"\n\x02\x08\x03\n\x09\x12\x07too old",
        b'{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too old"}}',
        b'\xef\xbb\xbf{"partialSuccess":{"rejectedLogRecords":3,"errorMessage":"too old"}}',
        b' {"partial_success":{"rejected_log_records":3,"error_message":"too old"}}',
        b'{"partialSuccess":{"rejectedLogRecords":2.1,"errorMessage":"too old"}}',
    ],
    ids=repr,
)
def test_a_receiver_rejects_some_records_with(body: bytes) -> None:
    assert parse_partial_success(body) == PartialSuccess(3, "too old")


@pytest.mark.parametrize(
    "body",
    [
        b"\n\x07\x08\x03\x12\x03a\xffb",
        b'{"partialSuccess":{"rejectedLogRecords":3,"errorMessage":5}}',
        b'{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"\\ud800"}}',
        b'{"partialSuccess":{"rejectedLogRecords":3,"errorMessage":"\xff"}}',
        b'{"partialSuccess":{"rejectedLogRecords":"3.0","errorMessage":"a\x01b"}} and more',
    ],
)
def test_rejected_records_count_though_the_message_cannot_be_read(body: bytes) -> None:
    assert parse_partial_success(body).rejected == 3


@pytest.mark.parametrize(
    "body",
    [
        b'{"partialSuccess":{"rejectedLogRecords":99999999999999999999}}',
        b'{"partialSuccess":{"rejectedLogRecords":3,"errorMessage":"\\q"}}',
    ],
)
def test_how_many_were_rejected_may_be_unreadable_but_not_that_some_were(body: bytes) -> None:
    assert parse_partial_success(body).rejected > 0


@pytest.mark.parametrize("length", [91, 123])
def test_a_warning_whose_length_is_the_code_of_a_bracket_is_an_acceptance(length: int) -> None:
    message = "m" * (length - 2)
    body = partial_success(0, message)
    assert body[1] == length

    assert parse_partial_success(body) == PartialSuccess(0, message)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (
            b'<!doctype html>\n<html lang="en"><head><title>Secret page</title></head></html>\n',
            "an HTML page",
        ),
        (b"\xef\xbb\xbf\r\n<HTML><body>secret \xe9\xff</body></HTML>", "an HTML page"),
        (b'<?xml version="1.0"?><secret/>', "XML"),
        (b"secret", "plain text"),
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
        (b'{"partialSuccess":"secret"}', "JSON whose partialSuccess is not an object"),
        (
            b'{"partialSuccess":{"rejectedLogRecords":"secret"}}',
            "JSON whose rejectedLogRecords is not a number",
        ),
        # What an endpoint for traces says.
        (b'{"partialSuccess":{"rejectedSpans":3}}', "JSON with the key rejectedSpans"),
        (b'{} {"secret": 1}', "JSON followed by something else"),
        (b"{secret", "JSON that cannot be read"),
        (b'{"partialSuccess":{', "JSON that cannot be read"),
        (b"[]", "JSON that is not an object"),
        (b'[{"partialSuccess":{}}]', "JSON that is not an object"),
        (b"null", "JSON that is not an object"),
        (b"0", "JSON that is not an object"),
        (b'\xef\xbb\xbf "secret"', "JSON that is not an object"),
        # Protobuf: field 2; field 1 as a number; field 1 that holds no message; field 1 and 3, both
        # messages; a partial success whose number is text.
        (b"\x12\x06secret", "binary data"),
        (b"\x08\x00", "binary data"),
        (b"\n\x07\x00secret", "binary data"),
        (b"\n\x00\x1a\x02\x08\x03", "binary data"),
        (b"\n\x08\n\x06secret", "binary data"),
        (b"\0", "binary data"),
        (gzip.compress(b"{}", mtime=0), "binary data"),
    ],
    ids=repr,
)
def test_any_other_body_is_refused_as_none_of_an_otlp_receiver(body: bytes, kind: str) -> None:
    with pytest.raises(InvalidResponseError) as caught:
        parse_partial_success(body)

    assert str(caught.value) == kind


def test_a_server_that_echoes_the_request_is_no_receiver() -> None:
    echo = ExportLogsServiceRequest()
    resource_logs = echo.resource_logs.add()
    # The target's own requests always name the service.
    resource_logs.resource.attributes.add(key="service.name").value.string_value = "singer"
    resource_logs.scope_logs.add().log_records.add().body.string_value = "a"

    with pytest.raises(InvalidResponseError, match="binary data"):
        parse_partial_success(echo.SerializeToString())
