"""What a receiver's answers mean. The receivers are real servers on this machine."""

from __future__ import annotations

import gzip
import json
import socket
from typing import TYPE_CHECKING

import pytest
import trustme
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)

from target_otlp.clock import Clock
from target_otlp.config import parse_settings
from target_otlp.receiver import DeliveryError, Receiver
from target_otlp.responses import PartialSuccess
from testing.fake_receiver import FakeReceiver, Reply, partial_success
from testing.otlp_target import settings
from testing.standing_clock import StandingClock

if TYPE_CHECKING:
    from pathlib import Path

JSON = {"Content-Type": "application/json"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
SECRET = "Bearer hunter2hunter2"  # noqa: S105  (the test's)


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


def request(records: int = 1) -> ExportLogsServiceRequest:
    made = ExportLogsServiceRequest()
    log_records = made.resource_logs.add().scope_logs.add().log_records
    for number in range(records):
        log_records.add(time_unix_nano=2**63, severity_number=9).body.string_value = str(number)
    return made


def send(server: FakeReceiver, **config: object) -> PartialSuccess:
    return send_in({}, server, None, **config)


def send_in(
    environment: dict[str, str],
    server: FakeReceiver,
    clock: StandingClock | None = None,
    **config: object,
) -> PartialSuccess:
    """Send a request by the clock of the machine, unless there is another."""
    read = parse_settings({"endpoint": server.url, **config}, environment)
    given = Clock(clock.monotonic, clock.sleep) if clock else None
    return Receiver(read, clock=given).send(request())


def failure(server: FakeReceiver, clock: StandingClock | None = None, **config: object) -> str:
    with pytest.raises(DeliveryError) as caught:
        send_in({}, server, clock, **config)
    return str(caught.value)


def test_an_answer_that_never_ends_is_given_up() -> None:
    with FakeReceiver(Reply(200, drips=True)) as server:
        brief = {"OTEL_EXPORTER_OTLP_TIMEOUT": "200"}
        with pytest.raises(DeliveryError, match="cannot be reached"):
            send_in(brief, server, max_retry_seconds=0)


def test_no_more_of_an_answer_is_read_than_anybody_needs() -> None:
    with FakeReceiver(Reply(200, b"x" * (1 << 25)), Reply(500, b"y" * (1 << 25))) as server:
        assert failure(server).endswith(
            "/v1/logs answered 200 with more than an OTLP receiver sends"
        )
        assert len(failure(server)) < 500


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_receiver_accepts_with_the_status(status: int) -> None:
    with FakeReceiver(Reply(status)) as server:
        assert send(server) == PartialSuccess()
        assert len(server.kept) == 1


@pytest.mark.parametrize("status", [203, 206, 299, 400, 408, 413, 422, 500, 501, 999])
def test_any_other_status_is_a_failure_at_once(status: int, clock: StandingClock) -> None:
    with FakeReceiver(Reply(status, b"no")) as server:
        assert failure(server, clock).startswith(f"{server.url}/v1/logs answered {status} no")
        assert len(server.requests) == 1


def test_what_else_an_answer_is_comes_with_the_path_and_without_secrets() -> None:
    with FakeReceiver(Reply(200, b'{"no user hunter2hunter2": 1}')) as server:
        told = failure(server, headers={"Authorization": SECRET})
    assert told == (
        f"Check the path of endpoint: {server.url}/v1/logs answered 200 with JSON with the key "
        "no user ***, which no OTLP receiver sends"
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (gzip.compress(b"", mtime=0), PartialSuccess()),
        (gzip.compress(partial_success(3, "too\nold"), mtime=0), PartialSuccess(3, "too old")),
        # Not what its header says.
        (b"{}", PartialSuccess()),
    ],
)
def test_an_answer_that_a_proxy_has_compressed_is_read(
    body: bytes, expected: PartialSuccess
) -> None:
    with FakeReceiver(Reply(200, body, {"Content-Encoding": "gzip"})) as server:
        assert send(server) == expected


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(partial_success(3), mtime=0)[:10],
        # Two members, of which the first is empty.
        gzip.compress(b"", mtime=0) + gzip.compress(b"<html>", mtime=0),
    ],
)
def test_a_compressed_answer_that_is_not_whole_or_goes_on_is_no_empty_one(body: bytes) -> None:
    with FakeReceiver(Reply(200, body, {"Content-Encoding": "gzip"})) as server:
        assert "which no OTLP receiver sends" in failure(server)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 503 No\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"no HTTP\r\n\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_tried_again(answer: bytes, clock: StandingClock) -> None:
    breaks = Reply(raw=answer, hangs_up=not answer)
    with FakeReceiver(breaks, breaks, Reply(200)) as server:
        assert send_in({}, server, clock) == PartialSuccess()
    assert len(clock.waits) == 2


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"bad body", {}),
        (b'{"code": 3, "message": "bad body"}', JSON),
        # A google.rpc.Status: code, message (whose length is that of a quote's code), details.
        (b"\x08\x03\x12\x22" + b"bad body".ljust(34) + b"\x1a\x02\x0a\x00", PROTOBUF),
    ],
)
def test_the_message_of_a_failure_is_shown_whatever_its_form(
    body: bytes, headers: dict[str, str]
) -> None:
    with FakeReceiver(Reply(422, body, headers)) as server:
        assert failure(server) == f"{server.url}/v1/logs answered 422 bad body"


