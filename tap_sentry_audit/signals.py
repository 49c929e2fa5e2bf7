"""What SIGINT and SIGTERM do before there is a state to keep, and after the run is over.

Between the two, the tap stops with a last STATE (`tap.TapSentryAudit`). Only the standard library
is imported here: what comes later takes a second to import, and a signal may come meanwhile.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_STDERR = 2


def stop_at_once(signum: int, frame: FrameType | None) -> NoReturn:
    """End the process with one line on stderr, nothing on stdout, and exit code 128 + `signum`."""
    del frame
    name = signal.Signals(signum).name
    line = f"tap-sentry-audit was stopped by {name}: no state was written\n"
    with suppress(OSError):
        os.write(_STDERR, line.encode())
    # An exception could surface anywhere, as a traceback: in an import, in a destructor.
    os._exit(128 + signum)


def stop_at_once_from_now_on() -> None:
    """Let a signal end the process at once, until the SDK installs the tap's own handler."""
    _handle_with(stop_at_once)


def ignore_from_now_on() -> None:
    """Let no signal change how a run ends that is over."""
    _handle_with(signal.SIG_IGN)


def _handle_with(handler: Callable[[int, FrameType | None], NoReturn] | signal.Handlers) -> None:
    # Python lets no other thread do it, and a thread is not how the command runs.
    if threading.current_thread() is threading.main_thread():
        for each in STOP_SIGNALS:
            signal.signal(each, handler)
