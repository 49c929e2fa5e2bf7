"""Stops a run by a signal: where the run only waits, and nowhere else.

A signal can come between any two steps. A request from its handler, or an exception there, could
meet a lock that nobody will release, or half a line on stdout.
"""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def handle_signals(handler: signal.Handlers) -> None:
    """Set the handler of the signals that stop a program."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, handler)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Defer the signals that stop a run; with PYTHONUNBUFFERED they could truncate a line."""
    if sys.platform == "win32":  # which cannot defer signals
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StoppedError(Exception):
    """A signal stopped the run while it only waited."""


class Stop:
    """Whether a signal stops the run. The body of `with` is waiting, and can be interrupted."""

    def __init__(self) -> None:
        """Start without a signal."""
        self.signum: int | None = None
        """The signal, if there was one."""
        self._waits = False

    def request(self, signum: int) -> None:
        """Ask the run to stop, with a StoppedError if it waits."""
        self.signum = signum
        if self._waits:
            raise StoppedError

    def __enter__(self) -> None:
        """Start to wait, unless the run was asked to stop before: that is a StoppedError."""
        self._waits = True
        if self.signum is not None:
            raise StoppedError

    def __exit__(self, *error: object) -> None:
        """End the wait."""
        self._waits = False
