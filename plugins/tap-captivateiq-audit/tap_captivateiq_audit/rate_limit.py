"""When a request to the API may start."""

from __future__ import annotations

import logging
from collections import deque
from datetime import UTC, datetime, timedelta

from tap_captivateiq_audit.clock import Clock
from tap_captivateiq_audit.config import NAME

_SECOND, _HOUR = 1.0, 3600.0
_MARGIN = 0.05
_LOGGED_WAIT = 10.0
_log = logging.getLogger(NAME)


class RateLimiter:
    """Limits the requests in any second, and in any hour.

    CaptivateIQ's Standard plan allows 5 and 1,500, Enterprise 15 and 6,000 (vendor's FAQ).
    """

    def __init__(self, per_second: int, per_hour: int, clock: Clock | None = None) -> None:
        """Start with no requests."""
        self._limits = ((per_second, _SECOND), (per_hour, _HOUR))
        self._clock = clock or Clock()
        self._started: deque[float] = deque(maxlen=max(per_second, per_hour))
        self.requests = 0

    def wait(self) -> None:
        """Wait until a request may start, and count it."""
        for limit, seconds in self._limits:
            if len(self._started) < limit:
                continue
            wait = self._started[-limit] + seconds + _MARGIN - self._clock.monotonic()
            if wait > _LOGGED_WAIT:
                until = datetime.now(UTC) + timedelta(seconds=wait)
                message = "%s requests in an hour are used up: waiting until %s UTC"
                _log.warning(message, f"{limit:,}", f"{until:%H:%M:%S}")
            if wait > 0:
                self._clock.sleep(wait)
        self._started.append(self._clock.monotonic())
        self.requests += 1
