"""Lines of Singer messages: from stdin, or a file, and to stdout."""

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
"""Bytes that are read or written at once, unless there are fewer."""

_MAX_DIGITS = 4000
_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"(\s*:)?|[\[\]{}]', re.DOTALL)

Given = dict[str, Any]
"""A message as a dictionary, with its `line`; `record` is `Raw`, unless only Python can read it."""


TOO_DEEP = object()
"""Stands for a record that nothing can read."""


class OutputError(Exception):
    """Nobody reads the output any more."""


class StoppedError(Exception):
    """A signal stopped the run before its input ended."""

    def __init__(self, signum: int) -> None:
        """Keep the signal."""
        super().__init__(
            f"Stopped by {Signals(signum).name} before the input ended: all of it that came was "
            "passed on."
        )
        self.signum = signum


@dataclass(slots=True)
class Line(Message):
    """A message as it is written: JSON, and a line feed."""

    text: bytes


class _Head(msgspec.Struct):
    """What decides where a message goes. Its members are read only where they are needed."""

    type: str
    stream: Any = None
    record: msgspec.Raw = msgspec.Raw(b"null")
    time_extracted: Any = None
    version: Any = None


_decode_head = msgspec.json.Decoder(_Head).decode


class MessageWriter(GenericSingerWriter[bytes, Line]):
    """Collects lines, and writes them before anything is waited for, and before a STATE is late."""

    def __init__(self) -> None:
        """Begin with nothing to write."""
        super().__init__()
        self._waiting: list[bytes] = []
        self._size = 0

    def serialize_message(self, message: Line) -> bytes:
        """Return the line."""
        return message.text

    def write_message(self, message: Line) -> None:
        """Write a message, at the latest with the next `flush`."""
        self.write(message.text)

    def write(self, line: bytes) -> None:
        """Write a line, at the latest with the next `flush`."""
        self._waiting.append(line)
        self._size += len(line)
        if self._size >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write all lines to stdout.

        Raises:
            OutputError: Nobody reads it, or its disk is full.

        """
        text = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        self._size = 0
        descriptor = sys.stdout.fileno()
        try:
            while text:
                try:
                    text = text[os.write(descriptor, text) :]
                except BlockingIOError:  # whoever made the pipe has set it so
                    select.select([], [descriptor], [])
        except OSError as error:
            message = (
                f"The output cannot be written ({os.strerror(error.errno or 0)}): if a program "
                "reads it, see why that ended"
            )
            raise OutputError(message) from None


class MessageReader(GenericSingerReader[bytes]):
    """Reads lines; those of no interest are passed on as they are."""

    def __init__(self, writer: MessageWriter, stop: Stop) -> None:
        """Make a reader, whose waiting for input ends with the run."""
        super().__init__()
        self.line_number = 0
        self._writer = writer
        self._stop = stop

    @property
    def default_input(self) -> IO[bytes]:
        """The input if no file is given."""
        if sys.stdin is None:
            message = "There is no input: stdin is closed"
            raise InvalidInputLine(message)
        return sys.stdin.buffer

    def process_lines(
        self, file_input: IO[bytes] | None, callbacks: dict[str, Callable[[Given], None]]
    ) -> Counter[str]:
        """Read all lines. What came before an error is written all the same.

        Raises:
            StoppedError: A signal came, and the input did not end within some seconds.

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
            InvalidInputLine: It is no message in JSON; the line is not quoted.

        """
        try:
            head = _decode_head(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {**self._decode_leniently(line), "line": line}
        return {**msgspec.structs.asdict(head), "line": line}

    def refuse(self, problem: str) -> NoReturn:
        """Raise InvalidInputLine for the present line, which is not quoted."""
        message = f"Line {self.line_number:,} of the input {problem}."
        raise InvalidInputLine(message) from None

    def _pass_on(self, message: Given) -> None:
        self._writer.write(message["line"])

    def _lines(self, file: IO[bytes]) -> Iterator[bytes]:
        """Yield lines as they come, and let nothing wait for being written meanwhile."""
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
        if sys.platform != "win32":  # where only sockets can be polled
            self._wait(descriptor)
        return os.read(descriptor, _CHUNK)

    def _wait(self, descriptor: int) -> None:
        """Wait until there is something to read; after a signal, for some seconds at most."""
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
        """Decode what only Python does: lone surrogates, and NaN and infinities, which become text.

        A message that is too deep for it too keeps its type and its stream.
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
            self.refuse("is no message in JSON")
        if not isinstance(message.get("type"), str):
            self.refuse("has no type that Singer knows")
        return message


def _decimal(digits: str) -> Decimal | str:
    """Parse a number; one that no Decimal can hold stays text."""
    try:
        return Decimal(digits)
    except ArithmeticError:
        return digits


def _integer(digits: str) -> int | Decimal:
    """Parse an integer of any length; Python's own have a limit."""
    return int(digits) if len(digits) < _MAX_DIGITS else Decimal(digits)


def _texts_of(line: bytes) -> Given:
    """Return the members of an object that are texts, however deep the others are."""
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
