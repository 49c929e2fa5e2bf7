"""The line that sums up what a run did for a stream."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from tap_sentry_audit.api.rate_limit import RateLimiter

_SECONDS_IN_WORDS = 120
_MINUTES_IN_WORDS = 120


@dataclass(slots=True)
class Summary:
    """What a run did for an organization, or for several.

    `known` counts the records that were read again and left out, `late` the new ones from before
    the bookmark. Of the `new` ones, `filtered` were left out by stream maps, and `unwritten` could
    not be written. `newest` is the time of the newest record that was ever sent. `organizations`
    counts those that were read to their end. `seconds` is how long it took, and `waited` for how
    much of it the rate limit let no request start.
    """

    new: int = 0
    late: int = 0
    known: int = 0
    filtered: int = 0
    unwritten: int = 0
    null_rows: int = 0
    newest: datetime | None = None
    organizations: int = 0
    requests: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def add(self, other: Summary) -> None:
        """Add what was counted for an organization."""
        self.new += other.new
        self.late += other.late
        self.known += other.known
        self.filtered += other.filtered
        self.unwritten += other.unwritten
        self.null_rows += other.null_rows
        self.organizations += other.organizations
        times = [time for time in (self.newest, other.newest) if time]
        self.newest = max(times, default=None)

    def describe(self, one: str, many: str, of: int = 1, *, in_full: bool = False) -> str:
        """Return the summary as a line, such as "3 new entries in 26 s, up to 2026-11-21 …".

        `one` and `many` name the records; `of` is how many organizations there are. What there is
        none of is left out, and so are the requests unless all is wanted `in_full`.
        """
        sent = self.new - self.filtered - self.unwritten
        text = counted(sent, one, many) if sent else f"no {many}"
        if of > 1:
            done = "" if self.organizations == of else f"{self.organizations:,} of "
            text += f" from {done}{of:,} organizations"
        text += f" in {duration(self.seconds)}"
        if self.newest:
            text += f", up to {self.newest:%Y-%m-%d %H:%M:%S} UTC"
        rest = {
            "late": self.late,
            "known left out": self.known,
            "left out by stream maps": self.filtered,
            "that could not be written": self.unwritten,
            "that Sentry could not show": self.null_rows,
        }
        parts = [f"{count:,} {what}" for what, count in rest.items() if count or in_full]
        if in_full:
            parts.append(counted(self.requests, "request", "requests"))
        if in_full or round(self.waited):
            parts.append(f"{duration(self.waited)} waited for the rate limit")
        return ", ".join([text, *parts])


class Meter:
    """Measures what a part of a run takes."""

    def __init__(self, limiter: RateLimiter) -> None:
        """Start."""
        self._limiter = limiter
        self._began = time.monotonic()
        self._requests = limiter.requests
        self._waited = limiter.waited

    def measure(self, summary: Summary) -> None:
        """Write down what it has taken so far; a number of requests that is known stays."""
        summary.seconds = time.monotonic() - self._began
        summary.requests = summary.requests or self._limiter.requests - self._requests
        summary.waited = self._limiter.waited - self._waited


def counted(count: int, one: str, many: str) -> str:
    """Return a number with its noun."""
    return f"{count:,} {one if count == 1 else many}"


def duration(seconds: float) -> str:
    """Return a duration as a person would say it: 0.4 s, 26 s, 36 min, 3 h 20 min."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _SECONDS_IN_WORDS:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < _MINUTES_IN_WORDS:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
