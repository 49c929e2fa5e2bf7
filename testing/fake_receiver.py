"""A stand-in for an OTLP receiver over HTTP, which decodes what it gets and fails as it is told."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from testing.local_server import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import trustme
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource


@dataclass(frozen=True)
class Reply:
    """What the receiver does with a request; `keeps` with one that it answers badly or not."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    keeps: bool = False
    after_seconds: float = 0
    hangs_up: bool = False
    raw: bytes = b""
    """Written as it is in the place of an answer, before the connection is closed."""
    drips: bool = False
    """Whether its body never ends."""


@dataclass(frozen=True)
class Request:
    """A request as it came in from a client's port; names of headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes
    port: int

    @property
    def decoded(self) -> ExportLogsServiceRequest:
        body = gzip.decompress(self.body) if "content-encoding" in self.headers else self.body
        if self.headers["content-type"] == "application/json":
            return Parse(body, ExportLogsServiceRequest())
        return ExportLogsServiceRequest.FromString(body)

    @property
    def log_records(self) -> list[LogRecord]:
        return [
            log_record
            for resource in self.decoded.resource_logs
            for scope in resource.scope_logs
            for log_record in scope.log_records
        ]


class FakeReceiver(LocalServer):
    """A receiver with a port of its own while its context lasts.

    It answers with the replies one after another, and then with the last of them again and again;
    `judge` returns a reply that comes in their place, or None.
    With an authority it speaks TLS, by a certificate from there.
    """

    def __init__(
        self,
        *replies: Reply,
        tls: trustme.CA | None = None,
        judge: Callable[[Request], Reply | None] = lambda _: None,
    ) -> None:
        self.replies = list(replies or [Reply()])
        self.judge = judge
        self.requests: list[Request] = []
        self.kept: list[LogRecord] = []
        self._lock = threading.Lock()
        super().__init__(_handler(self))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.issue_cert("127.0.0.1").configure_cert(context)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.url = self.url.replace("http:", "https:")

    @property
    def ids(self) -> list[object]:
        """The ids of what was kept, in order."""
        return [attributes(log_record).get("log.record.uid") for log_record in self.kept]

    def take(self, request: Request) -> Reply:
        """Take a request in, and return what to do with it."""
        with self._lock:
            self.requests.append(request)
            reply = self.judge(request)
            if reply is None:
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
            if reply.keeps or (reply.status in {200, 201, 202, 204} and not reply.hangs_up):
                self.kept += request.log_records
            return reply


def attributes(of: LogRecord | Resource) -> dict[str, object]:
    """The attributes as plain values."""
    return _plain(of.attributes)


def plain(value: AnyValue) -> object:
    """An AnyValue as a plain value; one without a value is None."""
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        return _plain(value.kvlist_value.values)
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None


def _plain(pairs: Iterable[KeyValue]) -> dict[str, object]:
    found: dict[str, object] = {}
    for pair in pairs:
        assert pair.HasField("value")
        assert pair.key not in found
        found[pair.key] = plain(pair.value)
    return found


def _handler(receiver: FakeReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = receiver.take(Request(self.path, headers, body, self.client_address[1]))
            time.sleep(reply.after_seconds)
            if reply.hangs_up or reply.raw:
                self.wfile.write(reply.raw)
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.status != 204 and not reply.drips:
                self.send_header("Content-Length", str(len(reply.body)))
            with suppress(ConnectionError):
                self.end_headers()
                self.wfile.write(reply.body)
                while reply.drips:
                    self.wfile.write(b"x")
                    time.sleep(0.05)

        def do_GET(self) -> None:
            """Nothing but a followed redirect would come here."""
            receiver.take(Request(self.path, {}, b"", self.client_address[1]))
            self.send_error(405)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def refuses(
    *ids: str, status: int = 400, body: bytes = b"bad record", most: int = 1000
) -> Callable[[Request], Reply | None]:
    """Judge as a receiver does that refuses these ids, and more than so many records at once."""

    def judge(request: Request) -> Reply | None:
        found = [attributes(each).get("log.record.uid") for each in request.log_records]
        is_bad = len(found) > most or not set(ids).isdisjoint(map(str, found))
        return Reply(status, body) if is_bad else None

    return judge


def partial_success(rejected: int, message: str = "") -> bytes:
    response = ExportLogsServiceResponse()
    response.partial_success.rejected_log_records = rejected
    response.partial_success.error_message = message
    return response.SerializeToString()
