"""Proxies and private certificate authorities, by the usual environment variables."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Self

import pytest
import trustme

from testing import recorded
from testing.sentry_tap import run_tap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = {"auth_token": "token", "organization": "acme"}


class _OneRow(BaseHTTPRequestHandler):
    """Answers every request with the recorded log of an empty organization."""

    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        body = recorded.body("empty_org")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Link", recorded.headers("empty_org")["Link"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server:
    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[str] = []
        handler = type("Handler", (_OneRow,), {"seen": self.seen})
        self.server = HTTPServer(("127.0.0.1", 0), handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


AUTHORITY = trustme.CA()


@pytest.fixture
def tls_server() -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    with Server(context) as server:
        yield server


def test_a_proxy_of_the_environment_is_used() -> None:
    with Server() as proxy:
        settings = SETTINGS | {"host": "http://sentry.invalid"}
        run = run_tap(
            settings,
            environment={"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}", "NO_PROXY": ""},
        )

    assert run.returncode == 0
    [path] = {path.partition("?")[0] for path in proxy.seen}
    assert path == "http://sentry.invalid/api/0/organizations/acme/audit-logs/"


def test_no_proxy_is_obeyed() -> None:
    with Server() as proxy, Server() as sentry:
        run = run_tap(
            SETTINGS | {"host": f"http://127.0.0.1:{sentry.port}"},
            environment={
                "HTTP_PROXY": f"http://127.0.0.1:{proxy.port}",
                "NO_PROXY": "127.0.0.1",
            },
        )

    assert run.returncode == 0
    assert (len(proxy.seen), len(sentry.seen)) == (0, 1)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_private_authority_of_the_environment_is_trusted(
    variable: str, tls_server: Server, tmp_path: Path
) -> None:
    bundle = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(bundle))
    environment = {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "", variable: str(bundle)}
    run = run_tap(
        SETTINGS | {"host": f"localhost:{tls_server.port}"}, "--test", environment=environment
    )

    assert run.returncode == 0, run.stderr
    assert len(tls_server.seen) == 1


def test_an_unknown_authority_is_told_at_once(tls_server: Server) -> None:
    run = run_tap(SETTINGS | {"host": f"localhost:{tls_server.port}"})

    assert run.returncode == 1
    [error] = run.log("ERROR")
    assert error.startswith(f"acme: The certificate of localhost:{tls_server.port} cannot be")
    assert error.endswith("set REQUESTS_CA_BUNDLE to its certificate file")
    assert run.log("WARNING") == []


def test_a_bundle_that_cannot_be_read_is_told(tls_server: Server) -> None:
    run = run_tap(
        SETTINGS | {"host": f"localhost:{tls_server.port}"},
        environment={"REQUESTS_CA_BUNDLE": "/nowhere.pem"},
    )

    assert run.returncode == 1
    assert run.log("ERROR") == [
        "acme: The file in REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE cannot be read",
    ]
    assert tls_server.seen == []


def test_a_netrc_does_not_replace_the_token(tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    with Server() as sentry:
        headers: list[str] = []

        class _Noting(_OneRow):
            seen = sentry.seen

            def do_GET(self) -> None:
                headers.append(self.headers["Authorization"])
                super().do_GET()

        sentry.server.RequestHandlerClass = _Noting
        run_tap(
            SETTINGS | {"host": f"http://127.0.0.1:{sentry.port}"},
            environment={"NETRC": str(netrc)},
        )

    assert headers == ["Bearer token"]
