"""Answers without end: each request has a deadline as a whole, and each answer a largest size."""

from __future__ import annotations

import gzip
import logging
import resource
import socket
import ssl
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from itertools import repeat
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest
import requests
import trustme

from tap_sentry_audit.api.exceptions import DeadlineError, SentryError
from tap_sentry_audit.api.rate_limit import RateLimiter
from tap_sentry_audit.api.transport import Transport
from tap_sentry_audit.api.watchdog import Watchdog
from testing.fake_sentry import Answer, FakeSentry, Log, entries
from testing.local_server import LocalServer
from testing.sentry_tap import config, run_tap

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PATH = "GET /api/0/organizations/acme/audit-logs/"


def dripping(head: bytes, piece: bytes, seconds: float = 0.05) -> Callable[[socket.socket], None]:
    """Send a head, and then a piece again and again, until the client leaves."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(head)
        for each in repeat(piece):
            connection.sendall(each)
            time.sleep(seconds)

    return talk


WITHOUT_END = {
    "nothing": lambda connection: connection.recv(1),
    "headers": dripping(HEAD + b"X-Long: ", b"a"),
    "a body": dripping(HEAD + b"Content-Length: 99999\r\n\r\n", b" "),
    "a body to the end of the connection": dripping(HEAD + b"Connection: close\r\n\r\n[]", b" "),
    "chunks": dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "continue": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0),
}


@pytest.mark.parametrize("name", WITHOUT_END)
def test_an_answer_without_end_is_cut_at_the_deadline_and_tried_again(name: str) -> None:
    log = Log(entries.even(5))
    with FakeSentry({"acme": log}, faults=[WITHOUT_END[name]]) as sentry:
        ended = run_tap(config(sentry, request_deadline_seconds=1), timeout=10)

    assert (ended.returncode, len(ended.ids)) == (0, 5)
    [warning] = ended.log("WARNING")
    late = f"Sentry did not answer within 1 s ({PATH} at 127.0.0.1:{sentry.port})"
    assert warning.startswith(f"{late}; trying again in ")


def test_a_request_that_misses_its_deadline_is_tried_only_once_more() -> None:
    always = WITHOUT_END["headers"]
    with FakeSentry({"acme": Log()}, faults=lambda *_: always) as sentry:
        ended = run_tap(config(sentry, request_deadline_seconds=1), timeout=10)

    assert ended.returncode == 1
    assert len(sentry.requests) == 2
    [error] = ended.errors
    assert "within 1 s: run again later, or raise request_deadline_seconds (GET " in error
    assert error.endswith("). Tried 2 times")


def test_the_deadline_holds_for_encrypted_connections_and_those_that_were_kept() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    log = Log(entries.even(250))
    wrong = {2: WITHOUT_END["a body"]}
    with (
        authority.cert_pem.tempfile() as bundle,
        FakeSentry({"acme": log}, tls=context, faults=wrong) as sentry,
    ):
        settings = config(
            sentry,
            host=f"https://localhost:{sentry.port}",
            request_deadline_seconds=1,
            max_concurrent_requests=1,
        )
        ended = run_tap(settings, environment={"REQUESTS_CA_BUNDLE": bundle}, timeout=10)

    assert (ended.returncode, len(ended.ids)) == (0, 250)
    [warning] = ended.log("WARNING")
    assert "did not answer within 1 s" in warning


def transport(seconds: float, **options: float) -> Transport:
    watchdog = Watchdog(seconds, logging.getLogger("test"), **options)
    return Transport(RateLimiter(40, 2), watchdog, connections=2, timeout=60, max_bytes=8 << 20)


def session(adapter: Transport) -> requests.Session:
    made = requests.Session()
    made.mount("http://", adapter)
    made.mount("https://", adapter)
    return made


def test_a_handshake_without_end_is_cut_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, session(transport(0.5)) as client:
        port = silent.getsockname()[1]
        with pytest.raises(DeadlineError):
            client.get(f"https://127.0.0.1:{port}/")


def test_a_name_that_is_looked_up_without_end_is_given_up_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: over.wait(30))
    began = time.monotonic()
    with session(transport(0.5)) as client, pytest.raises(DeadlineError, match=r"within 0\.5 s"):
        client.get("http://sentry.invalid/")

    over.set()
    assert time.monotonic() - began < 5


def test_a_tunnel_without_end_is_cut_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalServer(DrippingProxy) as proxy, session(transport(0.5)) as client:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(DeadlineError):
            client.get("https://sentry.invalid/")


class DrippingProxy(BaseHTTPRequestHandler):
    def do_CONNECT(self) -> None:
        with suppress(OSError):
            dripping(b"HTTP/1.1 ", b"2")(self.connection)


def test_a_bomb_is_stopped_while_it_is_unpacked() -> None:
    layer = gzip.compress(bytes(64 << 20))
    twice = Answer(200, gzip.compress(layer * 16), {"Content-Encoding": "gzip, gzip"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with (
        FakeSentry({}, faults=[twice]) as sentry,
        session(transport(30)) as client,
        pytest.raises(SentryError, match="the answer is larger than 8 MiB"),
    ):
        client.get(f"{sentry.url}/api/0/")

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_one_line_tells_of_all_requests_that_hang_together(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    adapter = transport(1.5, patience=0.5)
    with FakeSentry({}, faults=lambda *_: "hang") as sentry, session(adapter) as client:
        threads = [Thread(target=fail, args=(client, f"{sentry.url}/api/")) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    [line] = caplog.messages
    assert line.startswith(f"GET /api/ at 127.0.0.1:{sentry.port}: no complete answer")
    assert " s; waiting until " in line


def fail(client: requests.Session, url: str) -> None:
    with suppress(DeadlineError):
        client.get(url)
