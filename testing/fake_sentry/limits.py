"""Sentry's limiter: so many requests in each second, so many at once."""

from dataclasses import dataclass, field
from threading import Lock

from .answers import Answer

NO_LIMIT = 999


@dataclass(frozen=True, slots=True)
class Limits:
    rate: int | None
    at_once: int | None


@dataclass
class Limiter:
    _lock: Lock = field(default_factory=Lock)
    _window: int = 0
    _used: int = 0
    _running: int = 0

    def enter(self, limits: Limits, now: float) -> tuple[Answer | None, dict[str, str]]:
        """Count a request in; give a refusal, if need be, and the headers for both.

        A request that was not refused has to leave again.
        """
        with self._lock:
            if limits.rate is None and limits.at_once is None:
                self._running += 1
                return None, {}
            # Windows begin at whole seconds, not at a first request.
            window = int(now)
            if window != self._window:
                self._window, self._used = window, 0
            rate = NO_LIMIT if limits.rate is None else limits.rate
            at_once = NO_LIMIT if limits.at_once is None else limits.at_once
            refusal = None
            if self._running >= at_once:
                refusal = _refusal(f"{at_once} requests at once")
            elif self._used >= rate:
                refusal = _refusal(f"{rate} requests in 1 seconds")
            else:
                self._used += 1
                self._running += 1
            values = {
                "Remaining": max(rate - self._used, 0),
                "Limit": rate,
                "Reset": window + 1,
                "ConcurrentRemaining": None if refusal else at_once - self._running,
                "ConcurrentLimit": at_once,
            }
        return refusal, {f"X-Sentry-Rate-Limit-{k}": str(v) for k, v in values.items()}

    def leave(self) -> None:
        with self._lock:
            self._running -= 1


def _refusal(limit: str) -> Answer:
    text = f"You are attempting to use this endpoint too frequently. Limit is {limit}"
    # A bare JSON string under the name of HTML is what Sentry sends.
    content_type = {"Content-Type": "text/html; charset=utf-8"}
    return Answer(429, f'"{text}"'.encode(), content_type)
