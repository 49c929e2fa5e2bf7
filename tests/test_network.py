"""Proxies and private certificate authorities, by the usual environment variables."""

from __future__ import annotations

import ssl
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

import pytest
import trustme

from testing.fake_sentry import Answer, FakeSentry, Inventory, Log, entries
from testing.local_server import LocalServer
from testing.sentry_tap import config, run_tap, without_waits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from testing.fake_sentry.faults import Fault
    from testing.forked import Run

AUTHORITY = trustme.CA()


@pytest.fixture(name="sentry")
def _sentry() -> Iterator[FakeSentry]:
    with FakeSentry({"acme": Log()}) as sentry:
        yield sentry


@pytest.fixture(name="encrypted")
def _encrypted() -> Iterator[FakeSentry]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    with FakeSentry({"acme": Log()}, tls=context) as sentry:
        yield sentry


def run(sentry: FakeSentry, host: str | None = None, **environment: str) -> Run:
    host = host or (f"localhost:{sentry.port}" if sentry.tls else sentry.url)
    return run_tap(config(sentry, host=host), environment=environment)


def test_a_proxy_of_the_environment_is_used(sentry: FakeSentry) -> None:
    ended = run(sentry, "http://sentry.invalid", HTTP_PROXY=sentry.url, NO_PROXY="")

    assert ended.returncode == 0
    [request] = sentry.requests
    assert request.headers["host"] == "sentry.invalid"


def test_no_proxy_is_obeyed(sentry: FakeSentry) -> None:
    with FakeSentry({}) as proxy:
        ended = run(sentry, HTTP_PROXY=proxy.url, NO_PROXY="127.0.0.1")

    assert ended.returncode == 0
    assert (len(proxy.requests), len(sentry.requests)) == (0, 1)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_private_authority_of_the_environment_is_trusted(
    variable: str, encrypted: FakeSentry, tmp_path: Path
) -> None:
    bundle = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(bundle))
    others = {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""}
    ended = run(encrypted, **others | {variable: str(bundle)})

    assert ended.returncode == 0, ended.stderr
    assert len(encrypted.requests) == 1


@pytest.mark.parametrize("fault", [lambda _: None, "reset"])
def test_a_kept_connection_that_was_closed_meanwhile_is_replaced_when_encrypted_too(
    fault: Fault, encrypted: FakeSentry, tmp_path: Path
) -> None:
    bundle = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(bundle))
    encrypted.organizations = {"acme": Log(entries.even(350))}
    encrypted.faults = lambda number, _: None if number % 2 else fault
    settings = config(encrypted, host=f"localhost:{encrypted.port}", max_concurrent_requests=1)
    ended = run_tap(settings, environment={"REQUESTS_CA_BUNDLE": str(bundle)})

    assert (ended.returncode, len(ended.ids), ended.log("WARNING")) == (0, 350, [])


def test_an_unknown_authority_is_told_at_once(encrypted: FakeSentry) -> None:
    ended = run(encrypted)

    assert ended.returncode == 1
    [error] = ended.errors
    assert error.startswith(f"acme: The certificate of localhost:{encrypted.port} cannot be trus")
    assert error.endswith("set REQUESTS_CA_BUNDLE to its certificate file")
    assert ended.log("WARNING") == []


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/nowhere.pem", "names a file that cannot be read (FileNotFoundError)"),
        ("/dev/null", "names a file that holds no certificates"),
        (__file__, "names a file that holds no certificates"),
        ("/", "names a folder without certificates"),
    ],
)
def test_a_bundle_that_is_none_is_told(path: str, problem: str, encrypted: FakeSentry) -> None:
    ended = run(encrypted, REQUESTS_CA_BUNDLE=path)

    assert ended.returncode == 1
    [error] = ended.errors
    assert error.startswith(f"acme: REQUESTS_CA_BUNDLE {problem}: set it to a file of")
    assert encrypted.requests == []


