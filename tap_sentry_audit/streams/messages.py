"""Singer messages on stdout."""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING

from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.singerlib import RecordMessage, StateMessage

from tap_sentry_audit import signals

if sys.platform == "linux":
    import fcntl
    import termios

if TYPE_CHECKING:
    from singer_sdk.singerlib.encoding.simple import Message


_TICK = 1
"""Milliseconds between two looks at a pipe."""


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
        line = self.format_message(message)
        is_state = isinstance(message, StateMessage)
        with signals.held:
            sys.stdout.flush()
            if is_state:
                _wait_for_room(len(line))
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
            self.ends_with_state = is_state


def _wait_for_room(size: int) -> None:
    """Wait until stdout takes so many bytes at once, if it is a pipe: nothing may cut a STATE.

    So much a pipe takes in any case (`PIPE_BUF`); for more it is made longer if need be, and must
    be empty. A line that is longer than any pipe is left to its fate.
    """
    if sys.platform != "linux" or size <= select.PIPE_BUF:
        return
    try:
        pipe = sys.stdout.fileno()
        capacity = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
        if capacity < size:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)
    except OSError:  # it is no pipe, or cannot be made so long
        return
    readers = select.poll()
    readers.register(pipe, 0)
    unread = bytearray(4)
    while not fcntl.ioctl(pipe, termios.FIONREAD, unread) and any(unread):
        if readers.poll(_TICK):  # nobody reads it any more
            return
