"""What is asked again, what is an error, and in which words."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tap_captivateiq_audit import client as client_module
from tap_captivateiq_audit.client import Client
from tap_captivateiq_audit.config import parse_settings
from tap_captivateiq_audit.entries import Days
from tap_captivateiq_audit.exceptions import ApiError
from tap_captivateiq_audit.rate_limit import RateLimiter
from testing.fake_captivateiq import TOKEN, FakeCaptivateIQ, Log, Reply, row

if TYPE_CHECKING:
    from pathlib import Path

    from tap_captivateiq_audit.entries import Page

LOG = Log([row(number, "2026-01-02T03:04:05Z") for number in range(250)])
DAYS = Days(date(2026, 1, 1), date(2026, 1, 9))
HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let no time pass but what is slept, and return the sleeps."""
    slept: list[float] = []
    clock = SimpleNamespace(sleep=slept.append, monotonic=lambda: sum(slept))
    monkeypatch.setattr(client_module, "time", clock)
    return slept


def fetch(server: FakeCaptivateIQ) -> Page:
    settings = parse_settings({"api_token": TOKEN, "api_url": server.url})
    return Client(settings, RateLimiter(100, 10_000)).fetch(DAYS, 0)


def failure(*replies: Reply) -> str:
    with FakeCaptivateIQ(LOG, *replies) as server, pytest.raises(ApiError) as caught:
        fetch(server)
    return str(caught.value)


def test_what_is_asked_for() -> None:
    with FakeCaptivateIQ(LOG) as server:
        page = fetch(server)

        assert server.requests == [
            {"start_date": "2026-01-01", "end_date": "2026-01-09", "limit": "100", "offset": "0"}
        ]
    assert (len(page.entries), page.total, page.has_next) == (100, 250, True)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(429),
        Reply(500),
        Reply(502),
        Reply(503, b"<html>", HTML),
        Reply(504),
        Reply(200, b"<html>", HTML),
        Reply(200, b"[]", JSON),
        Reply(200, b'{"data": null}', JSON),
        Reply(200, b"", JSON),
    ],
    ids=str,
)
def test_what_may_pass_is_asked_again(reply: Reply, waits: list[float]) -> None:
    with FakeCaptivateIQ(LOG, reply, reply) as server:
        assert len(fetch(server).entries) > 0
        assert len(server.requests) == 3
    assert 0.5 <= waits[0] <= 1
    assert 1 <= waits[1] <= 2


