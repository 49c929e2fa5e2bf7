"""Lines of Singer messages: from stdin or a file, to stdout."""

from __future__ import annotations

import json
import os
import re
import select
import sys
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from signal import Signals
from typing import IO, TYPE_CHECKING, Any, NoReturn

import msgspec
from singer_sdk.singerlib import Message
from singer_sdk.singerlib.encoding import GenericSingerReader, GenericSingerWriter
from singer_sdk.singerlib.exceptions import InvalidInputLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mapper_sentry_ocsf.signals import Stop

_CHUNK = 1 << 18
"""How many bytes are read or written at once, at most."""

_MAX_DIGITS = 4000
_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"(\s*:)?|[\[\]{}]', re.DOTALL)

Given = dict[str, Any]
"""A message as a dictionary with its `line`; `record` is `Raw` unless only Python can read it."""


TOO_DEEP = object()
"""Stands for a record that nothing can decode."""


class OutputError(Exception):
    """The output cannot be written."""


class StoppedError(Exception):
    """A signal stopped the run before its input ended."""

    def __init__(self, signum: int) -> None:
        """Keep the signal."""
        super().__init__(
            f"Stopped by {Signals(signum).name} before the input ended: everything that arrived "
            "was passed on."
        )
        self.signum = signum


@dataclass(slots=True)
class Line(Message):
    """A message as it is written: JSON and a line feed."""

    text: bytes


class _Head(msgspec.Struct):
    """What decides where a message goes; its members are decoded only where they are needed."""

    type: str
    stream: Any = None
    record: msgspec.Raw = msgspec.Raw(b"null")
    time_extracted: Any = None
    version: Any = None


_decode_head = msgspec.json.Decoder(_Head).decode


class MessageWriter(GenericSingerWriter[bytes, Line]):
    """Collects lines, and writes them before any wait, so that no STATE is late."""

    def __init__(self) -> None:
        """Start with nothing to write."""
        super().__init__()
        self._waiting: list[bytes] = []
        self._size = 0

    def serialize_message(self, message: Line) -> bytes:
        """Return the line."""
        return message.text

    def write_message(self, message: Line) -> None:
        """Write a message with the next `flush` at the latest."""
        self.write(message.text)

    def write(self, line: bytes) -> None:
        """Write a line with the next `flush` at the latest."""
        self._waiting.append(line)
        self._size += len(line)
        if self._size >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write all lines to stdout.

        Raises:
            OutputError: Nobody reads it, or the disk is full.

        """
        text = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        self._size = 0
        descriptor = sys.stdout.fileno()
        try:
            while text:
                try:
                    text = text[os.write(descriptor, text) :]
                except BlockingIOError:  # whoever made the pipe made it so
                    select.select([], [descriptor], [])
        except OSError as error:
            message = (
                f"The output cannot be written ({os.strerror(error.errno or 0)}): if a program "
                "reads it, find out why it ended"
            )
            raise OutputError(message) from None


class MessageReader(GenericSingerReader[bytes]):
    """Reads lines; those of no interest are passed on unchanged."""

    def __init__(self, writer: MessageWriter, stop: Stop) -> None:
        """Make a reader, which stops waiting for input when the run ends."""
        super().__init__()
        self.line_number = 0
        self._writer = writer
        self._stop = stop

    @property
    def default_input(self) -> IO[bytes]:
        """The input if no file is given."""
        if sys.stdin is None:
            message = "stdin is closed: connect it to a tap or a file"
            raise InvalidInputLine(message)
        return sys.stdin.buffer

    def process_lines(
        self, file_input: IO[bytes] | None, callbacks: dict[str, Callable[[Given], None]]
    ) -> Counter[str]:
        """Read all lines. What came before an error is still written.

        Raises:
            StoppedError: A signal arrived, and the input did not end within a few seconds.

        """
        counts: dict[str, int] = {}
        try:
            for line in self._lines(file_input or self.default_input):
                if not self.line_number:
                    self._stop.watch()
                self.line_number += 1
                message = self.deserialize_json(line)
                kind = message["type"]
                callbacks.get(kind, self._pass_on)(message)
                counts[kind] = counts.get(kind, 0) + 1
        finally:
            self._writer.flush()
        return Counter(counts)

    def deserialize_json(self, line: bytes) -> Given:
        """Return the message in a line; its record is `Raw`, or an object if only Python reads it.

        Raises:
            InvalidInputLine: It is not a JSON message; the error does not quote the line.

        """
        try:
            head = _decode_head(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {**self._decode_leniently(line), "line": line}
        return {**msgspec.structs.asdict(head), "line": line}

    def refuse(self, problem: str) -> NoReturn:
        """Raise InvalidInputLine for the current line, without quoting it."""
        message = f"Line {self.line_number:,} of the input {problem}."
        raise InvalidInputLine(message) from None

    def _pass_on(self, message: Given) -> None:
        self._writer.write(message["line"])

    def _lines(self, file: IO[bytes]) -> Iterator[bytes]:
        """Yield lines as they arrive; write everything out before each wait."""
        descriptor = file.fileno()
        rest: list[bytes] = []
        while chunk := self._read(descriptor):
            head, *tail = chunk.split(b"\n")
            rest.append(head)
            if tail:
                yield b"".join(rest) + b"\n"
                *whole, last = tail
                for line in whole:
                    yield line + b"\n"
                rest = [last]
        if last := b"".join(rest):
            yield last

    def _read(self, descriptor: int) -> bytes:
        if sys.platform != "win32":  # there, only sockets can be polled
            self._wait(descriptor)
        return os.read(descriptor, _CHUNK)

    def _wait(self, descriptor: int) -> None:
        """Wait until there is something to read; after a signal, for a few seconds at most."""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if self._stop.remaining != 0.0 and poll.poll(0):
            return
        self._writer.flush()
        while (remaining := self._stop.remaining) is None:
            poll.register(self._stop.descriptor, select.POLLIN)
            if any(ready == descriptor for ready, _ in poll.poll()):
                return
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not remaining or not poll.poll(remaining * 1000):
            raise StoppedError(self._stop.signum or 0)

    def _decode_leniently(self, line: bytes) -> Given:
        """Decode what only Python can: lone surrogates, and NaN and infinities, which become text.

        A message that is nested too deeply even for Python keeps its type and its stream.
        """
        try:
            message = json.loads(
                line.decode("utf-8", "surrogatepass"),
                parse_float=_decimal,
                parse_int=_integer,
                parse_constant=str,
            )
        except RecursionError:
            message = {**_texts_of(line), "record": TOO_DEEP}
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self.refuse("is not a JSON message")
        if not isinstance(message.get("type"), str):
            self.refuse("has no type: Singer messages have one")
        return message


def _decimal(digits: str) -> Decimal | str:
    """Parse a number; one that does not fit into a Decimal stays text."""
    try:
        return Decimal(digits)
    except ArithmeticError:
        return digits


def _integer(digits: str) -> int | Decimal:
    """Parse an integer of any length; Python's own parser has a limit."""
    return int(digits) if len(digits) < _MAX_DIGITS else Decimal(digits)


def _texts_of(line: bytes) -> Given:
    """Return the members of an object that are strings, however deep the others are nested."""
    found: Given = {}
    depth, name = 0, ""
    for token in _TOKEN.finditer(line):
        text, colon = token.groups()
        if text is None:
            depth += 1 if token[0] in b"[{" else -1
        elif depth == 1:
            plain = text.decode("utf-8", "replace")
            if colon:
                name = plain
            else:
                found[name] = plain
    return found
