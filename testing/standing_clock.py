"""A clock for tests, on which a wait is over at once."""

from __future__ import annotations


class StandingClock:
    """Stands still but for waits, and for the seconds that each look at it takes."""

    def __init__(self, seconds_a_look: float = 0.0) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self._seconds_a_look = seconds_a_look

    def monotonic(self) -> float:
        self.now += self._seconds_a_look
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
