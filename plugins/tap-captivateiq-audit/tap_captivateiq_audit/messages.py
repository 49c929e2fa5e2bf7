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
    """The SDK's writer with signals deferred: their handler could write a STATE into a line."""

    def write_message(self, message: Message) -> None:
        """Write a message to stdout."""
        with signals_deferred():
            super().write_message(message)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Defer the signals that stop a run, such as until a record and its bookmark are written."""
    if sys.platform == "win32":  # which cannot defer signals
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
