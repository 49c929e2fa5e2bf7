"""What holds for every request, whichever stream sends it."""

from __future__ import annotations

import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from threading import Barrier
from typing import TYPE_CHECKING, ClassVar

import pytest
import requests

from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.api.rate_limit import RateLimiter
from tap_sentry_audit.api.transport import Transport
from tap_sentry_audit.api.watchdog import Watchdog
from tap_sentry_audit.tap import STREAMS
from testing.fake_sentry import Answer, FakeSentry, Inventory, Log, entries, faults
from testing.local_server import LocalServer
from testing.sentry_tap import config, run_tap, selecting, without_waits

if TYPE_CHECKING:
    from socket import socket

    from testing.fake_sentry import Request
    from testing.fake_sentry.faults import Fault

ALL = [stream.name for stream in STREAMS]


def serving(**options: object) -> FakeSentry:
    log = Log(entries.even(5))
    return FakeSentry({"acme": log}, inventories={"acme": Inventory.made()}, **options)  # type: ignore[arg-type]


def test_every_request_carries_the_token_and_the_user_agent() -> None:
    with serving() as sentry:
        run_tap(config(sentry, user_agent="siem/1"), catalog=selecting(*ALL))

    assert len({request.resource for request in sentry.requests}) == len(ALL)
    assert {request.headers["user-agent"] for request in sentry.requests} == {"siem/1"}
    assert {request.headers["authorization"] for request in sentry.requests} == {"Bearer token"}


def test_a_request_that_hangs_is_cut_short_and_sent_again() -> None:
    hung: set[str | None] = set()

    def hang_once(_: int, request: Request) -> Fault | None:
        is_first = request.resource in {"audit-logs", "teams"} - hung
        hung.add(request.resource)
        return "hang" if is_first else None

    with serving(faults=hang_once) as sentry:
        ended = run_tap(
            config(sentry, request_timeout_seconds=1),
            catalog=selecting("audit_logs", "teams"),
            timeout=20,
        )

    assert ended.returncode == 0
    assert len(ended.records) == 5 + 2
    warnings = [line for line in ended.log("WARNING") if "did not answer in time" in line]
    assert len(warnings) == 2


def test_a_redirect_is_not_followed() -> None:
    with serving() as other, serving() as sentry:
        away = faults.redirect(f"{other.url}/api/0/organizations/acme/audit-logs/?x=1")
        sentry.faults = lambda _number, _request: away
        ended = run_tap(config(sentry), catalog=selecting(*ALL))

    assert ended.returncode == 1
    assert len(ended.log("ERROR")) == len(ALL) + 1
    for line in set(ended.log("ERROR")[:-1]):
        assert f"the server redirects to {other.url}, but the token goes to the configured" in line
    assert other.requests == []


def test_a_region_that_is_not_below_the_host_is_mentioned_once_and_not_asked() -> None:
    acme = Inventory.made()
    region = "https://user:hidden@elsewhere.example/?token=hidden"
    with FakeSentry({}, inventories={"acme": acme}, region_url=region) as sentry:
        ended = run_tap(config(sentry), catalog=selecting("teams", "projects"))

    assert ended.returncode == 0
    [line] = [line for line in ended.log("INFO") if "the server names the region" in line]
    assert line.startswith("acme: the server names the region with an odd address, which is not be")
    assert "hidden" not in ended.stderr


def test_a_region_that_is_another_port_of_this_machine_is_mentioned() -> None:
    acme = Inventory.made()
    with (
        FakeSentry({}, inventories={"acme": acme}, serves="region") as region,
        FakeSentry({}, inventories={"acme": acme}, region_url=region.url) as sentry,
    ):
        ended = run_tap(config(sentry), catalog=selecting("teams", "projects"))

    [line] = [line for line in ended.log("INFO") if "the server names the region" in line]
    assert line.startswith(f"acme: the server names the region {region.url}, another port of this")


def test_a_link_to_another_host_is_not_followed() -> None:
    log = Log(entries.even(250))
    with serving() as other, FakeSentry({"acme": log}, url_prefix=other.url) as sentry:
        ended = run_tap(config(sentry))

    assert len(ended.ids) == 250
    assert other.requests == []


@pytest.mark.parametrize(("seconds", "said"), [("301", "in 301 seconds"), ("9" * 5000, "")])
def test_an_organization_that_is_to_wait_too_long_fails_alone_and_at_once(
    seconds: str, said: str
) -> None:
    late = faults.status(429, retry_after=seconds)
    logs = {"acme": Log(entries.even(5)), "beta": Log(entries.even(5))}
    with FakeSentry(logs) as sentry:
        sentry.faults = lambda _, request: late if request.organization == "acme" else None
        several = config(sentry, organization=None, organizations=["acme", "beta"])
        ended = run_tap(several, timeout=20)

    assert ended.returncode == 1
    assert {record["organization"] for record in ended.records} == {"beta"}
    [error] = ended.errors
    assert error.startswith(f"acme: Sentry asks the tap to come back {said}")
    assert error.endswith("/audit-logs/ answered 429 Too Many Requests)")


def test_others_go_on_at_their_pace_when_one_organization_is_to_wait_too_long() -> None:
    late = faults.status(429, retry_after="301")
    logs = {"acme": Log(entries.even(5)), "beta": Log(entries.even(1000))}
    with FakeSentry(logs, latency=0.01) as sentry:
        sentry.faults = lambda _, request: late if request.organization == "acme" else None
        several = config(sentry, organization=None, organizations=["acme", "beta"])
        ended = run_tap(several)

    starts = [request.at for request in sentry.requests]
    assert len(ended.ids) == 1000
    assert max(later - start for start, later in pairwise(starts)) < 1
    assert ended.log("WARNING") == []


