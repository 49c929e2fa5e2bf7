"""What a person sees on stderr while an organization is read, and at its end."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import logging
    from datetime import datetime
    from types import TracebackType
    from typing import Self

    from click._termui_impl import ProgressBar

LINE_SECONDS = 10.0
"""A line comes so often in a log; on a terminal there is a bar."""

_STEPS = 1000


def is_told(record: logging.LogRecord) -> bool:
    """Whether a line of the log is for a person, as a filter of a logger.

    The SDK tells of each stream that is not selected, and of each partition where it begins:
    with hundreds of projects nothing else would be seen.
    """
    return record.msg not in _NOT_TOLD


_NOT_TOLD = {
    "Skipping deselected stream '%s'.",
    "Starting incremental sync of '%s' with bookmark value: %s",
}


@dataclass(slots=True)
class Summary:
    """What was done for one organization.

    `what` are the records, `known` those that were read again and left out, `late` those of the
    new ones that lie before the bookmark; `waited` is in seconds.
    """

    new: int = 0
    late: int = 0
    known: int = 0
    null_rows: int = 0
    requests: int = 0
    waited: float = 0.0
    first: datetime | None = None
    last: datetime | None = None
    what: str = "entries"

    def __str__(self) -> str:
        """Return it as a line."""
        parts = [
            f"{self.new:,} new {self.what} ({self.late:,} late)",
            f"{self.known:,} known ones left out",
            f"{self.requests:,} requests",
            f"{self.waited:.1f} s waited for the rate limit",
            _range(self.first, self.last),
        ]
        if self.null_rows:
            parts.insert(2, f"{self.null_rows:,} null rows")
        return ", ".join(parts)


def _range(first: datetime | None, last: datetime | None) -> str:
    if first is None or last is None:
        return "nothing in the range"
    return f"{first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC"


class Progress:
    """Shows how far along the time range the reading is.

    `end` is where the range ends, as far as that is known.
    """

    def __init__(self, organization: str, logger: logging.Logger, what: str = "entries") -> None:
        """Begin to show an organization."""
        self._what = what
        self._organization = organization
        self._logger = logger
        self._began = time.monotonic()
        self._line_due = self._began + LINE_SECONDS
        self._bar: ProgressBar[None] | None = None
        self._start: datetime | None = None

    def __enter__(self) -> Self:
        """Show a bar, if a person looks on."""
        if sys.stderr.isatty():
            self._bar = click.progressbar(
                length=_STEPS,
                label=self._organization,
                item_show_func=str,
                file=sys.stderr,
            )
            self._bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.__exit__(kind, error, traceback)

    def show(self, count: int, reached: datetime, end: datetime) -> None:
        """Show that so many entries were read, up to a time on the way to `end`."""
        now = time.monotonic()
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