@pytest.mark.parametrize("body", [b"{broken", b"[]", b'{"message": {"a": 1}}', b"\xff\xfe"])
def test_a_failure_with_any_other_body_is_one_line(body: bytes) -> None:
    with FakeReceiver(Reply(500, body)) as server:
        assert len(failure(server).splitlines()) == 1


@pytest.mark.parametrize(
    "location",
    ["http://[::1/", "http://user:hidden@other/\x1b[31m", "http://u:hid?hidden@o", "x" * 9000],
)
def test_a_redirect_to_anywhere_is_one_line_without_secrets(location: str) -> None:
    with FakeReceiver(Reply(302, headers={"Location": location})) as server:
        told = failure(server)
    assert "answered 302: redirects are not followed" in told
    assert "hidden" not in told
    assert told.isprintable()
    assert len(told) < 500


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b"unsupported path requested: /otlp", "check the path of endpoint, /otlp"),
        (
            b"bad request",
            (
                "if it does not know the path /otlp, correct endpoint; if it cannot read OTLP in "
                "this form, try another encoding"
            ),
        ),
    ],
)
def test_the_hint_for_a_400_names_the_path(body: bytes, hint: str) -> None:
    with FakeReceiver(Reply(400, body)) as server, pytest.raises(DeliveryError) as caught:
        Receiver(settings(f"{server.url}/otlp")).send(request())
    assert str(caught.value) == f"{server.url}/otlp answered 400 {body.decode()}: {hint}"


