"""What SIGINT and SIGTERM do before there is a state to keep.

Once there is one, the tap stops with a last STATE (`streams.base.SentryTap`). This module imports
only the standard library: the rest takes a second to import, and a signal may come meanwhile.
"""

from __future__ import annotations

import os
import signal
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


def handle_with(handler: Callable[[int, FrameType | None], NoReturn] | signal.Handlers) -> None:
    """Install a handler for the signals that stop a run; call it in the main thread."""
    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, handler)
