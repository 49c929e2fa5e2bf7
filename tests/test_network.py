"""Proxies and private certificate authorities, by the usual environment variables."""

from __future__ import annotations

import ssl
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

import pytest
import trustme

from testing import recorded
from testing.local_server import LocalServer
from testing.sentry_tap import run_tap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testing.forked import Run

AUTHORITY = trustme.CA()
AUDIT_LOGS = "/api/0/organizations/acme/audit-logs/"


class Server(LocalServer):
    """Answers with the recorded log of an empty organization, as Sentry or as a proxy before it."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.authorizations: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.paths.append(self.path.partition("?")[0])
                server.authorizations.append(self.headers["Authorization"])
                body = recorded.body("empty_org")
                self.send_response(200)
                self.send_header("Link", recorded.headers("empty_org")["Link"])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(Handler)


@pytest.fixture(name="server")
def _server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(name="tls_server")
def _tls_server() -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    server = Server()
    server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
    server.url = f"localhost:{server.server.server_port}"
    with server:
        yield server


def run(host: str, **environment: str) -> Run:
    settings = {"auth_token": "token", "organization": "acme", "host": host}
    return run_tap(settings, environment=environment)


def test_a_proxy_of_the_environment_is_used(server: Server) -> None:
    ended = run("http://sentry.invalid", HTTP_PROXY=server.url, NO_PROXY="")

    assert ended.returncode == 0
    assert server.paths == [f"http://sentry.invalid{AUDIT_LOGS}"]


def test_no_proxy_is_obeyed(server: Server) -> None:
    with Server() as proxy:
        ended = run(server.url, HTTP_PROXY=proxy.url, NO_PROXY="127.0.0.1")

    assert ended.returncode == 0
    assert proxy.paths == []
    assert server.paths == [AUDIT_LOGS]


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_private_authority_of_the_environment_is_trusted(
    variable: str, tls_server: Server, tmp_path: Path
) -> None:
    bundle = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(bundle))
    others = {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""}
    ended = run(tls_server.url, **others | {variable: str(bundle)})

    assert ended.returncode == 0, ended.stderr
    assert tls_server.paths == [AUDIT_LOGS]


def test_an_unknown_authority_is_told_at_once(tls_server: Server) -> None:
    ended = run(tls_server.url)

    assert ended.returncode == 1
    [error] = ended.log("ERROR")
    assert error.startswith(f"acme: The certificate of {tls_server.url} cannot be trusted (")
    assert error.endswith("set REQUESTS_CA_BUNDLE to its certificate file")
    assert ended.log("WARNING") == []


def test_a_bundle_that_cannot_be_read_is_told(tls_server: Server) -> None:
    ended = run(tls_server.url, REQUESTS_CA_BUNDLE="/nowhere.pem")

    assert ended.returncode == 1
    assert ended.log("ERROR") == [
        "acme: The file in REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE cannot be read",
    ]
    assert tls_server.paths == []


def test_a_netrc_does_not_replace_the_token(server: Server, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    run(server.url, NETRC=str(netrc))

    assert server.authorizations == ["Bearer token"]
