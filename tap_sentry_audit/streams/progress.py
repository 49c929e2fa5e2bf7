"""What people see on stderr while a stream is read: a bar on a terminal, lines in a log."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from tap_sentry_audit import console
from tap_sentry_audit.streams.summary import counted, duration

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from datetime import datetime
    from typing import NoReturn

    from tqdm.std import tqdm

LINE_SECONDS = 10.0
"""How often a log gets a line."""

BAR_SECONDS = 0.1
"""How often the bar moves."""

_QUIET_SECONDS = 0.5
"""A run that is over by then shows no bar."""

_ESTIMATE_SECONDS = 5.0
"""Before that, the time left is anybody's guess."""

_RECENT_SECONDS = 10.0
_SURE = 2.0
"""The time left is shown if recent speed and overall speed give the same, up to this factor: where
most entries lie in a short time, it cannot be known."""

_SHORTEST_BAR = 10
_SHORTEST_LABEL = 12
_STEPS = 1000


class Progress:
    """Shows how far a stream has been read, for all organizations together."""

    def __init__(
        self,
        stream: str,
        nouns: tuple[str, str],
        organizations: int,
        logger: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start; `nouns` name one record and many, `clock` counts seconds."""
        self._stream = stream
        self._nouns = nouns
        self._organizations = organizations
        self._logger = logger
        self._clock = clock
        self._began = clock()
        # stdout on the same terminal would run into the bar.
        is_dumb = os.environ.get("TERM") == "dumb"
        self._has_bar = console.is_terminal() and not sys.stdout.isatty() and not is_dumb
        self._due = self._began + (_QUIET_SECONDS if self._has_bar else LINE_SECONDS)
        self._bar: tqdm[NoReturn] | None = None
        self._done = 0
        self._count = 0
        self._organization = ""
        self._recent = deque([(self._began, 0.0)])

    def begin(self, organization: str) -> None:
        """Start with an organization."""
        self._organization = organization

    def show(
        self,
        new: int,
        share: float | Callable[[], float] = 0.0,
        reached: datetime | None = None,
    ) -> None:
        """Show that `new` more records were read, up to a time if they come in its order.

        `share` is how much of the organization has been read, from 0 to 1, or returns it: what
        takes long to find out is asked only when it is shown.
        """
        self._count += new
        now = self._clock()
        if now >= self._due:
            self._due = now + (BAR_SECONDS if self._has_bar else LINE_SECONDS)
            part = share if isinstance(share, float) else share()
            self._show(now, min(1.0, (self._done + part) / self._organizations), reached)

    def end(self, *, is_done: bool) -> None:
        """Leave an organization; it is done unless it comes again."""
        self._done += is_done
        if self._done >= self._organizations:
            self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, now: float, part: float, reached: datetime | None) -> None:
        rate = self._count / max(now - self._began, 0.001)
        count = counted(self._count, *self._nouns)
        left = self._left(now, part)
        if not self._has_bar:
            texts = [f"{part:.0%}".replace("%", " %")] if part else []
            texts += [count, f"{rate:,.0f} a second"]
            texts += [f"at {reached:%Y-%m-%d %H:%M}"] if reached else []
            texts += [f"about {left} left"] if left else []
            self._logger.info("%s: %s", self._label, ", ".join(texts))
            return
        texts = [f"{part:.0%}", count, f"{rate:,.0f}/s", f"{left} left" if left else ""]
        label, details = _fit(self._label, texts, _columns())
        self._draw(part, f"{label} |{{bar}}| {details}")

    @property
    def _label(self) -> str:
        if self._organizations == 1:
            return f"{self._organization} {self._stream}"
        return f"{self._done:,} of {self._organizations:,} organizations"

    def _left(self, now: float, part: float) -> str:
        """Return how long it may still take, as text; empty as long as it is not known."""
        self._recent.append((now, part))
        while self._recent[1][0] <= now - _RECENT_SECONDS:
            self._recent.popleft()
        since, before = self._recent[0]
        if now - self._began < _ESTIMATE_SECONDS or part <= before:
            return ""
        lately = (1 - part) / (part - before) * (now - since)
        on_the_whole = (1 - part) / part * (now - self._began)
        is_sure = lately / _SURE <= on_the_whole <= lately * _SURE
        return duration(lately) if is_sure else ""

    def _draw(self, part: float, bar_format: str) -> None:
        self._bar = self._bar or _new_bar(bar_format)
        self._bar.n = round(part * _STEPS)
        self._bar.ncols = _columns()
        self._bar.bar_format = bar_format
        self._bar.refresh()


def _new_bar(bar_format: str) -> tqdm[NoReturn]:
    from tqdm.std import tqdm  # noqa: PLC0415  (it takes a tenth of a second)

    tqdm.monitor_interval = 0  # no thread of its own
    tqdm.set_lock(threading.RLock())
    bar: tqdm[NoReturn] = tqdm(total=_STEPS, file=sys.stderr, leave=False, bar_format=bar_format)
    return bar


class Span:
    """How much of a range of time has been read.

    `end` returns when it ends. It is called once, and may take a request.
    """

    def __init__(self, end: Callable[[], datetime]) -> None:
        """Start with the first time that is reached."""
        self._find_end = end
        self._start: datetime | None = None
        self._end: datetime | None = None

    def reach(self, reached: datetime) -> Callable[[], float]:
        """Note that a time was reached; the result returns the share up to there."""
        start = self._start = self._start or reached

        def share() -> float:
            end = self._end = self._end or self._find_end()
            return min(1.0, (reached - start) / (end - start)) if end > start else 1.0

        return share


def _fit(label: str, details: list[str], columns: int) -> tuple[str, str]:
    """Return a label and details that leave room for a bar.

    The label is cut first; then the rate goes, which is the third of the details, then the last.
    """
    percent, count, rate, left = details
    for texts in ([percent, count, rate, left], [percent, count, left], [percent, count]):
        text = ", ".join(filter(None, texts))
        room = columns - _SHORTEST_BAR - len(" || ") - len(text)
        if len(label) <= room:
            return label, text
        if room >= _SHORTEST_LABEL:
            break
    room = max(room, 1)
    if len(label) > room:
        rest = console.ellipsis()
        label = label[: room - len(rest)] + rest
    return label, text


def _columns() -> int:
    """Return the columns of a bar: a terminal writes ^C behind it."""
    return console.width() - 3