def test_a_netrc_does_not_replace_the_token(sentry: FakeSentry, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    run(sentry, NETRC=str(netrc))

    assert [request.headers["authorization"] for request in sentry.requests] == ["Bearer token"]


def test_no_proxy_is_evaluated_for_each_host_that_is_asked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    acme, region = Inventory.made(), "http://us.sentry.invalid"
    with FakeSentry({}, inventories={"acme": acme}, region_url=region) as sentry:
        monkeypatch.setenv("HTTP_PROXY", sentry.url)
        monkeypatch.setenv("NO_PROXY", "us.sentry.invalid")
        tap = without_waits(config(sentry, host="http://sentry.invalid"))
        list(tap.streams["teams"].get_records({"organization": "acme"}))

    # Only the host has a way through the proxy; the region's name cannot be found without it.
    assert [request.headers["host"] for request in sentry.requests] == ["sentry.invalid"]
    tap.outcome.conclude()
    [error] = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert error.startswith("acme: The name us.sentry.invalid cannot be found")


class WantsPassword(BaseHTTPRequestHandler):
    def do_CONNECT(self) -> None:
        self.send_error(407)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("account", "words"),
    [
        (
            "",
            "the proxy needs a user name and password: put them into HTTPS_PROXY (http://user:pass",
        ),
        ("me:hidden@", "the proxy does not accept the user name and password in HTTPS_PROXY"),
    ],
)
def test_a_proxy_that_wants_a_password_for_a_tunnel_is_told_at_once(
    account: str, words: str, encrypted: FakeSentry
) -> None:
    with LocalServer(WantsPassword) as proxy:
        address = proxy.url.replace("//", f"//{account}")
        ended = run(encrypted, "https://sentry.invalid", HTTPS_PROXY=address)

    assert ended.returncode == 1
    assert ended.errors[0].startswith(
        f"acme: sentry.invalid cannot be reached (the proxy answered 407): {words}"
    )
    assert ended.log("WARNING") == []
    assert "hidden" not in ended.stderr


def test_a_proxy_that_wants_a_password_is_told(sentry: FakeSentry) -> None:
    sentry.faults = lambda *_: Answer(407)
    ended = run(sentry, "http://sentry.invalid", HTTP_PROXY=sentry.url)

    [error] = ended.errors
    assert error.startswith(
        "acme: the proxy needs a user name and password: put them into HTTP_PROXY"
    )
    assert error.endswith(" answered 407 Proxy Authentication Required)")


@pytest.mark.parametrize(
    "address",
    [
        *("http://", "http://[hidden", "proxy:hidden", "ftp://hidden:21", "http://hidden:99999"),
        *("://", "http://hidden..b:80", "hidden" * 12),
    ],
)
def test_an_address_of_a_proxy_that_is_none_is_told_without_it(
    address: str, sentry: FakeSentry
) -> None:
    ended = run(sentry, "http://sentry.invalid", HTTP_PROXY=address)

    assert ended.returncode == 1
    [error] = ended.errors
    assert error.startswith(
        "acme: HTTP_PROXY is not the address of a proxy: write http://name:port"
    )
    assert "hidden" not in ended.stderr


def test_a_socks_proxy_is_told_to_need_a_package(sentry: FakeSentry) -> None:
    ended = run(sentry, "http://sentry.invalid", ALL_PROXY="socks5://127.0.0.1:1")

    [error] = ended.errors
    assert error.startswith(
        "acme: ALL_PROXY names a SOCKS proxy, which needs another package: install Py"
    )


def test_a_certificate_of_another_name_is_told(encrypted: FakeSentry, tmp_path: Path) -> None:
    bundle = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(bundle))
    host = f"127.0.0.1:{encrypted.port}"
    ended = run(encrypted, host, REQUESTS_CA_BUNDLE=str(bundle))

    assert ended.returncode == 1
    [error] = ended.errors
    assert error.startswith(f"acme: The certificate of {host} is for another name (")
    assert error.endswith("): set host to a name that is in it")
