"""What time it is, and how to wait: given to a delivery, so that nothing has to wait in a test."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Clock:
    """The clock of the machine, unless a test has another.

    `monotonic` and `sleep` are in seconds, `time_ns` is in nanoseconds since 1970.
    """

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    time_ns: Callable[[], int] = time.time_ns
