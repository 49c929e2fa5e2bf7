"""Singer messages from stdin, and states to stdout."""

from __future__ import annotations

import json
import logging
import os
import re
import select
import sys
import time
from contextlib import suppress
from decimal import Decimal
from threading import Thread
from typing import IO, TYPE_CHECKING, Any, cast

import msgspec
import simplejson
from singer_sdk.singerlib.encoding import GenericSingerReader
from singer_sdk.singerlib.exceptions import InvalidInputLine

from target_otlp.config import NAME
from target_otlp.receiver import DeliveryError
from target_otlp.signals import Stop, StoppedError, signals_deferred

if sys.platform == "linux":
    import fcntl
    import termios

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from target_otlp.delivery import State

Message = dict[str, Any]

_MEMBERS: dict[str, dict[str, type]] = {
    "SCHEMA": {"stream": str, "schema": dict},
    "RECORD": {"stream": str, "record": dict},
    "STATE": {"value": dict},
    "ACTIVATE_VERSION": {},
}
"""The members that a message must have."""

UNREADABLE = "UNREADABLE"
"""The type that a record's line gets here if it is too deep: with its `stream`, `line` and `what`.

No tap may write it.
"""

_DEEPEST = 500
"""Levels that are read: less than what any part of Python and of protobuf can take."""

_NO_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[^\[\]{}"]+', re.DOTALL)
_INNERMOST = re.compile(rb"\[\]|\{\}")
_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"(\s*:)?|[\[\]{}]', re.DOTALL)
_MAX_DIGITS = 4000

_DRAIN_SECONDS = 30.0
"""How long a target that has failed reads on at most."""

_MOMENT = 1.0

GRACE = 3.0
"""Seconds after a signal within which somebody must read from a full pipe at stdout."""

_TICK, _TICKS = 1, 100
"""Milliseconds between two looks at a pipe that must be empty, and at one that needs some room."""

_log = logging.getLogger(NAME)

_decode: Callable[[bytes], Message] = msgspec.json.Decoder(float_hook=Decimal).decode


class MessageReader(GenericSingerReader[bytes]):
    """Reads messages with every number in full, and reports an invalid one without quoting it."""

    def __init__(
        self,
        stop: Stop | None = None,
        at_first_line: Callable[[], None] = lambda: None,
        at_failure: Callable[[], None] = lambda: None,
        at_unreadable: Callable[[Message], None] = lambda _: None,
    ) -> None:
        """Make a reader, which calls functions at the first line and when a message fails.

        The last one is called with a record that is nested too deeply (`UNREADABLE`).
        """
        super().__init__()
        self._stop = stop or Stop()
        self._at_first_line = at_first_line
        self._at_failure = at_failure
        self._at_unreadable = at_unreadable
        self._lines = 0

    @property
    def default_input(self) -> IO[bytes]:
        """The input if no file is given."""
        return sys.stdin.buffer

    def process_lines(
        self, file_input: IO[bytes] | None, callbacks: dict[str, Callable[[Message], None]]
    ) -> Counter[str]:
        """Read all messages, or up to a signal; what the SDK opened as text is read as bytes."""
        lines = getattr(file_input, "buffer", file_input) or self.default_input
        callbacks = {**callbacks, UNREADABLE: self._at_unreadable}
        try:
            # The SDK only iterates over its lines.
            return super().process_lines(cast("IO[bytes]", self._read(lines)), callbacks)
        except Exception as error:
            self._at_failure()
            if isinstance(error, DeliveryError) and not file_input:
                self._drain(lines, str(error))
            raise

    def _read(self, lines: IO[bytes]) -> Iterator[bytes]:
        while True:
            try:
                with self._stop:
                    line = lines.readline()
            except StoppedError:
                return
            if not line:
                return
            if not self._lines:
                self._at_first_line()
            yield line

    def _drain(self, stdin: IO[bytes], why: str) -> None:
        """Read and drop the rest of stdin, until it ends, a signal comes, or for half a minute.

        A tap that cannot write would report that as an error of its own. `why` is logged if it
        takes longer than a moment.
        """
        try:
            descriptor = stdin.fileno()
        except OSError:  # it is in memory
            return
        if stdin.isatty():
            return

        def drop() -> None:
            with suppress(OSError):
                while os.read(descriptor, 1 << 16):
                    pass

        thread = Thread(target=drop, daemon=True)
        with signals_deferred():
            thread.start()
        with suppress(StoppedError), self._stop:
            thread.join(_MOMENT)
            if thread.is_alive():
                what = "%s Reading on for up to %.0f s so that the tap can finish"
                _log.warning(what, why, _DRAIN_SECONDS)
                thread.join(_DRAIN_SECONDS - _MOMENT)

    def deserialize_json(self, line: bytes) -> Message:
        """Return the message in a line, or raise InvalidInputLine if a target cannot use it."""
        self._lines += 1
        if _is_deep(line):
            return self._deep(line)
        message: Message | None
        try:
            message = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError):
            # Only Python decodes lone surrogates, and NaN and infinities, which become text.
            try:
                text = line.decode("utf-8-sig", "surrogatepass")
                message = json.loads(
                    text, parse_float=_decimal, parse_int=_integer, parse_constant=str
                )
            except (ValueError, RecursionError):
                message = None
        problem = _problem(message)
        if problem or message is None:
            error = f"Line {self._lines:,} of the input {problem}."
            raise InvalidInputLine(error)
        return message

    def _deep(self, line: bytes) -> Message:
        """Return the message for a record that is too deep; any other is an InvalidInputLine."""
        texts = _texts_of(line)
        kind, stream = texts.get("type"), texts.get("stream")
        named = f"a {kind} that is " if kind in _MEMBERS else ""
        what = f"of the input is {named}nested more than {_DEEPEST} levels deep"
        if kind != "RECORD" or stream is None:
            error = f"Line {self._lines:,} {what}."
            raise InvalidInputLine(error)
        text = line.decode("utf-8", "backslashreplace").strip()
        what = f"line {self._lines:,} {what}"
        return {"type": UNREADABLE, "stream": stream, "line": text, "what": what}


