"""Decides which part of a time range to read next when several requests can run at once.

This module has no threads and sends no requests: a schedule learns what was read, and says what
to read.

The range is a row of segments, each read forward from its own start; they are delivered in
order. A segment may start anywhere: a response covers all the time up to its last entry, so
quiet weeks cost nothing. But at the end of a segment, half a page on average is read for
nothing. So segments are some tens of pages long, by the density just seen; one that turns out
denser is cut again, and its rest is read concurrently.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tap_sentry_audit.api.timestamps import from_milliseconds, to_milliseconds

if TYPE_CHECKING:
    from datetime import datetime

    from tap_sentry_audit.audit_log.pages import Entry

LOOK_AHEAD = 28
"""Responses that may wait for earlier ones, per concurrent request: some 2 MB.

While the first segment holds up all the others, there can be up to three times as many.
"""

_LEAST_REST = 2.0
"""Pages that a segment must still have, by estimate, to be cut."""

_LEAST_PIECE = 8.0
"""Pages of the smallest piece to cut off, while the rest has that many."""

_PIECE = 1.5 * LOOK_AHEAD
"""Pages of a segment. Of the segments that are read concurrently, half wait at a time."""

_TRUST = 3.0
"""The factor by which an estimate may be off and still be used."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive entries without a gap, oldest first.

    `server_time` is the server's clock when it sent them, `null_rows` counts the rows without an
    entry, of which `odd_rows` are not null, and `problem` says why entries of a wide tie may be
    missing.
    """

    entries: list[Entry]
    server_time: datetime
    null_rows: int = 0
    odd_rows: int = 0
    problem: str | None = None

    def within(self, start: datetime | None, end: datetime | None) -> Chunk:
        """Return the chunk with only the entries from `start` to before `end`."""
        entries = self.entries
        if start is not None:
            entries = [entry for entry in entries if entry.created >= start]
        if end is not None:
            entries = [entry for entry in entries if entry.created < end]
        return replace(self, entries=entries)

    def before(self, end: int | None) -> Chunk:
        """Return the chunk with only the entries before a time in milliseconds."""
        return self if end is None else self.within(None, from_milliseconds(end))


@dataclass(frozen=True, slots=True)
class Step:
    """What one step has read, and the millisecond of the next one: None after the newest entry."""

    chunk: Chunk
    position: int | None


@dataclass(eq=False, slots=True)
class Segment:
    """A part of the range, from `position` to before `end` in milliseconds.

    If `end` is None, it continues to the newest entry. `pace` is how many milliseconds a page
    covered when this was last known.
    """

    position: int
    end: int | None
    pace: float | None = None
    is_taken: bool = False
    is_done: bool = False
    is_answered: bool = False
    error: Exception | None = None
    waiting: deque[Chunk] = field(default_factory=deque)


class Schedule:
    """The segments of one range, with the chunks that wait for delivery."""

    def __init__(self, start: int, end: int | None, first: Step) -> None:
        """Start with one segment, whose first step has been read."""
        self._segments = [Segment(start, end)]
        self._now = to_milliseconds(first.chunk.server_time)
        self._waiting = 0
        self._is_trusted = True
        self.give_back(self._segments[0], first)

    @property
    def is_done(self) -> bool:
        """Whether everything was read and delivered."""
        return not self._segments

    def take(self, width: int) -> Segment | None:
        """Return the segment whose next step to read, or None if none can be read now.

        At most `width` segments are taken at a time; the one that the delivery waits for comes
        first. After None, a segment must be given back or a chunk delivered first.
        """
        if sum(segment.is_taken for segment in self._segments) >= width:
            return None
        allowed = self._allowed(width * LOOK_AHEAD)
        for segment in allowed:
            if not segment.is_taken:
                segment.is_taken = True
                return segment
        return self._cut(allowed, width)

    def give_back(self, segment: Segment, step: Step | Exception) -> None:
        """Record what one step of a segment has read, or why it failed."""
        segment.is_taken = False
        if isinstance(step, Exception):
            # A segment that was cut short needs nothing more.
            segment.is_done = segment.end == segment.position
            segment.error = None if segment.is_done else step
            return
        entries = step.chunk.entries
        if step.position is not None and len(entries) > 1:
            # From the first entry on: the silence before it says nothing about what follows.
            covered = max(1, step.position - to_milliseconds(entries[0].created))
            if segment.pace and not segment.is_answered:
                self._is_trusted = 1 / _TRUST < covered / segment.pace < _TRUST
            segment.pace = covered
        segment.is_answered = True
        segment.waiting.append(step.chunk.before(segment.end))
        self._waiting += 1
        if step.position is None:
            segment.is_done = True
            self._cut_after(segment, step.chunk)
        else:
            segment.position = step.position
            segment.is_done = segment.end is not None and segment.position >= segment.end

    def _cut_after(self, last: Segment, chunk: Chunk) -> None:
        """Cut all segments after the one that reached the newest entry of all.

        Its last response already contains what they still lack.
        """
        for segment in self._segments[self._segments.index(last) + 1 :]:
            if not segment.is_done:
                rest = chunk.before(segment.end).within(from_milliseconds(segment.position), None)
                segment.waiting.append(replace(rest, null_rows=0, odd_rows=0))
                self._waiting += 1
                segment.end = segment.position
                segment.is_done = not segment.is_taken

    def deliver(self) -> Chunk | None:
        """Return the next chunk in order, or None if it has not been read yet."""
        while self._segments:
            first = self._segments[0]
            if first.waiting:
                self._waiting -= 1
                return first.waiting.popleft()
            if not first.is_done:
                return None
            self._segments.pop(0)
        return None

    def raise_error(self) -> None:
        """Raise the error of the segment that the delivery waits for, if there is one."""
        if self._segments and self._segments[0].error:
            raise self._segments[0].error

    def _allowed(self, most: int) -> list[Segment]:
        """Return the segments that may be read further, in order.

        Once `most` responses wait, only what the delivery needs next may still be read, so that
        several threads can share a burst in the first segment.
        """
        is_full = self._waiting + len(self._segments) >= most
        if is_full and self._segments and self._segments[0].waiting:
            # The delivery is the bottleneck.
            return []
        allowed: list[Segment] = []
        near = 0
        for segment in self._segments:
            near += len(segment.waiting) + segment.is_taken
            if is_full and near > most // 2 and allowed:
                break
            if not segment.is_done and segment.error is None:
                allowed.append(segment)
        return allowed

    def _cut(self, allowed: list[Segment], width: int) -> Segment | None:
        """Cut the segment with the longest rest, and take the piece that is cut off."""
        known = [s for s in allowed if s.is_answered or self._is_trusted]
        longest = max(known, key=self._rest, default=None)
        if longest is None or (rest := self._rest(longest)) < _LEAST_REST:
            return None
        # Segments that start together get staggered lengths, so that they end one by one: then
        # half as much waits as if they ended together.
        most = _PIECE * min(1.0, len(self._segments) / width)
        pages = min(rest / 2, max(_LEAST_PIECE, min(rest / width, most)))
        cut = longest.position + max(1, round(pages * (longest.pace or 0)))
        new = Segment(cut, longest.end, longest.pace, is_taken=True)
        longest.end = cut
        self._segments.insert(self._segments.index(longest) + 1, new)
        return new

    def _rest(self, segment: Segment) -> float:
        """Return the estimated number of pages that a segment still has."""
        end = segment.end if segment.end is not None else self._now
        return (end - segment.position) / segment.pace if segment.pace else 0.0
