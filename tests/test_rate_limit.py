"""The limiter on a clock of its own: nothing here waits."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tap_sentry_audit.api.clock import Clock
from tap_sentry_audit.api.rate_limit import LONGEST_WAIT, Limits, RateLimiter, parse_limits
from testing import recorded

NOW = "Sun, 01 Nov 2026 00:00:00 GMT"
NOW_SECONDS = 1_793_491_200


class Time:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.clock = Clock(lambda: self.now, self.sleep, self.time)

    def time(self) -> float:
        return NOW_SECONDS + self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 1e-6)


@pytest.fixture(name="clock")
def _clock() -> Time:
    return Time()


def header(**values: object) -> dict[str, str]:
    return {f"X-Sentry-Rate-Limit-{name}": str(value) for name, value in values.items()}


def at(seconds: float) -> dict[str, str]:
    """A `Date` header so many seconds after NOW."""
    return {"Date": f"Sun, 01 Nov 2026 00:{int(seconds // 60):02}:{int(seconds % 60):02} GMT"}


def ask(
    limiter: RateLimiter,
    clock: Time,
    headers: dict[str, str] | None = None,
    *,
    status: int = 200,
    latency: float = 0.01,
) -> float:
    """Send one request and return when it started."""
    with limiter.turn() as began:
        clock.now += latency
    limiter.observe(parse_limits(headers or {}, NOW_SECONDS), status, began)
    return began


def wait_of_next(limiter: RateLimiter, clock: Time) -> float:
    """How long the next request has to wait, from now on."""
    now = clock.now
    return ask(limiter, clock) - now


# --- what headers say


def test_the_headers_of_a_good_answer_are_read() -> None:
    assert parse_limits(recorded.headers("rate_limit_200"), NOW_SECONDS) == Limits(
        limit=5,
        remaining=2,
        reset=1795218611,
        concurrent_limit=999,
        concurrent_remaining=997,
        retry_after=None,
        date=None,
    )


@pytest.mark.parametrize("text", ["", " ", "-1", "1.5", "²", "٣", "1e3", "None", "1, 2"])
def test_what_is_no_whole_number_says_nothing(text: str) -> None:
    headers = header(Limit=text, Remaining=text, Reset=text)

    assert parse_limits(headers, NOW_SECONDS) == Limits(None, None, None, None, None, None, None)


@pytest.mark.parametrize(
    ("text", "date", "seconds"),
    [
        ("0", NOW, 0.0),
        (" 7 ", NOW, 7.0),
        ("Sun, 01 Nov 2026 00:01:30 GMT", NOW, 90.0),
        ("Sun, 01 Nov 2026 00:01:30 GMT", "", 60.0),
        ("Sat, 31 Oct 2026 23:00:00 GMT", NOW, 0.0),
        ("", NOW, None),
        ("soon", NOW, None),
        ("-5", NOW, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_by_the_servers_clock_or_else_by_ours(
    text: str, date: str, seconds: float | None
) -> None:
    limits = parse_limits({"Retry-After": text, "Date": date}, now=NOW_SECONDS + 30)

    assert limits.retry_after == seconds


# --- the server's windows


class Windows:
    """A server that counts in aligned windows, on a clock that is ahead of ours by `offset`."""

    def __init__(self, clock: Time, limit: int, length: int, offset: float) -> None:
        self._clock = clock
        self._limit = limit
        self._length = length
        self._offset = offset
        self.starts: Counter[int] = Counter()

    def ask(self, limiter: RateLimiter, latency: float) -> float:
        with limiter.turn() as began:
            # Counted as it comes in, half of the way through.
            self._clock.now += latency / 2
            window = math.floor((self._clock.now + self._offset) / self._length)
            self.starts[window] += 1
            self._clock.now += latency / 2
        reset = (window + 1) * self._length
        remaining = max(0, self._limit - self.starts[window])
        date = at((self._clock.now + self._offset) % 3600)
        told = header(Limit=self._limit, Remaining=remaining, Reset=reset) | date
        limiter.observe(parse_limits(told, NOW_SECONDS), 200, began)
        return began


@settings(max_examples=40, deadline=None)
@given(
    length=st.sampled_from([1, 2, 10]),
    limit=st.integers(1, 60),
    offset=st.floats(0, 10),
    latency=st.floats(0.0001, 0.02),
    pause=st.floats(0, 1),
)
@example(length=1, limit=1, offset=0.0, latency=0.001, pause=0.0)
@example(length=10, limit=2, offset=0.3, latency=0.001, pause=0.0)
def test_no_window_that_is_known_gets_more_requests_than_its_limit(
    length: int, limit: int, offset: float, latency: float, pause: float
) -> None:
    clock = Time()
    # The real `Reset` is by the same clock as `Date`.
    server = Windows(clock, limit, length, offset + NOW_SECONDS - NOW_SECONDS % 3600)
    limiter = RateLimiter(1000, 1, clock.clock)
    for _ in range(10 * limit + 50):
        server.ask(limiter, latency)
    server.starts.clear()
    for number in range(5 * limit + 5):
        clock.now += 0.0 if number % 7 else pause
        server.ask(limiter, latency)

    assert max(server.starts.values()) <= limit


@pytest.mark.parametrize(("pause", "least"), [(0.0, 39), (0.06, 38)])
def test_known_windows_are_used_to_the_full_even_if_some_turns_are_taken_late(
    clock: Time, pause: float, least: int
) -> None:
    server = Windows(clock, 40, 1, 0.37 + NOW_SECONDS)
    limiter = RateLimiter(1000, 1, clock.clock)
    for number in range(400):
        clock.now += 0.0 if number % 10 else pause
        server.ask(limiter, 0.002)

    known = [server.starts[window] for window in sorted(server.starts)[5:-1]]
    assert sum(known) / len(known) >= least


def test_a_limit_holds_from_the_first_answer_that_tells_it(clock: Time) -> None:
    limiter = RateLimiter(40, 1, clock.clock)
    first = ask(limiter, clock, header(Limit=3, Remaining=2, Reset=NOW_SECONDS + 1001) | at(1000))

    assert ask(limiter, clock) - first >= 1 / 3


# --- what is said of waits


def lines_of(limiter: RateLimiter, clock: Time, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the limiter says while five threads wait for their turns."""
    caplog.set_level(logging.INFO)
    with ThreadPoolExecutor(5) as threads:
        for _ in range(5):
            threads.submit(ask, limiter, clock)
    return caplog.messages


