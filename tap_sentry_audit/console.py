"""How the log looks on stderr: lines for a person on a terminal, the SDK's lines elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NARROWEST = 40
_USUAL_WIDTH = 80

_UNASKED = (
    "Config validation failed",  # what is wrong with it comes before, and is to be the last line
    "Parsing env var for settings config...",
    "Skipping parse of env var settings...",
    "Skipping deselected stream '%s'.",
    "Starting incremental sync of '%s' with bookmark value: %s",
)
"""Lines of the SDK about what is as usual, some of them for each stream or partition."""

_ROUTINE = ("Beginning sync of ", "METRIC")
"""The starts of lines of the SDK that are of no use to a person who waits for the end."""

_LEVELS = {logging.WARNING: "Warning: ", logging.ERROR: "Error: ", logging.CRITICAL: "Error: "}


def is_terminal() -> bool:
    """Whether a person sees stderr."""
    # Python sets it to None if it was closed from the start.
    return sys.stderr is not None and sys.stderr.isatty()


def width() -> int:
    """Return the columns of the terminal on stderr; stdout is most often a pipe."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (AttributeError, OSError, ValueError):
        columns = 0
    return max(columns, _NARROWEST) if columns else _USUAL_WIDTH


def ellipsis() -> str:
    """Return what replaces the rest of a text, in an encoding that stderr has."""
    try:
        "…".encode(sys.stderr.encoding or "ascii")
    except UnicodeEncodeError:
        return "..."
    return "…"


def wrap(text: str) -> str:
    """Return a text whose lines fit on the terminal, cut between words."""
    columns = width()
    return "\n".join(
        textwrap.fill(line, columns, break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    )


def set_up(*, is_for_test: bool = False) -> None:
    """Adapt the handlers that the SDK has just set up; a connection test shows its verdict alone.

    Whatever LOGLEVEL=DEBUG asks for is shown. A configuration of one's own
    (`SINGER_SDK_LOG_CONFIG`) keeps its handlers.
    """
    root = logging.getLogger()
    is_for_person = is_terminal()
    for handler in list(root.handlers):
        if (
            is_for_person
            and type(handler) is logging.StreamHandler
            and handler.stream is sys.stderr
        ):
            root.removeHandler(handler)
            handler = _TerminalHandler(sys.stderr)  # noqa: PLW2901
            handler.setFormatter(_TerminalFormatter())
            root.addHandler(handler)
        handler.filters = [_Filter(hides_routine=is_for_person or is_for_test)]


class _Filter(logging.Filter):
    """Leaves out what nobody asked for."""

    def __init__(self, *, hides_routine: bool) -> None:
        super().__init__()
        self._hidden = _ROUTINE if hides_routine else ()

    def filter(self, record: logging.LogRecord) -> bool:
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            return True
        message = str(record.msg)
        return message not in _UNASKED and not message.startswith(self._hidden)


class _TerminalFormatter(logging.Formatter):
    """Formats a message for a terminal: without time and logger, cut between words."""

    def format(self, record: logging.LogRecord) -> str:
        return wrap(_LEVELS.get(record.levelno, "") + super().format(record))


class _TerminalHandler(logging.StreamHandler):  # type: ignore[type-arg]  # no generic at run time
    """Writes above the bar, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        with _above_bar():
            super().emit(record)


@contextmanager
def _above_bar() -> Iterator[None]:
    tqdm = sys.modules.get("tqdm.std")  # imported once there is a bar
    if tqdm is None:
        yield
        return
    with tqdm.tqdm.external_write_mode(file=sys.stderr):
        yield
