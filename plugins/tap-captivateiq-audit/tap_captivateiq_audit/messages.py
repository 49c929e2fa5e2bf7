"""Singer messages on stdout."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from singer_sdk.io_base import SingerWriter

if TYPE_CHECKING:
    from singer_sdk.singerlib.encoding.simple import Message


class MessageWriter(SingerWriter):
    """The SDK's writer, which no signal breaks off: its handler would write a STATE into a line."""

    def write_message(self, message: Message) -> None:
        """Write a message to stdout."""
        if sys.platform == "win32":  # which has no signals to put off
            super().write_message(message)
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            super().write_message(message)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
