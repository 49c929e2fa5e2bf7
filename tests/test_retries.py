"""What passes is tried again, and nothing is lost or doubled by it; no test waits."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import pytest

from tap_sentry_audit.api.client import Client
from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.audit_log.pages import fetch_from
from tap_sentry_audit.audit_log.reader import read_range
from tap_sentry_audit.config import parse_settings
from testing.fake_sentry import FakeSentry, Log, entries, faults
from testing.reading import expected
from testing.sentry_tap import Hurry, config

if TYPE_CHECKING:
    from collections.abc import Callable


def read_ids(sentry: FakeSentry, hurry: Hurry, **more: object) -> list[str]:
    client = Client(parse_settings(config(sentry, **more)), logging.getLogger(), hurry.clock)
    chunks = read_range(fetch_from(client, "acme"), None, None, client.rate_limiter.width)
    return [entry.id for chunk in chunks for entry in chunk.entries]


FAULTS: dict[str, faults.Fault] = {
    "429": faults.status(429),
    "500": faults.status(500),
    "503": faults.status(503),
    "reset": "reset",
    "truncated": "truncated",
    "html": faults.HTML,
    "no json": faults.NOT_JSON,
    "a number": faults.shape(5),
    "rows that are none": faults.shape({"rows": 5}),
    "rows without id": faults.shape({"rows": [{"dateCreated": "2026-01-01T00:00:00Z"}]}),
    "rows without date": faults.shape([{"id": "1"}]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_at_any_of_several_requests_at_once_lose_and_double_nothing(name: str) -> None:
    log = Log(entries.even(640))
    clock = entries.UNTIL.timestamp()
    wrong = dict.fromkeys([1, 2, 4, 7, 8], FAULTS[name])
    with FakeSentry({"acme": log}, faults=wrong, latency=0.02, clock=lambda: clock) as sentry:
        assert read_ids(sentry, Hurry(), requests_per_second=1000) == expected(log)

    assert sentry.max_concurrent > 1


def test_waits_grow_and_vary() -> None:
    hurry = Hurry()
    log = Log(entries.even(5))
    with FakeSentry({"acme": log}, faults=[faults.status(503)] * 6) as sentry:
        assert read_ids(sentry, hurry) == expected(log)

    longest = [0.1, 0.3, 0.9, 2.7, 8.1, 24.3]
    pairs = list(zip(longest, hurry.waits, strict=True))
    assert all(most / 2 <= wait <= most for most, wait in pairs)
    assert hurry.waits != longest


def in_half_a_minute() -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))


@pytest.mark.parametrize("retry_after", [lambda: "30", in_half_a_minute])
@pytest.mark.parametrize("status", [429, 503])
def test_the_server_says_how_long_to_wait(status: int, retry_after: Callable[[], str]) -> None:
    hurry = Hurry()
    fault = faults.status(status, retry_after=retry_after())
    with FakeSentry({"acme": Log(entries.even(5))}, faults=[fault]) as sentry:
        read_ids(sentry, hurry)

    assert len(sentry.requests) == 2
    assert 28 <= sum(hurry.waits) <= 31


def test_who_is_told_to_wait_again_and_again_gives_up_after_five_minutes() -> None:
    hurry = Hurry()
    always = faults.status(429, retry_after="200")
    with (
        FakeSentry({"acme": Log()}, faults=lambda *_: always) as sentry,
        pytest.raises(SentryError, match="rate limit is used up for 300 s by other clients: slow"),
    ):
        read_ids(sentry, hurry)

    assert len(sentry.requests) == 3


def test_a_rate_limit_is_never_exceeded() -> None:
    hurry = Hurry()
    log = Log(entries.even(700))
    with FakeSentry({"acme": log}, rate_limit=3, clock=hurry.clock.time) as sentry:
        assert read_ids(sentry, hurry) == expected(log)

    assert sentry.count_429 == 0
    assert sum(hurry.waits) >= (len(sentry.requests) - 3) / 3 - 1


def test_a_rate_limit_that_others_use_up_is_waited_for() -> None:
    hurry = Hurry()
    log = Log(entries.even(150))

    def lift_limit(number: int, _: object) -> None:
        if number == 3:
            sentry.rate_limit = None

    sentry = FakeSentry({"acme": log}, rate_limit=0, clock=hurry.clock.time, faults=lift_limit)
    with sentry:
        assert read_ids(sentry, hurry) == expected(log)

    assert sentry.count_429 == 2


def test_a_request_that_is_refused_again_and_again_lets_others_go_first() -> None:
    hurry = Hurry()
    log = Log(entries.even(5))
    with FakeSentry({"acme": log}, faults=[faults.status(429, retry_after="0")] * 7) as sentry:
        assert read_ids(sentry, hurry, requests_per_second=1000) == expected(log)

    assert [wait for wait in hurry.waits if wait == round(wait)] == [0, 1, 2, 3, 4, 4, 4]
