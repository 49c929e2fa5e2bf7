"""Ends a run that was asked to stop: soon, and at the end of a line.

Usually, a whole pipeline is stopped: the tap writes its last STATE and ends, and so does the
mapper once it has passed that on. It waits a few seconds for that at most.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

GRACE = 3.0
"""Seconds that the input has to end after a signal."""

_LAST_MOMENT = 1.0
"""Seconds to write what remains after that."""


def handle_signals(handler: Callable[[int, object], None] | signal.Handlers) -> None:
    """Set the handler for the signals that stop a program."""
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, handler)


class Stop:
    """Whether a signal stops the run, and when. A second signal ends the program at once."""

    def __init__(self, last_words: str) -> None:
        """Start without a signal. The last words go to stderr if nobody reads the output."""
        self.signum: int | None = None
        """The signal, if there was one."""
        self._last_words = last_words
        self._end = 0.0
        self._alarm, self._alarmed = os.pipe()
        os.set_blocking(self._alarmed, False)

    def watch(self) -> None:
        """Handle signals from here on."""
        if threading.current_thread() is threading.main_thread():
            # Otherwise a poll would continue after a signal: Python repeats it (PEP 475).
            signal.set_wakeup_fd(self._alarmed, warn_on_full_buffer=False)
        handle_signals(self._request)

    @property
    def descriptor(self) -> int:
        """A file descriptor that becomes readable when there is a signal."""
        return self._alarm

    @property
    def remaining(self) -> float | None:
        """Seconds until the end of the run, or None while nothing has asked for it."""
        return None if self.signum is None else max(0.0, self._end - time.monotonic())

    def _request(self, signum: int, _frame: object) -> None:
        handle_signals(signal.SIG_DFL)
        self._end = time.monotonic() + GRACE
        self.signum = signum
        # This runs only if the pipe is full and nobody reads it.
        timer = threading.Timer(GRACE + _LAST_MOMENT, self._quit, (signum,))
        timer.daemon = True
        timer.start()

    def _quit(self, signum: int) -> None:
        try:
            os.write(2, f"{self._last_words}\n".encode())
        finally:
            os._exit(128 + signum)
