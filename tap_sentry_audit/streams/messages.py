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

    from singer_sdk.helpers.types import TapState
    from singer_sdk.singerlib.encoding.simple import Message

FREE_STATE_BYTES = 8_000
"""Bytes of STATE messages that a run may write whatever the number of its records."""

STATE_BYTES_PER_RECORD = 60
"""Further bytes of STATE messages for each record; a RECORD takes about ten times as many."""

_GROWTH = 1.4
"""By how much the next STATE is expected to be longer: at most, an id comes with each record."""


class MessageWriter(MsgSpecWriter):
    """The SDK's msgspec writer, without a system call for every record.

    Records are written when the buffer is full, or with the next message of another type: a STATE
    never overtakes the records that it covers.

    A STATE holds an id for each entry in the lookback. So that all of them together stay in
    proportion to the records, the longer they are, the fewer are written before the last one.
    """

    ends_with_state = False
    """Whether the last message was a STATE."""

    _records = 0
    _state_bytes = 0
    _next_state = 0
    """The length that the next STATE can be expected to have."""

    @property
    def has_room_for_state(self) -> bool:
        """Whether a STATE would be in proportion to the records that were written."""
        return self._state_bytes + self._next_state <= self._most_state_bytes

    def write_message(self, message: Message) -> None:
        """Write a message to stdout, unless it is a STATE for which there is no room."""
        if isinstance(message, RecordMessage):
            # `SentryStream.get_records` holds signals meanwhile.
            sys.stdout.buffer.write(self.format_message(message))
            self._records += 1
            self.ends_with_state = False
            return
        line = self.format_message(message)
        if isinstance(message, StateMessage):
            self._next_state = round(_GROWTH * len(line))
            if self._state_bytes + len(line) > self._most_state_bytes:
                return
            self._write_state(line)
        else:
            self._write(line)
            self.ends_with_state = False

    def write_last_state(self, state: TapState) -> None:
        """Write a STATE, however long it is."""
        self._write_state(self.format_message(StateMessage(value=state)))

    @property
    def _most_state_bytes(self) -> int:
        return FREE_STATE_BYTES + STATE_BYTES_PER_RECORD * self._records

    def _write_state(self, line: bytes | bytearray) -> None:
        self._write(line)
        self._state_bytes += len(line)
        self.ends_with_state = True

    @staticmethod
    def _write(line: bytes | bytearray) -> None:
        with _signals_blocked():
            sys.stdout.buffer.write(line)
            sys.stdout.flush()


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