@pytest.mark.parametrize("status", [502, 504])
def test_what_was_too_slow_is_asked_for_in_smaller_pages(
    status: int, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_SLOW", 0)
    with FakeCaptivateIQ(LOG, *[Reply(status)] * 3) as server:
        assert len(fetch(server).entries) == 12
        assert [request["limit"] for request in server.requests] == ["100", "50", "25", "12"]
    assert waits


def test_an_api_that_is_away_is_no_reason_for_smaller_pages(waits: list[float]) -> None:
    with FakeCaptivateIQ(LOG, *[Reply(502)] * 3) as server:
        fetch(server)
        assert {request["limit"] for request in server.requests} == {"100"}
    assert waits


def test_pages_are_never_too_small_to_overlap_and_grow_again(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_SLOW", 0)
    settings = parse_settings({"api_token": TOKEN, "api_url": "http://localhost"})
    with FakeCaptivateIQ(LOG, *[Reply(502)] * 9) as server:
        client = Client(replace(settings, api_url=server.url), RateLimiter(1000, 10_000))
        for _ in range(150):
            client.fetch(DAYS, 0)
        limits = [int(request["limit"]) for request in server.requests]
    assert min(limits) == 2
    assert limits[-1] == 100
    assert waits


def test_an_answer_that_does_not_come_is_asked_for_in_smaller_pages(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_TIMEOUT", 0.1)
    monkeypatch.setattr(client_module, "_SLOW", 0)
    with FakeCaptivateIQ(LOG, Reply(200, after_seconds=0.4)) as server:
        fetch(server)
        assert [request["limit"] for request in server.requests] == ["100", "50"]
    assert waits


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("120", 120, 121),
        ("0", 0.5, 0.5),
        ("soon", 0.5, 1),
    ],
)
def test_the_waiting_time_of_the_server_is_obeyed(
    header: str, least: float, most: float, waits: list[float]
) -> None:
    with FakeCaptivateIQ(LOG, Reply(429, headers={"Retry-After": header})) as server:
        fetch(server)
    assert least <= waits[0] <= most


def test_the_waiting_time_of_the_server_may_be_a_date(waits: list[float]) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    with FakeCaptivateIQ(LOG, Reply(429, headers={"Retry-After": date})) as server:
        fetch(server)
    assert 95 <= waits[0] <= 101


def test_an_hour_of_429_is_waited_for_and_no_more(waits: list[float]) -> None:
    told = failure(*[Reply(429)] * 200)

    assert re.fullmatch(
        r"the API was asked too often \(429\); this goes on after 6[567] minutes", told
    )
    assert 3600 < sum(waits) <= 4000


def test_a_longer_wait_than_anybody_has_is_not_begun(waits: list[float]) -> None:
    told = failure(Reply(429, headers={"Retry-After": "7200"}))

    assert told.endswith("(429); this asks to wait 120 minutes more after 0 minutes")
    assert not waits


def test_an_hour_that_was_waited_for_does_not_count_as_trouble(waits: list[float]) -> None:
    hour = Reply(429, headers={"Retry-After": "3000"})
    with FakeCaptivateIQ(LOG, hour, Reply(500), Reply(500)) as server:
        assert fetch(server).entries
    assert waits[0] > 3000


def test_every_request_counts_against_the_rate_limit_and_a_netrc_file_changes_none(
    waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    rate_limiter = RateLimiter(100, 10_000)
    with FakeCaptivateIQ(LOG, Reply(500), Reply(429)) as server:
        settings = parse_settings({"api_token": TOKEN, "api_url": server.url})
        client = Client(settings, rate_limiter)
        client.fetch(DAYS, 0)
        assert rate_limiter.requests == client.request_count == len(server.requests) == 3
        assert server.authorizations == {f"Token {TOKEN}"}
    assert len(waits) == 2


def test_a_server_that_stays_broken_is_given_up_after_minutes(waits: list[float]) -> None:
    told = failure(*[Reply(500)] * 200)

    assert re.search(r"/audit-logs/ answered 500; this goes on after [45] minutes$", told)
    assert sum(waits) <= 300


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (
            Reply(401, b'{"detail": "Invalid token."}', JSON),
            "api_token is not accepted (401): make",
        ),
        (
            Reply(403, b'{"detail": "No permission."}', JSON),
            "its user may read audit logs",
        ),
        (
            Reply(403, b"<html>Request blocked</html>", HTML),
            "a firewall before CaptivateIQ refuses this machine (403): ask CaptivateIQ to let its",
        ),
        (
            Reply(400, b'{"start_date": ["Enter a valid date."]}', JSON),
            "does not take these days (400): 2026-01-01 to 2026-01-09; check start_date",
        ),
        (Reply(418, b"\xff"), "answered 418"),
        (Reply(422, f'{{"error": "{TOKEN} of john@example.com"}}'.encode(), JSON), "answered 422"),
    ],
    ids=str,
)
def test_what_does_not_pass_is_said_in_plain_words(reply: Reply, told: str) -> None:
    found = failure(reply)

    assert told in found
    # Nothing of what the API says, for it could say anything.
    assert TOKEN not in found
    assert "john" not in found
    assert "No permission" not in found
    assert found.isprintable()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with FakeCaptivateIQ(LOG) as other:
        told = failure(Reply(status, headers={"Location": other.url}))
        assert not other.requests
    assert told.endswith(f"redirects ({status}), which is not followed: check api_url")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"data": [{"created_at": "2026-01-01"}]}', "sent an entry without an id"),
        (b'{"data": [7]}', "sent an entry without an id"),
        (b'{"data": [{"id": "a"}]}', "without a readable created_at: id a"),
        (b'{"data": [{"id": "a", "created_at": "x"}]}', "without a readable created_at: id a"),
    ],
)
def test_an_entry_that_cannot_be_placed_is_an_error_and_not_left_out(
    body: bytes, told: str
) -> None:
    assert told in failure(Reply(200, body, JSON))


@pytest.mark.parametrize("hours", [-3, 3])
def test_the_servers_clock_and_ours_are_known(hours: float) -> None:
    with FakeCaptivateIQ(LOG) as server:
        server.ahead = timedelta(hours=hours)
        settings = parse_settings({"api_token": TOKEN, "api_url": server.url})
        client = Client(settings, RateLimiter(100, 10_000))
        client.fetch(DAYS, 0)
    ours = datetime.now(UTC)
    clocks = sorted([ours, ours + timedelta(hours=hours)])

    for told, expected in zip((client.earlier_now, client.later_now), clocks, strict=True):
        assert abs(told - expected) < timedelta(seconds=5)
