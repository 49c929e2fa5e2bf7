"""What people see on stderr while an organization is read, and at its end."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from datetime import datetime
    from typing import Self

    from click._termui_impl import ProgressBar

LINE_SECONDS = 10.0
"""How often a log gets a line of progress; a terminal shows a bar."""

_STEPS = 1000

_SDK_LINES = {
    "Skipping deselected stream '%s'.",
    "Starting incremental sync of '%s' with bookmark value: %s",
}


def is_relevant(record: logging.LogRecord) -> bool:
    """Whether people should see a line of the log, as a filter of a logger.

    The SDK logs a line for each deselected stream, and one for each partition: with hundreds of
    projects they would bury everything else.
    """
    return record.msg not in _SDK_LINES


@dataclass(slots=True)
class Summary:
    """What a run did for one organization.

    `what` names the records. `known` counts those that were read again and left out, `late` the new
    ones from before the bookmark; `waited` is in seconds. Of the `new` ones, `filtered` were left
    out by stream maps, and `unwritten` could not be written.
    """

    new: int = 0
    late: int = 0
    known: int = 0
    filtered: int = 0
    unwritten: int = 0
    null_rows: int = 0
    requests: int = 0
    waited: float = 0.0
    first: datetime | None = None
    last: datetime | None = None
    what: str = "entries"

    def __str__(self) -> str:
        """Return one line."""
        if self.first and self.last:
            span = f"{self.first:%Y-%m-%d %H:%M:%S} to {self.last:%Y-%m-%d %H:%M:%S} UTC"
        else:
            span = "nothing in the range"
        parts = [
            f"{self.new - self.filtered - self.unwritten:,} new {self.what} ({self.late:,} late)",
            f"{self.known:,} known ones left out",
            f"{self.requests:,} requests",
            f"{self.waited:.1f} s waited for the rate limit",
            span,
        ]
        rest = {
            "left out by stream maps": self.filtered,
            "that could not be written": self.unwritten,
            "null rows": self.null_rows,
        }
        parts[2:2] = [f"{count:,} {what}" for what, count in rest.items() if count]
        return ", ".join(parts)


class Progress:
    """Shows how far a time range has been read."""

    def __init__(
        self,
        organization: str,
        logger: logging.Logger,
        what: str = "entries",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start; `what` names the records, `clock` counts seconds."""
        self._what = what
        self._clock = clock
        self._organization = organization
        self._logger = logger
        self._began = clock()
        self._line_due = self._began + LINE_SECONDS
        self._bar: ProgressBar[None] | None = None
        self._start: datetime | None = None

    def __enter__(self) -> Self:
        """Show a bar if stderr is a terminal."""
        if sys.stderr.isatty():
            self._bar = click.progressbar(
                length=_STEPS, label=self._organization, item_show_func=str, file=sys.stderr
            )
            self._bar.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.render_finish()

    def show(self, count: int, reached: datetime, end: datetime) -> None:
        """Show that `count` records up to a time were read; the range ends at `end`."""
        now = self._clock()
        self._start = self._start or reached
        if self._bar is None and now < self._line_due:
            return
        part = min(1.0, (reached - self._start) / max(end - self._start, end.resolution))
        seconds = now - self._began
        rate = count / max(seconds, 0.001)
        text = f"{reached:%Y-%m-%d %H:%M}, {count:,} {self._what}, {rate:,.0f} a second"
        if self._bar is not None:
            self._bar.update(round(part * _STEPS) - self._bar.pos, text)  # type: ignore[arg-type]
            return
        self._line_due = now + LINE_SECONDS
        left = seconds / part - seconds if part else 0.0
        self._logger.info(
            "%s: %.0f %%, at %s, about %.0f s left", self._organization, part * 100, text, left
        )
