"""When a request may start: Sentry's rate-limit headers, 429s, and the number of requests at once.

Sentry counts requests per token in windows of whole seconds, aligned to its clock, and reports the
count in `X-Sentry-Rate-Limit-*` on every response (sentry.io: 40 requests a second, 25 at once). A
self-hosted server without a limiter sends none of these; then only the settings apply.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import backoff

from tap_sentry_audit.api.clock import LONG_WAIT, Clock, time_of_day
from tap_sentry_audit.api.decoding import parse_integer
from tap_sentry_audit.api.timestamps import parse_http_date

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from logging import Logger

LONGEST_WAIT = 300.0
"""Seconds that a server may ask us to wait at a time; a longer wait is an error."""

_ENDLESS = 1e9
"""Seconds that stand for a wait of more digits."""

_FIRST_WAIT = 0.5
"""Seconds to wait after a 429 that names no time; each one in a row doubles them, up to 60."""

_RETRY_AFTER = "the server asks for it (Retry-After)"
_USED_UP = "the token's rate limit is used up (X-Sentry-Rate-Limit-Reset)"
_TOO_MANY = "the server answered 429 without a time"
_WINDOW = "the server allows few requests a minute"

_MARGIN = 0.95
"""Part of the limit to use until we know when the server's windows start."""

_CATCH_UP = 4
"""How many unused slots of a window may be used later than planned."""

_DRIFT = 0.0001
"""Seconds by which each response widens the bounds of what we know about the windows."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The rate-limit headers of a response; None where a header is missing or not a number.

    `reset` is the end of the window in seconds since 1970 by the server's clock, `date` that
    clock in whole seconds, `retry_after` the seconds that the server asks us to wait.
    """

    limit: int | None
    remaining: int | None
    reset: int | None
    concurrent_limit: int | None
    concurrent_remaining: int | None
    retry_after: float | None
    date: float | None


def parse_limits(headers: Mapping[str, str], now: float) -> Limits:
    """Return the limits in a response's headers; `now` is as for `parse_retry_after`."""

    def number(name: str) -> int | None:
        return parse_integer(headers.get(f"X-Sentry-Rate-Limit-{name}", ""))

    return Limits(
        limit=number("Limit"),
        remaining=number("Remaining"),
        reset=number("Reset"),
        concurrent_limit=number("ConcurrentLimit"),
        # ConcurrentRemaining can be the word None (Sentry 23.7.1).
        concurrent_remaining=number("ConcurrentRemaining"),
        retry_after=parse_retry_after(headers, now),
        date=_epoch_seconds(headers.get("Date", "")),
    )


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that `Retry-After` asks to wait, or None if it asks for nothing.

    It is a whole number of seconds or a date (RFC 9110); a date counts from the server's own clock,
    or, where there is no `Date`, from `now`, ours, in seconds since 1970.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _ENDLESS)
    moment, date = _epoch_seconds(text), _epoch_seconds(headers.get("Date", ""))
    return None if moment is None else max(0.0, moment - (now if date is None else date))


def _epoch_seconds(http_date: str) -> float | None:
    date = parse_http_date(http_date)
    return date.timestamp() if date else None


def requested_wait(status: int, limits: Limits) -> float:
    """Return how many seconds a 429 or a 5xx asks all threads to wait (`Retry-After`)."""
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return limits.retry_after or 0.0
    return 0.0


