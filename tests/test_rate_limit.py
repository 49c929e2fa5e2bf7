"""The limiter on a clock of its own: nothing here waits."""

from __future__ import annotations

import math
import threading
from collections import Counter

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


@pytest.fixture
def clock() -> Time:
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
    with limiter.turn() as began:
        pass
    return began - now


# --- what headers say


def test_a_good_answers_headers_are_read() -> None:
    assert parse_limits(recorded.headers("rate_limit_200"), NOW_SECONDS) == Limits(
        limit=5,
        remaining=2,
        reset=1795218611,
        concurrent_limit=999,
        concurrent_remaining=997,
        retry_after=None,
        date=None,
    )


def test_a_429s_headers_are_read_and_the_word_none_is_no_number() -> None:
    limits = parse_limits(recorded.headers("rate_limit_429"), NOW_SECONDS)

    assert (limits.remaining, limits.reset) == (0, 1795218611)
    assert limits.concurrent_remaining is None


def test_an_answer_without_headers_says_nothing() -> None:
    assert parse_limits({}, NOW_SECONDS) == Limits(None, None, None, None, None, None, None)


@pytest.mark.parametrize("text", ["", " ", "-1", "1.5", "²", "٣", "1e3", "many", "1, 2"])
def test_what_is_no_whole_number_says_nothing(text: str) -> None:
    headers = header(Limit=text, Remaining=text, Reset=text)

    assert parse_limits(headers, NOW_SECONDS) == parse_limits({}, NOW_SECONDS)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Sun, 01 Nov 2026 00:01:30 GMT", 90.0),
        ("Sat, 31 Oct 2026 23:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_by_the_servers_clock(
    text: str, seconds: float | None
) -> None:
    assert parse_limits({"Retry-After": text, "Date": NOW}, NOW_SECONDS).retry_after == seconds


def test_a_retry_after_date_without_a_date_header_is_held_against_our_clock() -> None:
    limits = parse_limits({"Retry-After": "Sun, 01 Nov 2026 00:01:30 GMT"}, NOW_SECONDS + 30)

    assert limits.retry_after == 60.0


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


@pytest.mark.parametrize("length", [1, 2, 10])
@settings(max_examples=25, deadline=None)
@given(
    limit=st.integers(1, 60),
    offset=st.floats(0, 10),
    latency=st.floats(0.0001, 0.02),
    pause=st.floats(0, 1),
)
@example(limit=1, offset=0.0, latency=0.001, pause=0.0)
@example(limit=2, offset=0.3, latency=0.001, pause=0.0)
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


def test_windows_that_are_known_are_used_to_the_full(clock: Time) -> None:
    server = Windows(clock, 40, 1, 0.37 + NOW_SECONDS)
    limiter = RateLimiter(1000, 1, clock.clock)
    for _ in range(400):
        server.ask(limiter, 0.002)

    known = [server.starts[window] for window in sorted(server.starts)[5:-1]]
    assert sum(known) / len(known) >= 39


def test_turns_that_nobody_took_in_time_are_made_good_in_their_window(clock: Time) -> None:
    server = Windows(clock, 40, 1, 0.37 + NOW_SECONDS)
    limiter = RateLimiter(1000, 1, clock.clock)
    for number in range(400):
        clock.now += 0.0 if number % 10 else 0.06
        server.ask(limiter, 0.002)

    known = [server.starts[window] for window in sorted(server.starts)[5:-1]]
    assert sum(known) / len(known) >= 38


def test_a_limit_holds_from_the_first_answer_that_tells_it(clock: Time) -> None:
    limiter = RateLimiter(40, 1, clock.clock)
    first = ask(limiter, clock, header(Limit=3, Remaining=2, Reset=NOW_SECONDS + 1001) | at(1000))

    assert ask(limiter, clock) - first >= 1 / 3


# --- ceilings


@pytest.mark.parametrize("rate", [1, 7, 40])
def test_the_settings_rate_holds_without_headers(clock: Time, rate: int) -> None:
    limiter = RateLimiter(rate, 1, clock.clock)
    starts = [ask(limiter, clock, latency=0.0001) for _ in range(3 * rate + 1)]

    assert all(later - start >= 1 for start, later in zip(starts, starts[rate:], strict=False))


def test_the_settings_rate_holds_where_the_server_allows_more(clock: Time) -> None:
    server = Windows(clock, 100, 1, 0.5 + NOW_SECONDS)
    limiter = RateLimiter(10, 1, clock.clock)
    for _ in range(50):
        server.ask(limiter, 0.001)

    assert max(server.starts.values()) <= 10


