"""The schedule by itself: no server, no threads, pages in any order."""

from __future__ import annotations

from bisect import bisect_left
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_sentry_audit.api.timestamps import from_milliseconds, to_milliseconds
from tap_sentry_audit.audit_log.pages import Entry
from tap_sentry_audit.audit_log.segments import LOOK_AHEAD, Chunk, Schedule, Step

if TYPE_CHECKING:
    from tap_sentry_audit.audit_log.segments import Segment

START = 1_735_689_600_000


class Drive:
    """Does what a schedule says, against a log of times in milliseconds."""

    def __init__(self, times: list[int], page_size: int, now: int, end: int | None = None) -> None:
        self._times = times
        self._page_size = page_size
        self._now = now
        self.taken: list[Segment] = []
        self.delivered: list[int] = []
        self.waiting = 1
        self.steps = 1
        self.schedule = Schedule(START, end, self.step(START))

    def step(self, position: int) -> Step:
        """Read a page: the millisecond in which it ends is the next one's, if it can be."""
        first = bisect_left(self._times, position)
        found = self._times[first : first + self._page_size]
        if first + self._page_size >= len(self._times):
            return Step(self._chunk(found), None)
        if found[-1] > position:
            return Step(self._chunk([at for at in found if at < found[-1]]), found[-1])
        whole = self._times[first : bisect_left(self._times, position + 1)]
        return Step(self._chunk(whole), position + 1)

    def _chunk(self, times: list[int]) -> Chunk:
        return Chunk(
            [Entry(from_milliseconds(at), str(at), b"") for at in times],
            from_milliseconds(self._now),
        )

    def take(self, width: int) -> bool:
        segment = self.schedule.take(width)
        if segment:
            self.taken.append(segment)
        return segment is not None

    def give_back(self, index: int) -> None:
        segment = self.taken.pop(index)
        self.schedule.give_back(segment, self.step(segment.position))
        self.waiting += 1
        self.steps += 1
        assert self.steps < 10 * len(self._times) + 1000, "an endless loop"

    def deliver(self) -> None:
        while chunk := self.schedule.deliver():
            self.waiting -= 1
            self.delivered += [to_milliseconds(entry.created) for entry in chunk.entries]


def times_of(drawn: list[tuple[int, int]]) -> list[int]:
    times = []
    at = START
    for gap, count in drawn:
        for _ in range(count):
            at += gap
            times.append(at)
    return times


LOGS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 2, 10, 1_000, 100_000, 86_400_000]),  # from one to the next
        st.integers(1, 60),  # entries
    ),
    max_size=10,
).map(times_of)
WIDTHS = st.sampled_from([1, 2, 3, 8, 25])


def run_in_any_order(drive: Drive, width: int, rng: Random) -> None:
    while not drive.schedule.is_done:
        while len(drive.taken) < width and rng.random() < 0.8:
            if not drive.take(width):
                break
            assert len(drive.taken) <= width
        if drive.taken or drive.take(width):
            drive.give_back(rng.randrange(len(drive.taken)))
        if not drive.taken or rng.random() < 0.5:
            drive.deliver()


@settings(max_examples=200, deadline=None)
@given(
    times=LOGS,
    page_size=st.sampled_from([2, 3, 10, 100]),
    width=WIDTHS,
    ahead=st.sampled_from([0, 1_000, 86_400_000, 400 * 86_400_000]),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_all_before_the_end_is_delivered_once_and_in_order(  # noqa: PLR0913, PLR0917  (all that is drawn)
    times: list[int], page_size: int, width: int, ahead: int, seed: int, data: st.DataObject
) -> None:
    end = data.draw(st.sampled_from([None, START + 1, *times]))
    drive = Drive(times, page_size, max(times, default=START) + ahead, end)
    run_in_any_order(drive, width, Random(seed))  # noqa: S311

    assert drive.delivered == [at for at in times if end is None or at < end]
    assert drive.schedule.is_done


EVEN = list(range(START, START + 60_000, 10))
BURST = sorted([*range(START, START + 600_000, 1_000), *range(START + 30_000, START + 35_400)])


@pytest.mark.parametrize("times", [EVEN, BURST])
@pytest.mark.parametrize("width", [1, 4, 12])
def test_what_waits_is_bounded_while_the_first_segment_does_not_answer(
    times: list[int], width: int
) -> None:
    drive = Drive(times, 3, times[-1])
    drive.deliver()
    most = 0
    while not drive.schedule.is_done:
        while drive.take(width):
            pass
        # The one that the delivery waits for answers only when nobody else can do anything.
        drive.give_back(len(drive.taken) - 1)
        most = max(most, drive.waiting)
        if not drive.taken:
            drive.deliver()

    assert drive.delivered == times
    # What the delivery waits for next may come on top of what is far ahead.
    assert most <= 3 * width * LOOK_AHEAD


@pytest.mark.parametrize("times", [EVEN, BURST])
@pytest.mark.parametrize("width", [1, 4, 12])
def test_what_waits_is_bounded_while_nobody_takes_anything(times: list[int], width: int) -> None:
    drive = Drive(times, 3, times[-1])
    while drive.take(width) or drive.taken:
        if len(drive.taken) == width or not drive.take(width):
            drive.give_back(0)

    assert drive.waiting <= width * LOOK_AHEAD


def test_an_error_is_raised_at_its_turn_after_all_that_lies_before() -> None:
    times = list(range(START, START + 10_000, 10))
    drive = Drive(times, 10, START + 10_000)
    drive.take(2)
    drive.take(2)
    drive.schedule.give_back(drive.taken.pop(1), ConnectionError())
    drive.deliver()
    drive.schedule.raise_error()

    def read_on() -> None:
        while not drive.schedule.is_done:
            drive.schedule.raise_error()
            drive.take(2)
            drive.give_back(0)
            drive.deliver()

    with pytest.raises(ConnectionError):
        read_on()
    assert drive.delivered == times[: len(drive.delivered)]
    assert 50 < len(drive.delivered) < 1000