class RateLimiter:
    """Lets the requests of all threads start as fast as the server accepts them.

    One limiter serves a whole run, because limits count per token, whatever is requested.
    """

    def __init__(
        self,
        requests_per_second: int,
        max_concurrent_requests: int,
        clock: Clock | None = None,
        logger: Logger | None = None,
    ) -> None:
        """Start with ceilings that the server's headers can only lower.

        `logger` gets a line for each long wait.

        `requests` counts the requests so far and `too_many` their 429s; `waited` is how many
        seconds no request was allowed to start.
        """
        self.requests = 0
        self.too_many = 0
        self.waited = 0.0
        self.clock = clock or Clock()
        self._max_concurrent = max_concurrent_requests
        self._changed = threading.Condition()
        self._line = threading.Lock()
        self._running = 0
        self._allowed = max_concurrent_requests
        self._blocked_until = 0.0
        self._reason = _WINDOW
        self._told_until = -math.inf
        self._logger = logger or logging.getLogger(__name__)
        self._windows = _Windows(requests_per_second)
        self._latency = 0.0
        self._next_wait = _FIRST_WAIT
        # How far, at least, the server's clock is ahead of the monotonic one.
        self._clock_lead = -math.inf

    @contextmanager
    def turn(self) -> Iterator[float]:
        """Wait for a turn to send one request, and hold it until the response has come.

        Yields the start time for `observe`, in seconds of the monotonic clock.
        """
        with self._changed:
            while self._running >= self._allowed:
                self._changed.wait()
            self._running += 1
        began = math.inf
        try:
            began = self._wait_for_start()
            yield began
        finally:
            with self._changed:
                self._running -= 1
                took = max(0.0, self.clock.monotonic() - began)
                self._latency += (took - self._latency) / (4 if self._latency else 1)
                self._changed.notify()

    def _wait_for_start(self) -> float:
        # One waits at a time and the others for it: whoever comes first, starts first.
        with self._line:
            while True:
                with self._changed:
                    now = self.clock.monotonic()
                    start = self._windows.next_start(self._blocked_until, now)
                    if start <= now:
                        self.requests += 1
                        self._windows.add_start(now)
                        return now
                    wait = start - now
                    reason = self._reason if now < self._blocked_until else _WINDOW
                    is_told = wait <= LONG_WAIT or start < self._told_until + 1
                    if not is_told:
                        self._told_until = start
                if not is_told:
                    end = time_of_day(self.clock.time() + wait)
                    self._logger.info("Waiting for %.0f s, until %s: %s", wait, end, reason)
                self.clock.sleep(wait)

    def width(self, seconds: float) -> int:
        """Return how many concurrent requests are useful if handling a response takes `seconds`.

        These are as many as can start while one is answered, and one more so that nobody waits.
        """
        with self._changed:
            started = self._latency / max(self._windows.interval, seconds)
            return min(self._allowed, math.ceil(started) + (started > 1))

    def observe(self, limits: Limits, status: int, began: float) -> None:
        """Learn from a response that has just come to a request that started at `began`."""
        with self._changed:
            if limits.date is not None:
                self._clock_lead = max(self._clock_lead, limits.date - self.clock.monotonic())
            self._windows.observe(limits, began)
            if limits.concurrent_limit:
                self._allowed = min(self._max_concurrent, limits.concurrent_limit)
            # Others use the limit too if more of it is gone than we can have used. Alone, our
            # requests are spread so that it lasts for the window, and waiting for its end would
            # only cost time: we know that end to a second at best.
            if (
                limits.remaining == 0
                and limits.reset is not None
                and self._windows.count_starts(began) < 0.9 * (limits.limit or 0)
            ):
                self._block_until(limits.reset)
            if status == HTTPStatus.TOO_MANY_REQUESTS:
                self._observe_429(limits)
            else:
                self._next_wait = _FIRST_WAIT
                self._block(requested_wait(status, limits), _RETRY_AFTER)
            self._changed.notify_all()

    def _observe_429(self, limits: Limits) -> None:
        self.too_many += 1
        if limits.remaining and self._allowed > 1:
            # The rate was not the reason, so it was the number of requests at once.
            self._allowed -= 1
            self._max_concurrent = self._allowed
        if limits.retry_after is not None:
            self._block(limits.retry_after, _RETRY_AFTER)
        elif limits.remaining == 0 and limits.reset is not None:
            self._block_until(limits.reset)
        else:
            self._block(backoff.random_jitter(self._next_wait), _TOO_MANY)
            self._next_wait = min(2 * self._next_wait, 60.0)

    def _block_until(self, reset: int) -> None:
        """Let no request start until the server's clock has surely reached `reset`."""
        is_known = self._clock_lead > -math.inf
        now = self.clock.monotonic() + self._clock_lead if is_known else self.clock.time()
        self._block(max(0.0, reset - now), _USED_UP)

    def _block(self, seconds: float, reason: str) -> None:
        """Let no request start for `seconds`."""
        now = self.clock.monotonic()
        if now + seconds > self._blocked_until:
            self._reason = reason
        until = max(self._blocked_until, now + min(seconds, LONGEST_WAIT))
        self.waited += until - max(self._blocked_until, now)
        self._blocked_until = until


