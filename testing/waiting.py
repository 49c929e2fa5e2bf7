"""Waits in tests: until something is so, and no longer than half a minute."""

from __future__ import annotations

import fcntl
import sys
import termios
import time
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(is_so: Callable[[], object]) -> None:
    limit = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < limit
        time.sleep(0.005)


def wait_until_full(pipe: IO[str]) -> None:
    """Wait until the writer of a long line is blocked, because nobody reads the pipe.

    A pipe has 16 pages of 4 KiB, and what came before the line takes up at most one of them.
    """
    in_it = bytearray(4)

    def is_full() -> bool:
        fcntl.ioctl(pipe, termios.FIONREAD, in_it)
        return int.from_bytes(in_it, sys.byteorder) >= 15 << 12

    wait_until(is_full)