class Endless(BaseHTTPRequestHandler):
    PIECE: ClassVar[bytes] = b" " * 65536

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(self.PIECE)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_an_endless_answer_is_refused() -> None:
    watchdog = Watchdog(60, logging.getLogger())
    adapter = Transport(RateLimiter(40, 1), watchdog, connections=1, timeout=5, max_bytes=3 << 20)
    with LocalServer(Endless) as server, requests.Session() as session:
        session.mount("http://", adapter)
        with pytest.raises(SentryError, match="the answer is larger than 3 MiB: check host"):
            session.get(f"{server.url}/api/0/")


def close(_: socket) -> None:
    """End a connection without a word."""


@pytest.mark.parametrize("fault", [close, "reset"])
def test_a_kept_connection_that_was_closed_meanwhile_is_replaced_without_a_word(
    fault: Fault,
) -> None:
    log = Log(entries.even(450))
    with FakeSentry({"acme": log}) as sentry:
        sentry.faults = lambda number, _: None if number % 2 else fault
        ended = run_tap(config(sentry, max_concurrent_requests=1))

    assert (ended.returncode, len(ended.ids)) == (0, 450)
    assert len(sentry.requests) >= 9
    assert ended.log("WARNING") == []


@pytest.mark.parametrize("fault", [close, "reset"])
def test_a_new_connection_that_is_closed_without_an_answer_is_warned_of(fault: Fault) -> None:
    with serving(faults=[fault]) as sentry:
        ended = run_tap(config(sentry))

    assert (ended.returncode, len(ended.ids)) == (0, 5)
    [warning] = ended.log("WARNING")
    assert warning.startswith(f"The connection to 127.0.0.1:{sentry.port} failed (")


def test_a_kept_connection_that_breaks_in_an_answer_is_warned_of() -> None:
    log = Log(entries.even(150))
    with FakeSentry({"acme": log}, faults={2: "truncated"}) as sentry:
        ended = run_tap(config(sentry, max_concurrent_requests=1))

    assert (ended.returncode, len(ended.ids)) == (0, 150)
    [warning] = ended.log("WARNING")
    assert " broke off in the middle of its answer; trying again in " in warning


@pytest.mark.parametrize("host", ["http://127.0.0.1:1", "http://sentry.invalid", None])
def test_a_connection_test_tries_what_is_most_likely_a_wrong_host_only_twice(
    host: str | None,
) -> None:
    with serving(faults=lambda *_: faults.HTML) as sentry:
        ended = run_tap(config(sentry, host=host or sentry.url), "--test")

    assert ended.returncode == 1
    [_] = [line for line in ended.log("WARNING") if "; trying again in " in line]
    [error] = ended.errors
    assert "check host" in error.lower()


def test_a_connection_test_tries_what_passes_as_often_as_ever() -> None:
    with serving(faults=[faults.status(503)] * 3) as sentry:
        ended = run_tap(config(sentry), "--test")

    assert ended.returncode == 0
    assert [request.status for request in sentry.requests][:4] == [503, 503, 503, 200]


def test_cookies_are_not_kept() -> None:
    with serving(faults=[Answer(503, headers={"Set-Cookie": "session=abc; Path=/"})]) as sentry:
        ended = run_tap(config(sentry))

    assert ended.returncode == 0
    assert len(sentry.requests) == 2
    assert all("cookie" not in request.headers for request in sentry.requests)


def test_null_rows_are_reported_even_if_the_list_fails_after_them() -> None:
    link = '<http://x/>; rel="next"; results="true"; cursor="100:1:0"'
    first = Answer(200, b'[{"id": "1"}, null]', {"Link": link})

    def fail_later(_: int, request: Request) -> Fault | None:
        if request.resource != "teams":
            return None
        return faults.status(404) if "cursor" in request.query else first

    with serving(faults=fail_later) as sentry:
        ended = run_tap(config(sentry), catalog=selecting("teams"))

    assert ended.returncode == 1
    assert "acme: Sentry could not show 1 team (null rows)" in ended.log("WARNING")


def test_an_answer_that_breaks_off_is_the_fault_of_its_own_host(
    caplog: pytest.LogCaptureFixture,
) -> None:
    acme = Inventory.made()
    with (
        FakeSentry({}, inventories={"acme": acme}, faults=lambda *_: "truncated") as region,
        FakeSentry({}, inventories={"acme": acme}, region_url=region.url) as sentry,
    ):
        tap = without_waits(config(sentry))
        list(tap.streams["teams"].get_records({"organization": "acme"}))

    tap.outcome.conclude()
    [error] = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert error.startswith(f"acme: {region.url.removeprefix('http://')} broke off")


def test_threads_that_begin_together_get_the_same_pool_of_connections() -> None:
    logger = logging.getLogger(__name__)
    request = requests.Request("GET", "http://sentry.invalid/").prepare()

    def begin(transport: Transport, together: Barrier) -> object:
        together.wait(5)
        return transport.get_connection_with_tls_context(request, verify=True)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            for _ in range(400):
                transport = Transport(
                    RateLimiter(1, 1),
                    Watchdog(1, logger),
                    connections=8,
                    timeout=1,
                    max_bytes=1,
                )
                together = Barrier(8)
                pools = [threads.submit(begin, transport, together) for _ in range(8)]
                assert len({pool.result() for pool in pools}) == 1
    finally:
        sys.setswitchinterval(before)