@pytest.mark.parametrize("rate", [1, 2])
def test_a_slow_setting_works_with_a_server_that_sends_headers(clock: Time, rate: int) -> None:
    server = Windows(clock, 40, 1, 0.5 + NOW_SECONDS)
    limiter = RateLimiter(rate, 1, clock.clock)
    starts = [server.ask(limiter, 0.001) for _ in range(20)]

    assert 18 / rate <= starts[-1] - starts[0] <= 24 / rate


def test_a_server_without_a_date_header_is_paced_by_its_limit(clock: Time) -> None:
    limiter = RateLimiter(1000, 1, clock.clock)
    starts = []
    for _ in range(31):
        reset = math.floor(clock.time() + 1)
        headers = header(Limit=10, Remaining=5, Reset=reset)
        starts.append(ask(limiter, clock, headers, latency=0.001))

    assert 2.5 <= starts[-1] - starts[0] <= 3.5


# --- requests at once


def most_at_once(limiter: RateLimiter, threads: int = 8) -> int:
    """Let threads hold turns, and return how many had one when nobody else got one."""
    full = threading.Event()
    done = threading.Event()
    held: list[float] = []

    def hold() -> None:
        with limiter.turn() as began:
            held.append(began)
            full.set()
            done.wait(5)

    started = [threading.Thread(target=hold, daemon=True) for _ in range(threads)]
    for thread in started:
        thread.start()
    while full.wait(0.1):
        full.clear()
    found = len(held)
    done.set()
    for thread in started:
        thread.join(5)
    return found


def test_the_settings_number_at_once_holds(clock: Time) -> None:
    assert most_at_once(RateLimiter(1000, 3, clock.clock)) == 3


def test_the_servers_lower_number_at_once_holds(clock: Time) -> None:
    limiter = RateLimiter(1000, 8, clock.clock)
    ask(limiter, clock, header(ConcurrentLimit=2))

    assert most_at_once(limiter) == 2


def test_the_servers_higher_number_at_once_does_not(clock: Time) -> None:
    limiter = RateLimiter(1000, 3, clock.clock)
    ask(limiter, clock, header(ConcurrentLimit=25))

    assert most_at_once(limiter) == 3


def test_a_429_with_requests_remaining_lowers_the_number_at_once(clock: Time) -> None:
    limiter = RateLimiter(1000, 5, clock.clock)
    ask(limiter, clock, header(Limit=40, Remaining=30, ConcurrentLimit=25), status=429)

    assert most_at_once(limiter) == 4


def test_a_429_with_none_remaining_does_not_lower_it(clock: Time) -> None:
    limiter = RateLimiter(1000, 5, clock.clock)
    ask(limiter, clock, header(Limit=40, Remaining=0, ConcurrentLimit=25), status=429)

    assert most_at_once(limiter) == 5


def test_it_is_never_lowered_to_nothing(clock: Time) -> None:
    limiter = RateLimiter(1000, 2, clock.clock)
    for _ in range(5):
        ask(limiter, clock, header(Remaining=3), status=429)

    assert most_at_once(limiter) == 1


# --- 429


def test_a_429_waits_for_the_reset(clock: Time) -> None:
    limiter = RateLimiter(40, 1, clock.clock)
    headers = header(Limit=5, Remaining=0, Reset=NOW_SECONDS + 20) | at(10)
    ask(limiter, clock, headers, status=429)

    assert wait_of_next(limiter, clock) >= 10


def test_a_429s_retry_after_goes_before_its_reset(clock: Time) -> None:
    limiter = RateLimiter(40, 1, clock.clock)
    headers = header(Limit=5, Remaining=0, Reset=NOW_SECONDS + 2) | at(1) | {"Retry-After": "30"}
    ask(limiter, clock, headers, status=429)

    assert 30 <= wait_of_next(limiter, clock) <= 31


def test_no_wait_is_longer_than_the_longest(clock: Time) -> None:
    limiter = RateLimiter(40, 1, clock.clock)
    ask(limiter, clock, {"Retry-After": "86400"}, status=429)

    assert LONGEST_WAIT <= wait_of_next(limiter, clock) <= LONGEST_WAIT + 1


