"""What time it is, and how to wait: given to the client, so that nothing has to wait in a test."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LONG_WAIT = 5.0
"""Seconds. A line of the log says what a longer wait is for, and when it ends."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The clock of the machine, unless a test has another.

    All are in seconds: `monotonic` from any moment on, `time` since 1970.
    """

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    time: Callable[[], float] = time.time


def time_of_day(seconds: float) -> str:
    """Return the time of day of a moment, in seconds since 1970, as people read it."""
    return f"{time.strftime('%H:%M:%S', time.gmtime(seconds))} UTC"
