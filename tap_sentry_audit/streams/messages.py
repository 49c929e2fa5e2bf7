"""Singer messages on stdout."""

from __future__ import annotations

import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.singerlib import RecordMessage, StateMessage

from tap_sentry_audit import signals

if sys.platform == "linux":
    import fcntl
    import termios

if TYPE_CHECKING:
    from singer_sdk.helpers.types import TapState
    from singer_sdk.singerlib.encoding.simple import Message

FREE_STATE_BYTES = 8_000
"""Bytes of STATE messages that a run may write whatever the number of its records."""

STATE_BYTES_PER_RECORD = 60
"""Further bytes of STATE messages for each record; a RECORD takes about ten times as many."""

_GROWTH = 1.4
"""By how much the next STATE is expected to be longer: at most, an id comes with each record."""

_TICK = 1
"""Milliseconds between two looks at a pipe."""


class UnwritableRecordError(ValueError):
    """JSON cannot hold a record: it is nested too deeply, or a stream map made something odd."""


class MessageWriter(MsgSpecWriter):
    """The SDK's msgspec writer, without a system call for every record.

    Records are written when the buffer is full, or with the next message of another type: a STATE
    never overtakes the records that it covers.

    A STATE holds an id for each entry in the lookback. So that all of them together stay in
    proportion to the records, the longer they are, the fewer are written before the last one.
    """

    ends_with_state = False
    """Whether the last message was a STATE."""

    _first_state: bytes | None = None
    """Comes before the first record, or not at all: target-duckdb gives back the first STATE of a
    run without records, and that must be the last one (target-duckdb 0.8.0)."""

    _records = 0
    _state_bytes = 0
    _next_state = 0
    """The length that the next STATE can be expected to have."""

    @property
    def has_room_for_state(self) -> bool:
        """Whether a STATE would be in proportion to the records that were written."""
        return self._state_bytes + self._next_state <= self._most_state_bytes

    def write_message(self, message: Message) -> None:
        """Write a message to stdout, unless it is a STATE for which there is no room.

        Raises:
            UnwritableRecordError: It is a record that cannot be written; nothing was.

        """
        if isinstance(message, RecordMessage):
            try:
                line = self.format_message(message)
            except (ArithmeticError, RecursionError, TypeError, ValueError) as error:
                raise UnwritableRecordError from error
            if self._first_state:
                self._write_state(self._first_state)
            # `SentryStream.get_records` holds signals meanwhile.
            sys.stdout.buffer.write(line)
            self._records += 1
            self.ends_with_state = False
        elif isinstance(message, StateMessage):
            line = self.format_message(message)
            self._next_state = round(_GROWTH * len(line))
            if self._state_bytes + len(line) > self._most_state_bytes:
                return
            if self._records:
                self._write_state(line)
            else:
                self._first_state = bytes(line)  # the writer uses its buffer again
        else:
            with signals.held:
                sys.stdout.buffer.write(self.format_message(message))
                sys.stdout.flush()
                self.ends_with_state = False

    def write_last_state(self, state: TapState) -> None:
        """Write a STATE, however long it is."""
        self._write_state(self.format_message(StateMessage(value=state)))

    @property
    def _most_state_bytes(self) -> int:
        return FREE_STATE_BYTES + STATE_BYTES_PER_RECORD * self._records

    def _write_state(self, line: bytes | bytearray) -> None:
        with signals.held:
            sys.stdout.flush()
            _wait_for_room(len(line))
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
            self._state_bytes += len(line)
            self._first_state = None
            self.ends_with_state = True


def _wait_for_room(size: int) -> None:
    """Wait until stdout takes so many bytes at once, if it is a pipe: nothing may cut a STATE.

    So much a pipe takes in any case (`PIPE_BUF`); for more it is made longer if need be, and must
    be empty. Of a line that is longer than any pipe, this says at least that somebody reads.
    """
    if sys.platform != "linux" or size <= select.PIPE_BUF:
        return
    try:
        pipe = sys.stdout.fileno()
        capacity = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
    except OSError:  # it is not a pipe
        return
    if capacity < size:
        with suppress(OSError):  # it cannot be made so long
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)
    readers = select.poll()
    readers.register(pipe, 0)
    unread = bytearray(4)
    while not fcntl.ioctl(pipe, termios.FIONREAD, unread) and any(unread):
        if readers.poll(_TICK):  # nobody reads it any more
            return