@pytest.mark.parametrize("status", [429, 503])
def test_one_line_says_how_long_all_threads_wait_and_what_for(
    status: int, clock: Time, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = RateLimiter(40, 5, clock.clock)
    ask(limiter, clock, {"Retry-After": "120"}, status=status, latency=0)

    assert lines_of(limiter, clock, caplog) == [
        "Waiting for 120 s, until 00:18:40 UTC: the server asks for it (Retry-After)",
    ]


def test_a_wait_that_becomes_longer_is_said_anew(
    clock: Time, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    limiter = RateLimiter(40, 5, clock.clock)
    for seconds in ("10", "20"):
        ask(limiter, clock, {"Retry-After": seconds}, status=429)
    ask(limiter, clock)

    assert [line.partition(",")[0] for line in caplog.messages] == [
        "Waiting for 10 s",
        "Waiting for 20 s",
    ]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (header(Remaining=0, Limit=40, Reset=NOW_SECONDS + 1008) | at(1000), "limit is used up"),
        (header(Remaining=5, Limit=2, Reset=NOW_SECONDS + 1060) | at(1000), "few requests a min"),
    ],
)
def test_a_wait_for_the_rate_limit_is_told_from_one_for_a_few_slots(
    headers: dict[str, str], reason: str, clock: Time, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = RateLimiter(40, 5, clock.clock)
    ask(limiter, clock, headers)

    assert all(reason in line for line in lines_of(limiter, clock, caplog)[:1])
    assert caplog.messages


def test_the_usual_pace_is_not_spoken_of(clock: Time, caplog: pytest.LogCaptureFixture) -> None:
    limiter = RateLimiter(1, 5, clock.clock)
    ask(limiter, clock, {"Retry-After": "5"}, status=429)

    assert lines_of(limiter, clock, caplog) == []


@settings(max_examples=200, deadline=None)
@given(
    status=st.sampled_from([200, 429, 500]),
    headers=st.dictionaries(
        st.sampled_from(
            ["Date", "Retry-After"]
            + [f"X-Sentry-Rate-Limit-{name}" for name in ("Limit", "Remaining", "Reset")]
        ),
        st.one_of(
            st.integers(0, 10**400).map(str),
            st.sampled_from(["0", "1", NOW, "Fri, 31 Dec 9999 23:59:59 -2359", "x"]),
        ),
    ),
)
def test_whatever_headers_say_the_next_request_starts_within_five_minutes(
    status: int, headers: dict[str, str]
) -> None:
    clock = Time()
    limiter = RateLimiter(40, 2, clock.clock)
    for _ in range(3):
        ask(limiter, clock, headers, status=status)

    assert wait_of_next(limiter, clock) <= LONGEST_WAIT


# --- ceilings


@pytest.mark.parametrize("rate", [1, 40])
def test_the_settings_rate_holds_without_headers(clock: Time, rate: int) -> None:
    limiter = RateLimiter(rate, 1, clock.clock)
    starts = [ask(limiter, clock, latency=0.0001) for _ in range(3 * rate + 1)]

    assert all(later - start >= 1 for start, later in zip(starts, starts[rate:], strict=False))


@pytest.mark.parametrize("rate", [1, 2, 10])
def test_the_settings_rate_holds_where_the_server_allows_more(clock: Time, rate: int) -> None:
    server = Windows(clock, 40, 1, 0.5 + NOW_SECONDS)
    limiter = RateLimiter(rate, 1, clock.clock)
    starts = [server.ask(limiter, 0.001) for _ in range(20)]

    assert 18 / rate <= starts[-1] - starts[0] <= 24 / rate


# --- requests at once


def test_no_more_requests_run_at_once_than_are_allowed(clock: Time) -> None:
    limiter = RateLimiter(1000, 3, clock.clock)
    running: list[int] = []
    at_once: list[int] = []

    def send(number: int) -> None:
        with limiter.turn():
            running.append(number)
            time.sleep(0.01)
            at_once.append(len(running))
            running.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(12)))

    assert max(at_once) == 3


