"""When a request may start: Sentry's rate-limit headers, 429, and the number of requests at once.

Sentry counts requests per token in windows of whole seconds, aligned to its clock, and reports the
count in `X-Sentry-Rate-Limit-*` on every answer (sentry.io: 40 requests a second, 25 at once). A
self-hosted server without a limiter sends none of these; then only the settings apply.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import backoff
from requests.adapters import HTTPAdapter

from tap_sentry_audit.api.exceptions import SentryError, describe
from tap_sentry_audit.api.timestamps import parse_http_date

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping
    from typing import Any

    from requests import PreparedRequest, Response

LONGEST_WAIT = 300.0
"""Seconds that a server may ask us to wait at a time; a longer wait is an error."""

MAX_BODY = 256 << 20
"""Bytes of one answer. A hundred events of Sentry's largest size are less than half of it."""

_WHOLE = 1 << 20
"""Bytes to read at a time. In requests' pieces of 10 kB, a request takes a tenth longer."""

_MARGIN = 0.95
"""Part of the limit to use until it is known when the server's windows begin."""

_MADE_GOOD = 4
"""Turns that may be taken later than is even, where nobody was there to take them in time."""

_DOUBT = 0.0001
"""Seconds by which that is known worse after each answer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one answer's headers say; None where a header is missing or not a number.

    `reset` is the end of the window in seconds since 1970 by the server's clock, `date` its
    clock in whole seconds, `retry_after` the seconds that the server asks us to wait.
    """

    limit: int | None
    remaining: int | None
    reset: int | None
    concurrent_limit: int | None
    concurrent_remaining: int | None
    retry_after: float | None
    date: float | None


def parse_limits(headers: Mapping[str, str]) -> Limits:
    """Return the limits in an answer's headers."""

    def number(name: str) -> int | None:
        text = headers.get(f"X-Sentry-Rate-Limit-{name}", "")
        return int(text) if text.isascii() and text.isdigit() else None

    date = _epoch(headers.get("Date", ""))
    return Limits(
        limit=number("Limit"),
        remaining=number("Remaining"),
        reset=number("Reset"),
        concurrent_limit=number("ConcurrentLimit"),
        # ConcurrentRemaining can be the word None (Sentry 23.7.1).
        concurrent_remaining=number("ConcurrentRemaining"),
        retry_after=_retry_after(headers.get("Retry-After", ""), date),
        date=date,
    )


class RateLimitedAdapter(HTTPAdapter):
    """Sends a request when the rate limiter lets it start, and waits for its body."""

    def __init__(
        self,
        rate_limiter: RateLimiter,
        *,
        connections: int,
        timeout: int,
        max_body: int = MAX_BODY,
    ) -> None:
        """Keep so many connections open; refuse bodies of more than `max_body` bytes.

        `timeout` is how many seconds to wait for a connection, and for each part of an answer.
        """
        super().__init__(pool_maxsize=connections)
        self._rate_limiter = rate_limiter
        self._timeout = timeout
        self._max_body = max_body

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:  # noqa: ANN401  (requests' own)
        """Return the answer to a request, with its body.

        Raises:
            SentryError: The body is too large, or the server asks for a wait of more than
                `LONGEST_WAIT` seconds.
            requests.RequestException: As `HTTPAdapter.send` does.

        """
        with self._rate_limiter.turn() as began:
            response = super().send(
                request, *args, **options | {"stream": True, "timeout": self._timeout}
            )
            # requests has no public way to read a body otherwise than in pieces of 10 kB.
            response._content = self._read(response)  # noqa: SLF001
        limits = parse_limits(response.headers)
        wait = _asked_wait(response.status_code, limits)
        if wait > LONGEST_WAIT:
            message = f"{describe(response)} and asks to come back in {wait:.0f} seconds"
            raise SentryError(message)
        self._rate_limiter.observe(limits, response.status_code, began)
        return response

    def _read(self, response: Response) -> bytes:
        pieces, size = [], 0
        for piece in response.iter_content(_WHOLE):
            pieces.append(piece)
            size += len(piece)
            if size > self._max_body:
                response.close()
                message = (
                    f"{describe(response)} with more than {self._max_body >> 20} MiB: check host"
                )
                raise SentryError(message)
        return b"".join(pieces)


