"""Singer messages on stdout."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

from singer_sdk.io_base import SingerWriter

from tap_captivateiq_audit.signals import STOP_SIGNALS, signals_deferred

if TYPE_CHECKING:
    from singer_sdk.singerlib.encoding.simple import Message


_GRACE = 3.0
"""Seconds that a run has to end by itself after a signal."""

_TICK = 0.5
"""Seconds between two looks for a signal that waits."""

stopping = threading.Event()
"""Set as soon as a signal is handled."""


class MessageWriter(SingerWriter):
    """The SDK's writer with signals deferred: their handler could write a STATE into a line."""

    def write_message(self, message: Message) -> None:
        """Write a message to stdout."""
        with signals_deferred():
            super().write_message(message)


def limit_time_to_end() -> None:
    """From now on, end the process with exit code 1 if a signal has not ended it after `_GRACE`.

    A deferred signal waits for a target that may read no more, and so does the last STATE.
    """
    if sys.platform != "win32":
        threading.Thread(target=_end_after_signal, daemon=True).start()


def _end_after_signal() -> NoReturn:
    # Blocked here, a signal is handled by the main thread, or seen as pending while that defers it.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    waited = 0.0
    while waited < _GRACE:
        time.sleep(_TICK)
        is_stopped = stopping.is_set() or bool(signal.sigpending() & STOP_SIGNALS)
        waited = waited + _TICK if is_stopped else 0.0
    os._exit(1)