@pytest.mark.parametrize(
    ("setting", "headers", "statuses", "width"),
    [
        (3, {}, [200], 3),
        (8, header(ConcurrentLimit=2), [200], 2),
        (3, header(ConcurrentLimit=25), [200], 3),
        # With requests remaining, the number at once was the reason.
        (5, header(Limit=40, Remaining=30, ConcurrentLimit=25), [429, 200], 4),
        (5, header(Limit=40, Remaining=0, ConcurrentLimit=25), [429], 5),
        (2, header(Remaining=3), [429] * 5, 1),
    ],
)
def test_the_number_at_once_is_the_least_of_setting_limit_and_what_was_refused(
    clock: Time, setting: int, headers: dict[str, str], statuses: list[int], width: int
) -> None:
    limiter = RateLimiter(1000, setting, clock.clock)
    for status in statuses:
        ask(limiter, clock, headers, status=status, latency=5)

    assert limiter.width(0.0) == width


@pytest.mark.parametrize(
    ("latency", "handling", "width"),
    [(0.005, 0.0, 1), (0.05, 0.0, 3), (0.2, 0.0, 9), (0.2, 0.5, 1)],
    ids=["fast server", "slower", "slow", "slow reader"],
)
def test_as_many_at_once_are_of_use_as_start_while_one_is_answered_and_one_more(
    clock: Time, latency: float, handling: float, width: int
) -> None:
    limiter = RateLimiter(40, 12, clock.clock)
    for _ in range(40):
        ask(limiter, clock, latency=latency - 1e-9)

    assert limiter.width(handling) == width


# --- waits


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, header(Limit=5, Remaining=0, Reset=NOW_SECONDS + 20) | at(10), 10),
        (429, header(Remaining=0, Reset=NOW_SECONDS + 2) | at(1) | {"Retry-After": "30"}, 30),
        (429, {"Retry-After": "86400"}, LONGEST_WAIT),
        (503, {"Retry-After": "30"}, 30),
        # Others have used the limit up.
        (200, header(Limit=40, Remaining=0, Reset=NOW_SECONDS + 61) | at(60), 1),
    ],
)
def test_the_next_request_waits_as_long_as_the_server_says_within_bounds(
    clock: Time, status: int, headers: dict[str, str], seconds: float
) -> None:
    limiter = RateLimiter(40, 1, clock.clock)
    ask(limiter, clock, headers, status=status)

    assert seconds <= wait_of_next(limiter, clock) <= seconds + 1.1


def waits_after(statuses: list[int], clock: Time) -> list[float]:
    """How long was waited after each of these answers that named no time."""
    limiter = RateLimiter(40, 1, clock.clock)
    starts = [ask(limiter, clock, status=status, latency=0) for status in [*statuses, 200]]
    return [later - start for start, later in pairwise(starts)]


def test_429s_that_name_no_time_wait_twice_as_long_each_time_and_a_random_while(
    clock: Time,
) -> None:
    waits = waits_after([429] * 9, clock)

    least = [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert all(low < wait <= low + 1 for low, wait in zip(least, waits, strict=True))
    assert len({round(wait % 1, 6) for wait in waits}) > 1


def test_a_good_answer_lets_the_waits_begin_anew(clock: Time) -> None:
    *_, wait = waits_after([429, 429, 429, 200, 429], clock)

    assert wait <= 1.5


def test_a_limit_used_up_by_ourselves_is_not_waited_for(clock: Time) -> None:
    server = Windows(clock, 10, 1, 0.5 + NOW_SECONDS)
    limiter = RateLimiter(40, 1, clock.clock)
    for _ in range(60):
        server.ask(limiter, 0.001)

    assert any(count == 10 for count in server.starts.values())
    assert limiter.waited == 0


# --- what is counted


def test_requests_and_429s_are_counted_and_waits_that_overlap_once(clock: Time) -> None:
    limiter = RateLimiter(40, 2, clock.clock)
    limits = parse_limits({"Retry-After": "10"}, NOW_SECONDS)
    with limiter.turn() as first, limiter.turn() as second:
        limiter.observe(limits, 503, first)
        clock.now += 4
        limiter.observe(limits, 429, second)

    assert (limiter.requests, limiter.too_many) == (2, 1)
    assert limiter.waited == pytest.approx(14)


def test_a_request_that_fails_gives_its_turn_back(clock: Time) -> None:
    limiter = RateLimiter(40, 1, clock.clock)
    for _ in range(3):
        with pytest.raises(ConnectionError), limiter.turn():
            raise ConnectionError

    assert ask(limiter, clock)
