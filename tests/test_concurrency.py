"""Work on many things at once."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_sentry_audit.api.concurrency import WorkerPool


@settings(max_examples=30, deadline=None)
@given(
    waits=st.lists(st.floats(0, 0.003), max_size=20),
    threads=st.integers(1, 5),
    ahead=st.integers(1, 8),
)
def test_results_come_in_order(waits: list[float], threads: int, ahead: int) -> None:
    def work(wait: float) -> float:
        time.sleep(wait)
        return wait

    pool = WorkerPool(work, waits, threads, ahead)

    assert [pool.take(5) for _ in waits] == waits


def test_no_more_is_worked_on_ahead_than_is_allowed() -> None:
    begun: list[float] = []
    work = WorkerPool(lambda item: begun.append(item) or item, range(100), threads=4, ahead=7)  # type: ignore[func-returns-value]
    time.sleep(0.1)
    assert len(begun) == 7

    work.take(5)
    time.sleep(0.1)
    assert len(begun) == 8


def test_an_error_comes_at_its_turn_and_the_others_go_on() -> None:
    def inverse(number: int) -> float:
        return 1 / number

    work = WorkerPool(inverse, [1, 0, 2], threads=2, ahead=3)

    assert work.take(5) == 1
    with pytest.raises(ZeroDivisionError):
        work.take(5)
    assert work.take(5) == 0.5


def test_a_result_is_waited_for_no_longer_than_asked() -> None:
    free = threading.Event()
    work = WorkerPool(lambda _: free.wait(5), [1], threads=1, ahead=1)

    assert work.take(0.05) is None
    free.set()
    assert work.take(5)
