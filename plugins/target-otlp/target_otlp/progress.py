"""What people see on stderr while records are sent, and at the end."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from target_otlp.config import NAME
from target_otlp.signals import signals_deferred

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE_SECONDS = 10.0
"""How often there is a line of progress."""

_log = logging.getLogger(NAME)


def records(count: int) -> str:
    """Return how many records, in words."""
    return "1 record" if count == 1 else f"{count:,} records"


def records_were(count: int) -> str:
    """Return how many records, as the subject of a sentence about what was done with them."""
    return f"{records(count)} {'was' if count == 1 else 'were'}"


def sentence(text: str) -> str:
    """Return a text with the full stop that it may lack."""
    return text if text.endswith((".", "?", "!", "…")) else f"{text}."


@dataclass(slots=True)
class Progress:
    """What a run has done until now; `receiver` is the name that is shown."""

    receiver: str
    accepted: int = 0
    rejected: int = 0
    retries: int = 0
    last_error: str = ""
    _began: float = field(default_factory=time.monotonic)

    def line(self, since: float | None = None, before: int = 0) -> str:
        """Return one line; its rate is that since a time, when `before` records were accepted.

        Without a time it is that of the whole run.
        """
        seconds = max(time.monotonic() - (since or self._began), 0.001)
        rate = (self.accepted - before) / seconds
        text = f"{records(self.accepted)} accepted by {self.receiver}, {rate:,.0f} a second"
        text += f", {self.rejected:,} rejected" if self.rejected else ""
        retries = "1 retry" if self.retries == 1 else f"{self.retries:,} retries"
        return f"{text}, {retries}" + (
            f"; the last error: {self.last_error}" if self.last_error else ""
        )

    @contextmanager
    def lines(self, seconds: float = LINE_SECONDS) -> Iterator[None]:
        """Log a line every ten seconds meanwhile, also while the run waits for an answer."""
        is_over = threading.Event()

        def log_lines() -> None:
            since, before = self._began, 0
            while not is_over.wait(seconds):
                _log.info(self.line(since, before))
                since, before = time.monotonic(), self.accepted

        thread = threading.Thread(target=log_lines, daemon=True)
        # A thread inherits what is deferred: signals must interrupt the main thread.
        with signals_deferred():
            thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
