"""Singer messages on stdout."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.singerlib import RecordMessage, StateMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from singer_sdk.singerlib.encoding.simple import Message


class MessageWriter(MsgSpecWriter):
    """The SDK's msgspec writer, without a system call for every record.

    Records leave with the buffer that they fill, or with the next other message: a STATE never
    leaves before the records that it stands for.
    """

    ends_with_state = False
    """Whether the last message was a STATE."""

    def write_message(self, message: Message) -> None:
        """Write a message to stdout."""
        if isinstance(message, RecordMessage):
            # The stream holds signals meanwhile.
            sys.stdout.buffer.write(self.format_message(message))
            self.ends_with_state = False
            return
        with _undisturbed():
            sys.stdout.buffer.write(self.format_message(message))
            sys.stdout.flush()
            self.ends_with_state = isinstance(message, StateMessage)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no signal break off what is being written: its handler would write a STATE into it."""
    if sys.platform == "win32":  # which has no signals to put off
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
