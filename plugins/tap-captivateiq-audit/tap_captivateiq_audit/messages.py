"""Singer messages on stdout."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from singer_sdk.io_base import SingerWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from singer_sdk.singerlib.encoding.simple import Message


class MessageWriter(SingerWriter):
    """The SDK's writer, which no signal breaks off: its handler would write a STATE into a line."""

    def write_message(self, message: Message) -> None:
        """Write a message to stdout."""
        with undisturbed():
            super().write_message(message)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put off signals to stop, for a message or for a record and its note in the state."""
    if sys.platform == "win32":  # which has no signals to put off
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