def _is_deep(line: bytes) -> bool:
    """Whether a line of JSON has too many levels; it is peeled from within."""
    if line.count(b"{") + line.count(b"[") <= _DEEPEST:  # most have a few
        return False
    brackets = _NO_BRACKETS.sub(b"", line)
    for _ in range(_DEEPEST):
        before = brackets
        brackets = _INNERMOST.sub(b"", brackets)
        if brackets == before:  # none are left, or it is not JSON
            return False
    return bool(brackets)


def _texts_of(line: bytes) -> dict[str, str]:
    """Return the members of an object that are texts, however deep the others are."""
    found = {}
    depth, name = 0, ""
    for token in _TOKEN.finditer(line):
        text, colon = token.groups()
        if text is None:
            depth += 1 if token[0] in b"[{" else -1
        elif depth == 1:
            plain = _text(text)
            if colon:
                name = plain
            else:
                found[name] = plain
    return found


def _text(quoted: bytes) -> str:
    """Return what stands in quotes, without JSON's escapes."""
    text = quoted.decode("utf-8", "replace")
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text


def _decimal(digits: str) -> Decimal | str:
    """Parse a number; one that no Decimal can hold stays text."""
    try:
        return Decimal(digits)
    except ArithmeticError:
        return digits


def _integer(digits: str) -> int | Decimal:
    """Parse an integer of any length; Python's own have a limit."""
    return int(digits) if len(digits) < _MAX_DIGITS else Decimal(digits)


def _problem(message: object) -> str | None:
    """Return what is wrong with a message, without quoting it."""
    if not isinstance(message, dict):
        return "is not a JSON message"
    kind = message.get("type")
    if kind == "BATCH":
        return (
            "is a BATCH, and only records can be sent: take batch_config out of the tap's settings"
        )
    if not isinstance(kind, str) or kind not in _MEMBERS:
        return "has no known type"
    for name, shape in _MEMBERS[kind].items():
        if not isinstance(message.get(name), shape):
            return f"is a {kind} without a usable {name}"
    return _problem_of_schema(message) if kind == "SCHEMA" else None


def _problem_of_schema(message: Message) -> str | None:
    if not isinstance(message["schema"].get("properties"), dict):
        return "is a SCHEMA whose schema has no properties"
    if not isinstance(message.get("key_properties", []), list | None):
        return "is a SCHEMA whose key_properties are not a list"
    return None


def write_state(state: State, stop: Stop | None = None) -> None:
    """Write a state to stdout, or raise DeliveryError if nobody reads it.

    That is known at once if stdout is closed, and some seconds after a signal if it is a full pipe.
    """
    line = f"{simplejson.dumps(state, use_decimal=True)}\n"
    try:
        for part in _parts(line):
            _wait_for_room(len(part), stop or Stop())
            with signals_deferred():
                sys.stdout.write(part)
                sys.stdout.flush()
    except (AttributeError, OSError) as error:
        # There is no stdout if it was closed from the start. Otherwise the rest of its buffer must
        # go somewhere, or Python reports it when it exits.
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        why = getattr(error, "strerror", None) or type(error).__name__
        message = f"The state cannot be written to stdout ({why})."
        raise DeliveryError(message) from None


def _parts(line: str) -> list[str]:
    """Return a line whole, or in parts if it is longer than the pipe at stdout can be made."""
    capacity = _capacity()
    if capacity is None or len(line) <= capacity:
        return [line]
    with suppress(OSError):
        fcntl.fcntl(sys.stdout.fileno(), fcntl.F_SETPIPE_SZ, len(line))
        return [line]
    size = select.PIPE_BUF
    return [line[begin : begin + size] for begin in range(0, len(line), size)]


def _capacity() -> int | None:
    """Return how many bytes the pipe at stdout holds, or None if that is not known."""
    if sys.platform != "linux":
        return None
    try:
        return fcntl.fcntl(sys.stdout.fileno(), fcntl.F_GETPIPE_SZ)
    except OSError:  # a file, or in memory
        return None


def _wait_for_room(size: int, stop: Stop) -> None:
    """Wait until the pipe at stdout, if it is one, takes so many bytes at once.

    So nothing can cut a line, and signals are heard meanwhile. After one there are some seconds
    left; then it is a DeliveryError.
    """
    if _capacity() is None:
        return
    pipe = sys.stdout.fileno()
    is_small = size <= select.PIPE_BUF  # what a pipe takes at once if it takes anything
    writers = select.poll()
    writers.register(pipe, select.POLLOUT if is_small else 0)
    unread = bytearray(4)
    end = None
    while is_small or (not fcntl.ioctl(pipe, termios.FIONREAD, unread) and any(unread)):
        if writers.poll(_TICK if not is_small else _TICKS):  # there is room, or no reader
            return
        if stop.signum is not None:
            end = end or time.monotonic() + GRACE
            if time.monotonic() > end:
                message = (
                    "The state cannot be written to stdout: nobody read it for "
                    f"{GRACE:.0f} s after the signal."
                )
                raise DeliveryError(message)
