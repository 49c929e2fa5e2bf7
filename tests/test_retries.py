"""What passes: retried, and nothing lost or doubled by it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import pytest

from tap_sentry_audit.api.client import Client
from tap_sentry_audit.api.clock import Clock
from tap_sentry_audit.audit_log.pages import fetch_from
from tap_sentry_audit.audit_log.reader import read_range
from tap_sentry_audit.config import parse_settings
from testing.fake_sentry import FakeSentry, Log, entries, faults
from testing.sentry_tap import Hurry, config

if TYPE_CHECKING:
    from collections.abc import Callable


def read_ids(sentry: FakeSentry, clock: Clock | None = None, **more: object) -> list[str]:
    settings = parse_settings(config(sentry, **more))
    client = Client(settings, logging.getLogger(), clock or Hurry().clock)

    fetch = fetch_from(client, "acme", "")
    return [entry.id for chunk in read_range(fetch, None, None) for entry in chunk.entries]


def expected(log: Log) -> list[str]:
    return [row["id"] for row in log.rows() if row]


FAULTS: dict[str, faults.Fault] = {
    "429": faults.status(429),
    "500": faults.status(500),
    "502": faults.status(502),
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
@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_fault_at_any_request_loses_and_doubles_nothing(name: str, number: int) -> None:
    log = Log(entries.even(250))
    with FakeSentry({"acme": log}, faults={number: FAULTS[name]}) as sentry:
        assert read_ids(sentry) == expected(log)


def test_a_hang_is_cut_short_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    log = Log(entries.even(150))
    with FakeSentry({"acme": log}, faults={2: "hang"}) as sentry:
        assert read_ids(sentry, request_timeout_seconds=1) == expected(log)
    [warning] = caplog.messages
    assert "did not answer in time" in warning


def test_waits_grow_and_vary() -> None:
    hurry = Hurry()
    log = Log(entries.even(5))
    with FakeSentry({"acme": log}, faults=[faults.status(503)] * 6) as sentry:
        assert read_ids(sentry, hurry.clock) == expected(log)

    longest = [0.1, 0.3, 0.9, 2.7, 8.1, 24.3]
    assert [most / 2 <= wait <= most for most, wait in zip(longest, hurry.waits, strict=True)] == [
        True
    ] * 6
    assert hurry.waits != longest


@pytest.mark.parametrize(
    "retry_after",
    [
        lambda: "1",
        lambda: time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 2)),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_servers_own_waiting_time_is_obeyed(
    status: int, retry_after: Callable[[], str]
) -> None:
    fault = faults.status(status, retry_after=retry_after())
    with FakeSentry({"acme": Log(entries.even(5))}, faults=[fault]) as sentry:
        read_ids(sentry, Clock())
        first, second = sentry.requests

    assert 0.9 <= second.at - first.at <= 2.5


def test_a_rate_limit_is_waited_for_until_its_reset() -> None:
    log = Log(entries.even(700))
    with FakeSentry({"acme": log}, rate_limit=3) as sentry:
        began = time.monotonic()
        assert read_ids(sentry, Clock()) == expected(log)
        took = time.monotonic() - began
        count = len(sentry.requests)

    assert sentry.count_429 == 0
    assert took >= (count - 3) / 3 - 1


def test_a_rate_limit_used_up_by_others_is_waited_for() -> None:
    log = Log(entries.even(150))
    with FakeSentry({"acme": log}, rate_limit=0) as sentry:
        sentry.faults = lambda number, _: open_gate(sentry) if number == 3 else None
        assert read_ids(sentry, Clock()) == expected(log)

    assert sentry.count_429 == 2


def open_gate(sentry: FakeSentry) -> None:
    sentry.rate_limit = None