class RateLimiter:
    """Lets requests of any thread start when the server will take them.

    One pacer serves a whole run: limits count per token, whatever is asked.
    """

    def __init__(self, requests_per_second: int, max_concurrent_requests: int) -> None:
        """Start with ceilings that the server's headers can only lower.

        `requests` were made so far, `too_many` of them answered 429, and nobody was let start
        one for `waited` seconds.
        """
        self.requests = 0
        self.too_many = 0
        self.waited = 0.0
        self._ceiling = requests_per_second
        self._max_concurrent = max_concurrent_requests
        self._changed = threading.Condition()
        self._running = 0
        self._allowed = max_concurrent_requests
        self._window = 1.0
        self._count = requests_per_second
        self._last_start = -math.inf
        self._starts: deque[float] = deque()
        self._blocked_until = 0.0
        self._clock = _ServerClock()
        self._windows = _Windows()
        self._latency = 0.0
        self._waits = _exponential()

    @contextmanager
    def turn(self) -> Iterator[float]:
        """Wait for a turn to send one request, and hold it until the answer is there.

        Yields when it was, for `observe`, in seconds of `time.monotonic`.
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
                took = max(0.0, time.monotonic() - began)
                self._latency += (took - self._latency) / (4 if self._latency else 1)
                self._changed.notify()

    def width(self, seconds: float) -> int:
        """Return how many requests at once are of use, if an answer takes `seconds` to handle.

        As many as may start while one is answered, and one more, so that none is waited for.
        """
        with self._changed:
            started = self._latency / max(self._interval, seconds)
            return min(self._allowed, math.ceil(started) + (started > 1))

    def observe(self, limits: Limits, status: int, began: float) -> None:
        """Learn from an answer that has just come, to a request whose turn was at `began`."""
        with self._changed:
            while self._starts and self._starts[0] < began - 3 * self._window:
                self._starts.popleft()
            self._clock.learn(limits.date)
            self._slow_to(limits)
            if limits.reset is not None:
                self._windows.learn(began, limits.reset, self._window, self._count)
            if limits.concurrent_limit:
                self._allowed = min(self._max_concurrent, limits.concurrent_limit)
            if (
                limits.remaining == 0
                and limits.reset is not None
                and self._has_company(limits, began)
            ):
                self._block(self._clock.until(limits.reset))
            if status == HTTPStatus.TOO_MANY_REQUESTS:
                self._turned_away(limits)
            else:
                self._waits = _exponential()
                self._block(_asked_wait(status, limits))
            self._changed.notify_all()

    def _slow_to(self, limits: Limits) -> None:
        if limits.reset is not None and limits.date is not None:
            # No header tells a window's length, but none ends later than its length from now.
            ahead = limits.reset - limits.date
            self._window = max(self._window, min(ahead, LONGEST_WAIT))
        if limits.limit:
            self._count = max(1, min(limits.limit, int(self._ceiling * self._window)))

    @property
    def _interval(self) -> float:
        return self._window / self._count

    def _has_company(self, limits: Limits, began: float) -> bool:
        """Whether others use the limit too: more of it is gone than we can have taken.

        Alone, requests are spread so that the limit lasts for the window, and waiting for its
        end would only cost time: when it ends is known to a second at best.
        """
        since = began - self._window - self._interval / 2
        ours = sum(since <= start <= began for start in self._starts)
        return ours < 0.9 * (limits.limit or 0)

    def _turned_away(self, limits: Limits) -> None:
        self.too_many += 1
        if limits.remaining and self._allowed > 1:
            # Not the rate, so it was the number of requests at once.
            self._allowed -= 1
            self._max_concurrent = self._allowed
        if limits.retry_after is not None:
            self._block(limits.retry_after)
        elif limits.remaining == 0 and limits.reset is not None:
            self._block(self._clock.until(limits.reset))
        else:
            self._block(backoff.random_jitter(next(self._waits)))

    def _block(self, seconds: float) -> None:
        """Keep everybody from starting a request for so many seconds."""
        now = time.monotonic()
        until = max(self._blocked_until, now + min(seconds, LONGEST_WAIT))
        self.waited += until - max(self._blocked_until, now)
        self._blocked_until = until

    def _wait_for_start(self) -> float:
        while True:
            with self._changed:
                now = time.monotonic()
                gap = self._windows.gap(self._window, self._count)
                earliest = max(self._last_start + gap, self._blocked_until)
                start = self._windows.start(earliest, now, self._window, self._count, self._starts)
                if start <= now:
                    self.requests += 1
                    self._starts.append(now)
                    self._last_start = now
                    self._windows.took()
                    return now
            time.sleep(start - now)


class _Windows:
    """When the server's windows begin on our clock, found out from the answers.

    A request and the end of its window (`Reset`) bound the difference of the clocks; many
    together do so to the time between two requests. What is surely inside of one window is
    shared evenly, so that all that is allowed goes into each, and none into the wrong one.
    """

    def __init__(self) -> None:
        self._least = -math.inf
        self._most = math.inf
        self._slot = (-math.inf, 0)
        self._taken = (-math.inf, 0)

    def learn(self, began: float, reset: int, window: float, count: int) -> None:
        """Take in that a request which began at a time was counted in the window until `reset`."""
        # Clocks drift, and limits change: what was learned is trusted a little less each time,
        # but not so little that it is of no use any more.
        doubt = _DOUBT if self._most - self._least < min(window / count, window / 3) else 0.0
        self._least = max(self._least - doubt, began - reset)
        self._most = min(self._most + doubt, began - reset + window)
        if self._least > self._most:
            self._least, self._most = self._most, self._least

    def start(
        self, earliest: float, now: float, window: float, count: int, starts: Iterable[float]
    ) -> float:
        """Return when to start the next request, `count` of which go into a window.

        `starts` are when those before it did.
        """
        if not self._are_known(window, count):
            return max(earliest, now)
        share = (window - (self._most - self._least)) / count
        number, offset = divmod(max(earliest, now - share / 4) - self._most, window)
        position = math.ceil(offset / share - 0.5)
        if earliest <= now and position < count:
            # What threads were too late for is made good while the window surely lasts.
            position = max(0, position - _MADE_GOOD)
        if number == self._taken[0]:
            position = max(position, self._taken[1] + 1)
        else:
            # Before the windows were known, some may have started in this one.
            begin = self._least + number * window
            position = max(position, sum(start >= begin for start in starts))
        if position >= count:
            number, position = number + 1, 0
        self._slot = (number, position)
        return max(earliest, self._most + number * window + (position + 0.5) * share)

    def took(self) -> None:
        """Take in that the request has started."""
        self._taken = self._slot

    def gap(self, window: float, count: int) -> float:
        """Return the least seconds from one start to the next."""
        return 0.0 if self._are_known(window, count) else window / count / _MARGIN

    def _are_known(self, window: float, count: int) -> bool:
        return self._most - self._least <= min(1.5 * window / count, window / 2)


class _ServerClock:
    """How far the server's clock is ahead of `time.monotonic`, known better with each answer."""

    def __init__(self) -> None:
        self._least: float | None = None

    def learn(self, date: float | None) -> None:
        """Take in the `Date` header of an answer that has just come."""
        if date is not None:
            least = date - time.monotonic()
            self._least = least if self._least is None else max(self._least, least)

    def until(self, moment: float) -> float:
        """Return the seconds until the server's clock surely shows a moment."""
        if self._least is None:
            return max(0.0, moment - time.time())
        return max(0.0, moment - (time.monotonic() + self._least))


def _exponential() -> Generator[float, None, None]:
    waits = backoff.expo(factor=0.5, max_value=60)
    next(waits)  # the library's generators begin with a value that is not meant
    return waits


def _asked_wait(status: int, limits: Limits) -> float:
    """Return the seconds that a 429 or a 5xx asks everybody to wait (`Retry-After`)."""
    is_temporary = (
        status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    )
    return limits.retry_after or 0.0 if is_temporary else 0.0


def _retry_after(text: str, date: float | None) -> float | None:
    if text.strip().isascii() and text.strip().isdigit():
        return float(text)
    moment = _epoch(text)
    if moment is None:
        return None
    return max(0.0, moment - (date if date is not None else time.time()))


def _epoch(http_date: str) -> float | None:
    date = parse_http_date(http_date)
    return date.timestamp() if date else None