def test_the_query_of_the_endpoint_is_sent_but_not_shown() -> None:
    echo = Reply(404, b"no route /insert?key=hiddenkey and hiddenkey")
    with FakeReceiver(echo) as server:
        with pytest.raises(DeliveryError) as caught:
            Receiver(settings(f"{server.url}/insert?key=hiddenkey")).send(request())
        assert server.requests[0].path == "/insert?key=hiddenkey"
    assert str(caught.value).startswith(
        f"{server.url}/insert answered 404 no route /insert?*** and ***: "
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(status: int) -> None:
    with FakeReceiver() as other:
        location = {"Location": f"{other.url}/v1/logs?key=hidden"}
        with FakeReceiver(Reply(status, headers=location)) as server:
            told = failure(server, headers={"Authorization": SECRET})
            assert len(server.requests) == 1
        assert not other.requests
    assert told == (
        f"{server.url}/v1/logs answered {status}: redirects are not followed; is "
        f"{other.url}/v1/logs the right endpoint?"
    )


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_failure_that_passes_is_tried_again_ever_more_rarely(
    status: int, clock: StandingClock
) -> None:
    with FakeReceiver(*[Reply(status)] * 4, Reply(200)) as server:
        assert send_in({}, server, clock) == PartialSuccess()
        assert len(server.requests) == 5
    for wait, longest in zip(clock.waits, (1, 2, 4, 8), strict=True):
        assert longest / 2 <= wait <= longest


def test_an_answer_that_does_not_come_in_time_is_tried_again(clock: StandingClock) -> None:
    with FakeReceiver(Reply(after_seconds=3), Reply(200)) as server:
        assert send_in({"OTEL_EXPORTER_OTLP_TIMEOUT": "200"}, server, clock) == PartialSuccess()
        assert len(server.requests) == 2
    assert len(clock.waits) == 1


def test_retry_after_is_obeyed_and_a_little_more(clock: StandingClock) -> None:
    replies = [Reply(503, headers={"Retry-After": wait}) for wait in ("120", "0", "0")]
    with FakeReceiver(*replies, Reply(200)) as server:
        send_in({}, server, clock)
    for wait, asked in zip(clock.waits, (120, 0, 0), strict=True):
        assert asked + 0.1 <= wait <= asked + 0.5


def test_trying_again_ends_at_its_cap(clock: StandingClock) -> None:
    with FakeReceiver(Reply(503, b"overloaded")) as server:
        told = failure(server, clock=clock, max_retry_seconds=60)
    assert told == f"{server.url}/v1/logs answered 503 overloaded; max_retry_seconds is 60"
    assert 30 < sum(clock.waits) <= 60


def test_a_wait_beyond_the_cap_is_not_begun(clock: StandingClock) -> None:
    with FakeReceiver(Reply(429, headers={"Retry-After": "3600"})) as server:
        told = failure(server, clock=clock)
        assert len(server.requests) == 1
    assert told.endswith("answered 429, asks to wait 3,600 s; max_retry_seconds is 300")
    assert not clock.waits


def test_a_receiver_that_is_not_there_is_named(clock: StandingClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(DeliveryError, match=rf"{url}/v1/logs cannot be reached \(Connection"):
        Receiver(
            settings(url, max_retry_seconds=5), clock=Clock(clock.monotonic, clock.sleep)
        ).send(request())
    assert clock.waits


def test_a_message_is_shown_on_one_line_cut_and_without_secrets() -> None:
    body = f"key {SECRET} ({SECRET.split()[1]})\n\nis \x1b[31mno good ".encode() + b"x" * 9000
    with FakeReceiver(Reply(401, body)) as server:
        told = failure(server, headers={"Authorization": SECRET})
    assert "hunter2" not in told
    assert told.startswith(
        f"{server.url}/v1/logs answered 401 key Bearer *** (***) is [31mno good xxx"
    )
    assert told.endswith("x…: check the API key in headers")
    assert len(told) < 500


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Cookie": "sid=hidden123; x=1"}, b"no session hidden123"),
        ({"Authorization": "Basic dXNlcjpoaWRkZW4xMjM="}, b"user and hidden123 do not match"),
        ({"a": "hidden1", "b": "hidden123"}, b"hidden123 is wrong"),
        ({"a": "hidden%20123"}, b"hidden 123 is wrong"),
        ({"a": "hidden/12="}, b'{"error": "hidden\\/12\\u003d is wrong"}'),
    ],
    ids=str,
)
def test_a_secret_is_masked_in_whatever_form_it_is_repeated(
    headers: dict[str, str], body: bytes
) -> None:
    with FakeReceiver(Reply(400, body, JSON)) as server:
        told = failure(server, headers=headers)
    assert "***" in told
    assert "hidden" not in told
    assert "123" not in told.rpartition("answered")[2]


def test_requests_share_a_connection() -> None:
    with FakeReceiver(Reply(), Reply(200, b"{}", JSON), Reply(204)) as server:
        sender = Receiver(settings(server.url))
        for _ in range(4):
            sender.send(request())
        assert len({one.port for one in server.requests}) == 1


def test_headers_are_on_every_request_and_a_netrc_file_changes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with FakeReceiver(Reply(hangs_up=True), Reply(200)) as server:
        send(server, headers={"Authorization": SECRET, "X-Scope-OrgID": "7"})
        sent = [one.headers for one in server.requests]
    assert [(one["authorization"], one["x-scope-orgid"]) for one in sent] == [(SECRET, "7")] * 2
    assert sent[0]["user-agent"].startswith("target-otlp/")


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_each_form_of_a_request_is_understood(encoding: str, compression: str) -> None:
    with FakeReceiver() as server:
        send(server, encoding=encoding, compression=compression)
        (one,) = server.requests
        assert one.decoded == request()
    assert one.path == "/v1/logs"
    kinds = {"protobuf": "application/x-protobuf", "json": "application/json"}
    assert one.headers["content-type"] == kinds[encoding]
    assert one.headers.get("content-encoding") == (None if compression == "none" else "gzip")
    if encoding == "json":
        body = gzip.decompress(one.body) if compression == "gzip" else one.body
        (log_record,) = json.loads(body)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        # OTLP's own form of JSON: enumerations as numbers, 64-bit integers as text.
        assert log_record == {
            "timeUnixNano": str(2**63),
            "severityNumber": 9,
            "body": {"stringValue": "0"},
        }


def test_a_certificate_that_is_not_known_is_a_failure_at_once_and_a_known_one_is_none(
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with FakeReceiver(tls=authority) as server:
        with pytest.raises(DeliveryError, match="cannot be trusted: "):
            Receiver(settings(server.url)).send(request())
        names = ("OTEL_EXPORTER_OTLP_CERTIFICATE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
        for number, name in enumerate(names, 1):
            assert send_in({name: str(tmp_path / "ca.pem")}, server) == PartialSuccess()
            assert len(server.requests) == number
