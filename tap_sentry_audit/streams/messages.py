"""Singer messages on stdout."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.singerlib import RecordMessage, StateMessage

from tap_sentry_audit.signals import STOP_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from singer_sdk.singerlib.encoding.simple import Message


class UnwritableRecordError(ValueError):
    """JSON cannot hold a record: it is nested too deeply, or a stream map made something odd."""


class MessageWriter(MsgSpecWriter):
    """The SDK's msgspec writer, without a system call for every record.

    Records are written when the buffer is full, or with the next message of another type: a STATE
    never overtakes the records that it covers.
    """

    ends_with_state = False
    """Whether the last message was a STATE."""

    def write_message(self, message: Message) -> None:
        """Write a message to stdout.

        Raises:
            UnwritableRecordError: It is a record that cannot be written; nothing was.

        """
        if isinstance(message, RecordMessage):
            try:
                line = self.format_message(message)
            except (ArithmeticError, RecursionError, TypeError, ValueError) as error:
                raise UnwritableRecordError from error
            # `SentryStream.get_records` holds signals meanwhile.
            sys.stdout.buffer.write(line)
            self.ends_with_state = False
            return
        with _signals_blocked():
            sys.stdout.buffer.write(self.format_message(message))
            sys.stdout.flush()
            self.ends_with_state = isinstance(message, StateMessage)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals while a message is written: their handler would write a STATE into it."""
    if sys.platform == "win32":  # which cannot block signals
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
