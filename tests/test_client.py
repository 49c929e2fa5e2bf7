"""What holds for every request, whichever stream sends it."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, ClassVar

import pytest
import requests

from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.api.rate_limit import RateLimitedAdapter, RateLimiter
from tap_sentry_audit.tap import STREAMS
from testing.fake_sentry import FakeSentry, Inventory, Log, entries, faults
from testing.local_server import LocalServer
from testing.sentry_tap import config, run_tap, selecting

if TYPE_CHECKING:
    from testing.forked import Run

ALL = [stream.name for stream in STREAMS]


def serving(**options: object) -> FakeSentry:
    log = Log(entries.even(5))
    return FakeSentry({"acme": log}, inventories={"acme": Inventory.made()}, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ALL)
def test_every_request_carries_the_token_and_the_taps_name(name: str) -> None:
    with serving() as sentry:
        run_tap(config(sentry, user_agent="siem/1"), catalog=selecting(name))

    assert sentry.requests
    assert {request.headers["user-agent"] for request in sentry.requests} == {"siem/1"}
    assert {request.headers["authorization"] for request in sentry.requests} == {"Bearer token"}


@pytest.mark.parametrize("name", ALL)
def test_a_hang_is_cut_short_and_tried_again(name: str) -> None:
    with serving(faults={1: "hang", 2: "hang"}) as sentry:
        began = time.monotonic()
        ended = run_tap(config(sentry, request_timeout_seconds=1), catalog=selecting(name))

    assert ended.returncode == 0
    assert ended.records
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("name", ALL)
def test_a_redirect_is_not_followed(name: str) -> None:
    with serving() as other, serving() as sentry:
        away = faults.redirect(f"{other.url}/api/0/")
        sentry.faults = lambda _number, _request: away
        ended = run_tap(config(sentry), catalog=selecting(name))

    assert ended.returncode == 1
    assert f"it points to {other.url}" in ended.stderr
    assert other.requests == []


def test_who_is_to_wait_too_long_fails_alone_and_at_once() -> None:
    logs = {"acme": Log(entries.even(5)), "beta": Log(entries.even(5))}
    with FakeSentry(logs) as sentry:
        late = faults.status(429, retry_after="301")
        sentry.faults = lambda _, request: late if request.organization == "acme" else None
        began = time.monotonic()
        ended = run_tap(config(sentry, organization=None, organizations=["acme", "beta"]))

    assert ended.returncode == 1
    assert {record["organization"] for record in ended.records} == {"beta"}
    assert "acme: GET /api/0/organizations/acme/audit-logs/ answered 429" in ended.stderr
    assert "asks to come back in 301 seconds" in ended.stderr
    assert time.monotonic() - began < 15


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


def test_an_answer_without_end_is_refused() -> None:
    limit = 3 << 20
    adapter = RateLimitedAdapter(RateLimiter(40, 1), connections=1, timeout=5, max_body=limit)
    with LocalServer(Endless) as server, requests.Session() as session:
        session.mount("http://", adapter)
        with pytest.raises(SentryError, match="answered 200 OK with more than 3 MiB"):
            session.get(f"{server.url}/api/0/")


class Lists(BaseHTTPRequestHandler):
    """Every list has a first page with a null row; how it goes on, a subclass says."""

    cookies: ClassVar[list[str | None]] = []
    requests: ClassVar[int] = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        self.cookies.append(self.headers["Cookie"])
        if not self.path.partition("?")[0].endswith("/teams/"):
            self.answer(200, b'{"id": "1", "slug": "acme"}')
        elif "cursor=" in self.path:
            self.answer_second()
        else:
            self.answer(200, b'[{"id": "1"}, null]', cursor=self.cursor)

    cursor = "100:1:0"

    def answer_second(self) -> None:
        self.answer(200, b'[{"id": "2"}]')

    def answer(self, status: int, body: bytes, cursor: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "session=abc; Path=/")
        if cursor is not None:
            link = f'<http://x/>; rel="next"; results="true"; cursor="{cursor}"'
            self.send_header("Link", link)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def teams(handler: type[Lists]) -> Run:
    with LocalServer(handler) as server:
        settings = {"auth_token": "token", "organization": "acme", "host": server.url}
        return run_tap(settings, catalog=selecting("teams"))


def test_no_cookie_is_taken() -> None:
    class Setting(Lists):
        cookies: ClassVar[list[str | None]] = []

    ended = teams(Setting)

    assert ended.ids == ["1", "2"]
    assert Setting.cookies == [None, None, None]


def test_null_rows_are_told_though_the_list_fails_behind_them() -> None:
    class Failing(Lists):
        def answer_second(self) -> None:
            self.answer(404, b"{}")

    ended = teams(Failing)

    assert ended.returncode == 1
    assert "acme: Sentry could not show 1 teams (null rows)" in ended.log("WARNING")


def test_a_list_that_goes_on_nobody_knows_where_is_an_error() -> None:
    class Lost(Lists):
        cursor = ""

    ended = teams(Lost)

    assert ended.returncode == 1
    assert "more rows follow, and nothing says where" in ended.log("ERROR")[-1]


def test_an_absurd_wait_is_an_error_that_names_the_status() -> None:
    with FakeSentry({"acme": Log(entries.even(5))}) as sentry:
        sentry.faults = lambda _number, _request: faults.status(429, retry_after="9" * 5000)
        ended = run_tap(config(sentry))

    assert ended.returncode == 1
    assert "answered 429 Too Many Requests and asks to come back" in ended.log("ERROR")[-1]


def test_an_answer_that_breaks_off_is_the_regions_fault_not_the_hosts() -> None:
    acme = Inventory.made()
    with FakeSentry({}, inventories={"acme": acme}) as region:
        region.faults = lambda _number, _request: "truncated"
        with FakeSentry({}, inventories={"acme": acme}, region_url=region.url) as sentry:
            ended = run_tap(config(sentry), catalog=selecting("teams"))

    [error] = ended.log("ERROR")
    assert error.startswith(f"acme: {region.url.removeprefix('http://')} broke off")
