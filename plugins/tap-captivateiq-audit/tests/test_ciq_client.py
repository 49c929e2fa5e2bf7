"""What is asked again, what is an error, and in which words."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tap_captivateiq_audit.client import Client
from tap_captivateiq_audit.clock import Clock
from tap_captivateiq_audit.config import parse_settings
from tap_captivateiq_audit.entries import Days
from tap_captivateiq_audit.exceptions import ApiError
from tap_captivateiq_audit.rate_limit import RateLimiter
from testing.fake_captivateiq import TOKEN, FakeCaptivateIQ, Log, Reply, row
from testing.standing_clock import StandingClock

if TYPE_CHECKING:
    from pathlib import Path


LOG = Log([row(number, "2026-01-02T03:04:05Z") for number in range(250)])
DAYS = Days(date(2026, 1, 1), date(2026, 1, 9))
HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


def client(
    server: FakeCaptivateIQ, clock: StandingClock | None = None, timeout: float = 60
) -> Client:
    """A client for which nothing takes time but what the clock says."""
    clock = clock or StandingClock()
    settings = parse_settings({"api_token": TOKEN, "api_url": server.url})
    return Client(settings, RateLimiter(1000, 10_000), Clock(clock.monotonic, clock.sleep), timeout)


def failure(clock: StandingClock, *replies: Reply) -> str:
    with FakeCaptivateIQ(LOG, *replies) as server, pytest.raises(ApiError) as caught:
        client(server, clock).fetch(DAYS, 0)
    return str(caught.value)


def test_what_is_asked_for() -> None:
    with FakeCaptivateIQ(LOG) as server:
        page = client(server).fetch(DAYS, 0)

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
def test_what_may_pass_is_asked_again(reply: Reply, clock: StandingClock) -> None:
    with FakeCaptivateIQ(LOG, reply, reply) as server:
        assert len(client(server, clock).fetch(DAYS, 0).entries) > 0
        assert len(server.requests) == 3
    assert 0.5 <= clock.waits[0] <= 1
    assert 1 <= clock.waits[1] <= 2


@pytest.mark.parametrize("status", [502, 504])
@pytest.mark.parametrize(("seconds", "limits"), [(11, [100, 50, 25, 12]), (9, [100] * 4)])
def test_what_was_too_slow_is_asked_for_in_smaller_pages(
    status: int, seconds: float, limits: list[int]
) -> None:
    with FakeCaptivateIQ(LOG, *[Reply(status)] * 3) as server:
        client(server, StandingClock(seconds)).fetch(DAYS, 0)
        assert [int(request["limit"]) for request in server.requests] == limits


def test_pages_are_never_too_small_to_overlap_and_grow_again() -> None:
    with FakeCaptivateIQ(LOG, *[Reply(502)] * 7) as server:
        asking = client(server, StandingClock(11))
        for _ in range(150):
            asking.fetch(DAYS, 0)
        limits = [int(request["limit"]) for request in server.requests]
    assert min(limits) == 2
    assert limits[-1] == 100


def test_an_answer_that_does_not_come_is_asked_for_in_smaller_pages() -> None:
    with FakeCaptivateIQ(LOG, Reply(200, after_seconds=2)) as server:
        client(server, StandingClock(11), timeout=0.1).fetch(DAYS, 0)
        assert [request["limit"] for request in server.requests] == ["100", "50"]


def test_the_waiting_time_of_the_server_is_obeyed_and_a_little_more(clock: StandingClock) -> None:
    with FakeCaptivateIQ(LOG, Reply(429, headers={"Retry-After": "120"})) as server:
        client(server, clock).fetch(DAYS, 0)
    assert clock.waits == [120.5]


@pytest.mark.parametrize("header", ["0", "Sun, 22 Nov 2020 01:00:00 GMT"])
def test_a_waiting_time_that_is_none_is_no_reason_to_hurry(
    header: str, clock: StandingClock
) -> None:
    with FakeCaptivateIQ(LOG, *[Reply(429, headers={"Retry-After": header})] * 3) as server:
        client(server, clock).fetch(DAYS, 0)
    assert clock.waits[0] <= 1 <= clock.waits[1] <= 2 <= clock.waits[2] <= 4


@pytest.mark.parametrize("part", ["headers", "body"])
def test_an_answer_that_comes_byte_by_byte_is_waited_for_as_long_as_any_other(
    part: str, clock: StandingClock, caplog: pytest.LogCaptureFixture
) -> None:
    drips = Reply(200, b" " * 100_000, drips=part)
    with FakeCaptivateIQ(LOG, drips) as server:
        assert client(server, clock, timeout=0.3).fetch(DAYS, 0).entries
        assert len(server.requests) == 2
    (line,) = caplog.messages
    assert re.search(
        r"/audit-logs/ did not answer in full within 0\.3 s: trying again in 1 s$", line
    )


def test_an_hour_of_429_is_waited_for_and_no_more(clock: StandingClock) -> None:
    told = failure(clock, *[Reply(429)] * 200)

    assert re.fullmatch(
        r"the API received too many requests \(429\); gave up after 6[567] minutes", told
    )
    assert 3600 < sum(clock.waits) <= 4000


def test_a_longer_wait_than_anybody_has_is_not_begun(clock: StandingClock) -> None:
    told = failure(clock, Reply(429, headers={"Retry-After": "7200"}))

    assert told.endswith("(429); it asks to wait another 120 minutes after 0 minutes")
    assert not clock.waits


def test_an_hour_that_was_waited_for_does_not_count_as_trouble(clock: StandingClock) -> None:
    hour = Reply(429, headers={"Retry-After": "3000"})
    with FakeCaptivateIQ(LOG, hour, Reply(500), Reply(500)) as server:
        assert client(server, clock).fetch(DAYS, 0).entries
    assert clock.waits[0] > 3000


def test_a_server_that_stays_broken_is_given_up_after_minutes(clock: StandingClock) -> None:
    told = failure(clock, *[Reply(500)] * 200)

    assert re.search(r"/audit-logs/ answered 500; gave up after [45] minutes$", told)
    assert sum(clock.waits) <= 300


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
            "a firewall in front of CaptivateIQ refuses this machine (403): ask CaptivateIQ to let",
        ),
        (
            Reply(400, b'{"start_date": ["Enter a valid date."]}', JSON),
            "does not accept these days (400): 2026-01-01 to 2026-01-09; check start_date",
        ),
        (Reply(418, b"\xff"), "answered 418"),
        (Reply(422, f'{{"error": "{TOKEN} of john@example.com"}}'.encode(), JSON), "answered 422"),
    ],
    ids=str,
)
def test_what_does_not_pass_is_said_in_plain_words(reply: Reply, told: str) -> None:
    found = failure(StandingClock(), reply)

    assert told in found
    # Nothing of what the API says, for it could say anything.
    assert TOKEN not in found
    assert "john" not in found
    assert "No permission" not in found
    assert found.isprintable()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with FakeCaptivateIQ(LOG) as other:
        told = failure(StandingClock(), Reply(status, headers={"Location": other.url}))
        assert not other.requests
    assert told.endswith(f"redirects ({status}), which is not followed: check api_url")


def test_every_request_counts_against_the_rate_limit_and_a_netrc_file_changes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with FakeCaptivateIQ(LOG, Reply(500), Reply(429)) as server:
        asking = client(server)
        asking.fetch(DAYS, 0)
        assert asking.request_count == len(server.requests) == 3
        assert server.authorizations == {f"Token {TOKEN}"}


@pytest.mark.parametrize("hours", [-3, 3])
def test_the_servers_clock_and_ours_are_known(hours: float) -> None:
    with FakeCaptivateIQ(LOG) as server:
        server.ahead = timedelta(hours=hours)
        asking = client(server)
        asking.fetch(DAYS, 0)
    ours = datetime.now(UTC)
    clocks = sorted([ours, ours + timedelta(hours=hours)])

    for told, expected in zip((asking.earlier_now, asking.later_now), clocks, strict=True):
        assert abs(told - expected) < timedelta(seconds=5)