class _Windows:
    """The server's windows on our clock: how long they are, what fits into each, when they start.

    The start of a request and the end of its window (`Reset`) bound the difference of the two
    clocks; many requests narrow it down to the time between two of them. The part that is surely
    inside a window is divided evenly, so that each window gets all requests that it allows, and
    no request lands in the wrong one.
    """

    def __init__(self, requests_per_second: int) -> None:
        self._ceiling = requests_per_second
        self._length = 1.0
        self._count = requests_per_second
        # A window starts between these two, plus any number of lengths.
        self._earliest = -math.inf
        self._latest = math.inf
        self._starts: deque[float] = deque()
        self._last_start = -math.inf
        # A window's number and a position in it.
        self._next_slot = (-math.inf, 0)
        self._last_slot = (-math.inf, 0)

    @property
    def interval(self) -> float:
        """The average seconds between the starts of two requests."""
        return self._length / self._count

    def observe(self, limits: Limits, began: float) -> None:
        """Learn from the response to a request that started at `began`."""
        while self._starts and self._starts[0] < began - 3 * self._length:
            self._starts.popleft()
        if limits.reset is not None and limits.date is not None:
            # No header gives a window's length, but no window ends later than its length from now.
            self._length = max(self._length, min(limits.reset - limits.date, LONGEST_WAIT))
        if limits.limit:
            self._count = max(1, min(limits.limit, int(self._ceiling * self._length)))
        if limits.reset is None:
            return
        # Clocks drift and limits change, so the bounds widen a little each time, but never so far
        # that they become useless.
        is_narrow = self._latest - self._earliest < min(self.interval, self._length / 3)
        drift = _DRIFT if is_narrow else 0.0
        self._earliest = max(self._earliest - drift, began - limits.reset)
        self._latest = min(self._latest + drift, began - limits.reset + self._length)
        if self._earliest > self._latest:
            self._earliest, self._latest = self._latest, self._earliest

    def count_starts(self, began: float) -> int:
        """Return how many of our starts may count in the window of the one at `began`."""
        since = began - self._length - self.interval / 2
        return sum(since <= start <= began for start in self._starts)

    def next_start(self, blocked_until: float, now: float) -> float:
        """Return when the next request may start."""
        uncertainty = self._latest - self._earliest
        if uncertainty > min(1.5 * self.interval, self._length / 2):
            return max(self._last_start + self.interval / _MARGIN, blocked_until, now)
        earliest = max(self._last_start, blocked_until)
        share = (self._length - uncertainty) / self._count
        number, offset = divmod(max(earliest, now - share / 4) - self._latest, self._length)
        position = math.ceil(offset / share - 0.5)
        if earliest <= now and position < self._count:
            # Slots that threads were too late for can be used while the window surely lasts.
            position = max(0, position - _CATCH_UP)
        if number == self._last_slot[0]:
            position = max(position, self._last_slot[1] + 1)
        else:
            # Before the windows were known, some requests may have started in this one.
            begin = self._earliest + number * self._length
            position = max(position, sum(start >= begin for start in self._starts))
        if position >= self._count:
            number, position = number + 1, 0
        self._next_slot = (number, position)
        return max(earliest, self._latest + number * self._length + (position + 0.5) * share)

    def add_start(self, now: float) -> None:
        """Record a request that starts where `next_start` allowed it."""
        self._starts.append(now)
        self._last_start = now
        self._last_slot = self._next_slot
