"""What SIGINT and SIGTERM do: at once before there is a state to keep, and in time after that.

Once there is one, the tap stops with a last STATE (`streams.base.SentryTap`). This module imports
only the standard library: the rest takes a second to import, and a signal may come meanwhile.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

GRACE = 3.0
"""Seconds that a run has to end by itself after a signal."""

_STDERR = 2

_CLEAR_LINE = "\r\x1b[K"
"""What takes a bar off a terminal."""


def stop_at_once(signum: int, frame: FrameType | None) -> NoReturn:
    """End the process with one line on stderr, nothing on stdout, and exit code 128 + `signum`."""
    del frame
    end(signum, "no state was written", 128 + signum)


def end(signum: int, what: str, code: int) -> NoReturn:
    """End the process with one line on stderr, which says `what` was written."""
    _write_line(f"tap-sentry-audit was stopped by {signal.Signals(signum).name}: {what}")
    # An exception could surface anywhere, as a traceback: in an import, in a destructor.
    os._exit(code)


def handle_with(handler: Callable[[int, FrameType | None], NoReturn] | signal.Handlers) -> None:
    """Install a handler for the signals that stop a run; call it in the main thread."""
    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, handler)


def limit_time_to_end() -> None:
    """From now on, end the process with exit code 1 if a signal has not ended it after `GRACE`.

    A handler waits for the main thread, which a target that reads no more can hold up for ever.
    Call it in the main thread.
    """
    if sys.platform == "win32":  # where only a socket could be told of signals
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_end_after_signal, args=(reader,), daemon=True).start()


def _end_after_signal(reader: int) -> NoReturn:
    while (signum := os.read(reader, 1)[0]) not in STOP_SIGNALS:
        pass
    time.sleep(GRACE)
    end(signum, f"it could not write a last STATE within {GRACE:.0f} seconds", 1)


def _write_line(text: str) -> None:
    """Write a line to stderr, if it takes it: logging could wait there, or be interrupted in it."""
    with suppress(OSError):
        if sys.platform == "win32" or select.select([], [_STDERR], [], 0)[1]:
            start = _CLEAR_LINE if os.isatty(_STDERR) else ""
            os.write(_STDERR, f"{start}{text}\n".encode())


class _Held:
    """A context in which handlers are put off, such as until a written record has its bookmark."""

    def __init__(self) -> None:
        self._depth = 0
        self._put_off: Callable[[], None] | None = None

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *exc_info: object) -> None:
        self._depth -= 1
        if self._put_off is not None and not self._depth:
            handle, self._put_off = self._put_off, None
            handle()

    def put_off(self, handle: Callable[[], None]) -> bool:
        """Return whether handlers are put off; then `handle` is called later."""
        if self._depth:
            self._put_off = handle
        return bool(self._depth)


held = _Held()
"""Signals are the process's, and so is this. Contexts can be nested; only the main thread may."""