@pytest.fixture
def jitter(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was to be waited before chance made it longer; here it makes it nothing else."""
    asked: list[float] = []

    def remember(seconds: float) -> float:
        asked.append(seconds)
        return seconds

    monkeypatch.setattr("backoff.random_jitter", remember)
    return asked


def test_429s_that_name_no_time_wait_twice_as_long_each_time(
    clock: Time, jitter: list[float]
) -> None:
    limiter = RateLimiter(40, 1, clock.clock)
    for _ in range(9):
        ask(limiter, clock, status=429)

    assert jitter == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_a_good_answer_lets_the_waits_begin_anew(clock: Time, jitter: list[float]) -> None:
    limiter = RateLimiter(40, 1, clock.clock)
    for status in (429, 429, 200, 429):
        ask(limiter, clock, status=status)

    assert jitter == [0.5, 1, 0.5]


def test_chance_makes_a_wait_longer(clock: Time) -> None:
    waits = set()
    for _ in range(5):
        limiter = RateLimiter(40, 1, clock.clock)
        ask(limiter, clock, status=429)
        waits.add(round(wait_of_next(limiter, clock), 6))

    assert len(waits) > 1
    assert all(0.5 <= wait <= 1.6 for wait in waits)


def test_after_a_429_every_thread_waits(clock: Time) -> None:
    limiter = RateLimiter(40, 4, clock.clock)
    ask(limiter, clock, {"Retry-After": "30"}, status=429)
    free = clock.now + 30
    starts: list[float] = []

    def start() -> None:
        with limiter.turn() as began:
            starts.append(began)

    threads = [threading.Thread(target=start, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)

    assert len(starts) == 4
    assert min(starts) >= free


# --- a limit that is used up


def test_a_limit_used_up_by_others_is_waited_for(clock: Time) -> None:
    limiter = RateLimiter(40, 1, clock.clock)
    ask(limiter, clock, header(Limit=40, Remaining=0, Reset=NOW_SECONDS + 61) | at(60))

    assert wait_of_next(limiter, clock) >= 1


def test_a_limit_used_up_by_ourselves_is_not_waited_for(clock: Time) -> None:
    server = Windows(clock, 10, 1, 0.5 + NOW_SECONDS)
    limiter = RateLimiter(40, 1, clock.clock)
    for _ in range(60):
        server.ask(limiter, 0.001)

    assert any(count == 10 for count in server.starts.values())
    assert limiter.waited == 0


# --- how many at once are of use


def test_one_at_a_time_is_enough_for_a_fast_server(clock: Time) -> None:
    limiter = RateLimiter(40, 12, clock.clock)
    for _ in range(20):
        ask(limiter, clock, latency=0.005)

    assert limiter.width(0.0) == 1


@pytest.mark.parametrize(("latency", "width"), [(0.05, 3), (0.1, 5), (0.2, 9)])
def test_a_slow_server_is_asked_as_much_as_may_start_meanwhile_and_once_more(
    clock: Time, latency: float, width: int
) -> None:
    limiter = RateLimiter(40, 12, clock.clock)
    for _ in range(40):
        ask(limiter, clock, latency=latency - 1e-9)

    assert limiter.width(0.0) == width


def test_more_at_once_are_of_no_use_to_a_slow_reader(clock: Time) -> None:
    limiter = RateLimiter(40, 12, clock.clock)
    for _ in range(40):
        ask(limiter, clock, latency=0.2)

    assert limiter.width(0.5) == 1


def test_never_more_are_of_use_than_are_allowed(clock: Time) -> None:
    limiter = RateLimiter(40, 12, clock.clock)
    for _ in range(40):
        ask(limiter, clock, header(ConcurrentLimit=2), latency=5.0)

    assert limiter.width(0.0) == 2


# --- what is counted


def test_requests_and_429s_are_counted(clock: Time) -> None:
    limiter = RateLimiter(40, 1, clock.clock)
    for status in (200, 429, 200):
        ask(limiter, clock, status=status)

    assert (limiter.requests, limiter.too_many) == (3, 1)


def test_waits_that_overlap_are_counted_once(clock: Time) -> None:
    limiter = RateLimiter(40, 2, clock.clock)
    with limiter.turn() as first, limiter.turn() as second:
        limiter.observe(parse_limits({"Retry-After": "10"}, NOW_SECONDS), 503, first)
        clock.now += 4
        limiter.observe(parse_limits({"Retry-After": "10"}, NOW_SECONDS), 503, second)

    assert limiter.waited == pytest.approx(14)


def test_a_request_that_fails_gives_its_turn_back(clock: Time) -> None:
    limiter = RateLimiter(40, 1, clock.clock)
    for _ in range(3):
        with pytest.raises(ConnectionError), limiter.turn():
            raise ConnectionError

    assert ask(limiter, clock)
