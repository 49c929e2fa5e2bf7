"""How often the API may be asked."""

from __future__ import annotations

import logging
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND, HOUR = 1.0, 3600.0

_MARGIN = 0.05
_WORTH_TELLING = 10.0
_log = logging.getLogger("tap-captivateiq-audit")


class Pacer:
    """Holds requests to so many a second and so many an hour, in whatever second and hour.

    CaptivateIQ's Standard plan allows 5 and 1,500, Enterprise 15 and 6,000 (vendor's FAQ).
    """

    def __init__(
        self,
        per_second: int,
        per_hour: int,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Begin with nothing asked."""
        self._limits = ((per_second, SECOND), (per_hour, HOUR))
        self._monotonic = monotonic
        self._sleep = sleep
        self._asked: deque[float] = deque(maxlen=max(per_second, per_hour))
        self.requests = 0

    def wait(self) -> None:
        """Wait until a request may be sent, and take note that it is."""
        for limit, seconds in self._limits:
            if len(self._asked) >= limit:
                self._wait_until(self._asked[-limit] + seconds + _MARGIN, limit)
        self._asked.append(self._monotonic())
        self.requests += 1

    def _wait_until(self, due: float, limit: int) -> None:
        wait = due - self._monotonic()
        if wait > _WORTH_TELLING:
            until = datetime.now(UTC) + timedelta(seconds=wait)
            told = "%s requests in an hour are used up: waiting until %s UTC"
            _log.warning(told, f"{limit:,}", f"{until:%H:%M:%S}")
        if wait > 0:
            self._sleep(wait)
