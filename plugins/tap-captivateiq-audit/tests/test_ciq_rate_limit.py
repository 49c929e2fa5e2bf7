"""Never more requests in any second, and in any hour, than are allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tap_captivateiq_audit.clock import Clock
from tap_captivateiq_audit.rate_limit import RateLimiter
from testing.standing_clock import StandingClock

if TYPE_CHECKING:
    import pytest


@given(
    per_second=st.integers(1, 15),
    per_hour=st.integers(1, 60),
    takes=st.lists(st.floats(0, 30), min_size=1, max_size=150),
)
def test_no_second_and_no_hour_has_more_requests_than_it_may(
    per_second: int, per_hour: int, takes: list[float]
) -> None:
    clock = StandingClock()
    rate_limiter = RateLimiter(per_second, per_hour, Clock(clock.monotonic, clock.sleep))
    times = []
    for seconds in takes:
        rate_limiter.wait()
        times.append(clock.now)
        clock.now += seconds

    for limit, length in ((per_second, 1), (per_hour, 3600)):
        for first, after in zip(times, times[limit:], strict=False):
            assert after - first > length


def test_nothing_waits_below_the_limits() -> None:
    clock = StandingClock()
    rate_limiter = RateLimiter(5, 1500, Clock(clock.monotonic, clock.sleep))
    for _ in range(5):
        rate_limiter.wait()

    assert clock.waits == []


def test_an_hour_that_is_used_up_is_told_with_the_time_until_when(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = StandingClock()
    rate_limiter = RateLimiter(5, 1500, Clock(clock.monotonic, clock.sleep))
    for _ in range(1501):
        rate_limiter.wait()

    (line,) = caplog.messages
    assert line.startswith("1,500 requests in an hour are used up: waiting until ")
    assert line.endswith(" UTC")
    assert clock.now > 3600
