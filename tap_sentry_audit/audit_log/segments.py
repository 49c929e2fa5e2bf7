"""Which part of a time range to read next, when several requests may run at once.

No threads and no requests in here: a schedule is told what was read, and says what to read.

The range is a row of segments, each read forward from its own start; they are delivered in
order. A segment may start anywhere: an answer covers all the time up to its last entry, so
quiet weeks cost nothing. But where one segment ends, half a page on average was read for
nothing. So segments are some tens of pages long, by the density just seen; one that turns out
denser than thought is cut again, and its rest is read side by side.
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
"""Answers that may wait for those before them, for each request at once: some 2 MB.

While the first segment holds up all the others, it can be up to three times as many.
"""

_LEAST_REST = 2.0
"""Pages that a segment must still have, by estimate, to be cut."""

_LEAST_PIECE = 8.0
"""Pages that a segment is cut to at least, while there are that many."""

_PIECE = 1.5 * LOOK_AHEAD
"""Pages of a segment. Of those that are read side by side, half wait at a time."""

_TRUST = 3.0
"""How far off, as a factor, an estimate may be to be built upon."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Entries that follow each other without a gap, oldest first.

    `server_time` is the server's clock when they were read, `null_rows` the rows that the
    server could not show, `problem` why the entries of a wide tie may not be all.
    """

    entries: list[Entry]
    server_time: datetime
    null_rows: int = 0
    problem: str | None = None

    def before(self, end: int | None) -> Chunk:
        """Return what lies before a time in milliseconds."""
        if end is None:
            return self
        border = from_milliseconds(end)
        return replace(self, entries=[e for e in self.entries if e.created < border])

    def between(self, start: int, end: int | None) -> Chunk:
        """Return what lies from one time in milliseconds on and before another."""
        border = from_milliseconds(start)
        entries = [entry for entry in self.before(end).entries if entry.created >= border]
        return replace(self, entries=entries, null_rows=0)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step has read, and where the next one starts.

    `position` is in milliseconds, or nothing behind the newest entry of all.
    """

    chunk: Chunk
    position: int | None


@dataclass(eq=False, slots=True)
class Segment:
    """A part of the range. `position` and `end` are milliseconds; no end is the newest entry.

    `pace` is the milliseconds that one page covered when it was last known.
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
    """The segments of one range, and what of them waits to be delivered."""

    def __init__(self, start: int, end: int | None, first: Step) -> None:
        """Begin with one segment, of which the first step was read."""
        self._segments = [Segment(start, end)]
        self._now = to_milliseconds(first.chunk.server_time)
        self._waiting = 0
        self._is_trusted = True
        self.give_back(self._segments[0], first)

    @property
    def is_done(self) -> bool:
        """Whether all was read and delivered."""
        return not self._segments

    def take(self, width: int) -> Segment | None:
        """Return the segment to read one step of, with at most `width` of them taken.

        The one that the delivery waits for comes first. Nothing where nothing can be read
        now: then something has to be given back or delivered before.
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
        """Take in what one step of a segment has read, or why it could not be."""
        segment.is_taken = False
        if isinstance(step, Exception):
            # Of one that was called off, nothing is wanted any more.
            segment.is_done = segment.end == segment.position
            segment.error = None if segment.is_done else step
            return
        entries = step.chunk.entries
        if step.position is not None and len(entries) > 1:
            # From its first entry on: the silence before it says nothing of what follows.
            covered = max(1, step.position - to_milliseconds(entries[0].created))
            if segment.pace and not segment.is_answered:
                self._is_trusted = 1 / _TRUST < covered / segment.pace < _TRUST
            segment.pace = covered
        segment.is_answered = True
        segment.waiting.append(step.chunk.before(segment.end))
        self._waiting += 1
        segment.is_done = step.position is None or (
            segment.end is not None and step.position >= segment.end
        )
        if step.position is None:
            self._call_off(segment, step.chunk)
        else:
            segment.position = step.position

    def _call_off(self, last: Segment, chunk: Chunk) -> None:
        """Leave out what was to be read behind the newest entry of all.

        What segments behind the last one still lack is in its answer already.
        """
        for segment in self._segments[self._segments.index(last) + 1 :]:
            if not segment.is_done:
                segment.waiting.append(chunk.between(segment.position, segment.end))
                self._waiting += 1
                segment.end = segment.position
                segment.is_done = not segment.is_taken

    def deliver(self) -> Chunk | None:
        """Return what comes next in order, or nothing where that was not read yet."""
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
        """Raise what went wrong with the segment that the delivery waits for, if it did."""
        if self._segments and self._segments[0].error:
            raise self._segments[0].error

    def _allowed(self, most: int) -> list[Segment]:
        """Return the segments that may be read further, in order.

        What is far ahead may come to `most` answers; then what the delivery waits for next may
        still be read, so that a burst in the first segment need not be read by one alone.
        """
        is_full = self._waiting + len(self._segments) >= most
        if is_full and self._segments and self._segments[0].waiting:
            # The delivery is what is slow.
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
        """Cut the segment with the longest rest, and take what is cut off."""
        known = [s for s in allowed if s.is_answered or self._is_trusted]
        longest = max(known, key=self._rest, default=None)
        if longest is None or self._rest(longest) < _LEAST_REST:
            return None
        # Segments that begin together get lengths in steps, so that they end one by one: then
        # half as much waits as if they ended together.
        most = _PIECE * min(1.0, len(self._segments) / width)
        pages = min(
            self._rest(longest) / 2, max(_LEAST_PIECE, min(self._rest(longest) / width, most))
        )
        cut = longest.position + max(1, round(pages * (longest.pace or 0)))
        new = Segment(cut, longest.end, longest.pace, is_taken=True)
        longest.end = cut
        self._segments.insert(self._segments.index(longest) + 1, new)
        return new

    def _rest(self, segment: Segment) -> float:
        """Estimate the pages that a segment still has."""
        end = segment.end if segment.end is not None else self._now
        return (end - segment.position) / segment.pace if segment.pace else 0.0
