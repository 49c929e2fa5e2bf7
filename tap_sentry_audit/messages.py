"""Singer messages on stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.singerlib import RecordMessage

if TYPE_CHECKING:
    from singer_sdk.singerlib.encoding.simple import Message


class MessageWriter(MsgSpecWriter):
    """The SDK's msgspec writer, without a system call for every record.

    Records leave with the buffer that they fill, or with the next other message: a STATE never
    leaves before the records that it stands for.
    """

    def write_message(self, message: Message) -> None:
        """Write a message to stdout."""
        sys.stdout.buffer.write(self.format_message(message))
        if not isinstance(message, RecordMessage):
            sys.stdout.flush()
