"""The reader against logs in memory: nothing lost, nothing twice, and in order."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_sentry_audit.api.timestamps import EPOCH, parse_time
from tap_sentry_audit.audit_log.reader import read_range
from testing.fake_sentry import Log
from testing.reading import MILLISECOND, START, asking, expected

if TYPE_CHECKING:
    from tap_sentry_audit.audit_log.pages import Fetch, Page, Query

SECOND = 1_000 * MILLISECOND
HOUR = 3_600 * SECOND
FAR = EPOCH + timedelta(days=40_000)


def times_of(drawn: list[tuple[int, int, int]]) -> list[int]:
    times: list[int] = []
    at = START
    for gap, count, within in drawn:
        at += gap * MILLISECOND
        times += [at + n * 7_919 % within for n in range(count)]
        at = max(times)
    return times


TIMES = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 5, 20, 1_000, 60_000, 86_400_000]),  # ms after those before
        st.integers(1, 40),  # entries
        st.sampled_from([1, MILLISECOND, 20 * MILLISECOND, 10 * SECOND]),  # that they lie within
    ),
    max_size=8,
).map(times_of)
PAGE_SIZES = st.sampled_from([2, 3, 7, 30, 100])
WIDTHS = st.sampled_from([1, 4])


def at_micros(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


def read_ids(
    fetch: Fetch, width: int = 1, start: datetime | None = None, end: datetime | None = None
) -> list[str]:
    chunks = list(read_range(fetch, start, end, lambda _: width))
    assert not any(chunk.problem for chunk in chunks)
    return [entry.id for chunk in chunks for entry in chunk.entries]


def out_of_order(fetch: Fetch, seed: int, clock: datetime | None = None) -> Fetch:
    """Let pages arrive out of order, with this time by the server's clock."""
    rng = Random(seed)  # noqa: S311

    def fetch_late(query: Query) -> Page:
        page = fetch(query)
        time.sleep(rng.choice([0, 0, 0.0005, 0.002]))
        return replace(page, server_time=clock or page.server_time)

    return fetch_late


@settings(max_examples=80, deadline=None)
@given(times=TIMES, per_page=PAGE_SIZES, width=st.sampled_from([1, 8]), data=st.data())
def test_every_entry_from_the_start_to_before_the_end_comes_once_and_in_order(
    times: list[int], per_page: int, width: int, data: st.DataObject
) -> None:
    log = Log(times, ties="shuffled", seed=per_page)
    near = st.builds(
        lambda at, off: at_micros(at + off),
        st.sampled_from([START, *times]),
        st.sampled_from([-MILLISECOND, -1, 0, 1, MILLISECOND]),
    )
    start, end = data.draw(st.none() | near), data.draw(st.none() | near)
    clock = data.draw(st.sampled_from([None, at_micros(max(times, default=START))]))
    inside = {
        row["id"]
        for row in log.rows()
        if row and (start or EPOCH) <= parse_time(row["dateCreated"]) < (end or FAR)
    }

    found = read_ids(out_of_order(asking(log, per_page), width, clock), width, start, end)
    assert found == [entry_id for entry_id in expected(log) if entry_id in inside]


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200])
def test_a_log_may_end_with_a_full_page(count: int) -> None:
    log = Log(range(START, START + count * 7919, 7919))

    assert read_ids(asking(log)) == expected(log)


@pytest.mark.parametrize("within", [1, MILLISECOND])
@pytest.mark.parametrize(
    ("count", "per_page"), [(30, 7), (99, 100), (100, 100), (101, 100), (250, 50), (1000, 100)]
)
def test_a_tie_of_any_width_is_read_whole(count: int, per_page: int, within: int) -> None:
    tie = [START + n * 37 % within for n in range(count)]
    around = [START - SECOND, START - 1, START + MILLISECOND, START + HOUR]
    log = Log([*tie, *around], ties="shuffled")

    assert read_ids(asking(log, per_page)) == expected(log)


@settings(max_examples=30, deadline=None)
@given(
    times=TIMES,
    per_page=PAGE_SIZES,
    width=WIDTHS,
    gaps=st.lists(st.sampled_from([0, 1, MILLISECOND, SECOND, HOUR]), max_size=60),
)
def test_entries_that_arrive_during_a_run_disturb_nothing(
    times: list[int], per_page: int, width: int, gaps: list[int]
) -> None:
    log = Log(times, ties="shuffled")
    at_the_start = expected(log)
    newest = max(times, default=START)
    arriving = iter(gaps)

    def fetch(query: Query) -> Page:
        nonlocal newest
        page = asking(log, per_page)(query)
        if (gap := next(arriving, None)) is not None:
            newest += gap
            log.add([newest])
        return page

    found = [e for chunk in read_range(fetch, None, None, lambda _: width) for e in chunk.entries]
    ids = [entry.id for entry in found]

    assert len(set(ids)) == len(ids)
    assert [entry_id for entry_id in ids if entry_id in set(at_the_start)] == at_the_start
    assert all(a.created <= b.created for a, b in pairwise(found))


# Null rows


def log_with_nulls(is_null: list[bool], step: int = MILLISECOND) -> Log:
    log = Log()
    for number, null in enumerate(is_null):
        at = START + number * step
        if null:
            log.put(None, at)
        else:
            log.add([at])
    return log


def assert_nulls_hide_nothing(log: Log, nulls: int, per_page: int, width: int = 1) -> None:
    requests = 0

    def fetch(query: Query) -> Page:
        nonlocal requests
        requests += 1
        assert requests < 50 * len(log) + 500, "an endless loop"
        return asking(log, per_page)(query)

    chunks = list(read_range(fetch, None, None, lambda _: width))

    assert [entry.id for chunk in chunks for entry in chunk.entries] == expected(log)
    assert sum(chunk.null_rows for chunk in chunks) >= nulls


@settings(max_examples=50, deadline=None)
@given(
    runs=st.lists(st.tuples(st.booleans(), st.integers(1, 12)), max_size=6),
    per_page=st.sampled_from([3, 7]),
    width=WIDTHS,
    step=st.sampled_from([0, 1, MILLISECOND]),
)
def test_null_rows_anywhere_hide_nothing(
    runs: list[tuple[bool, int]], per_page: int, width: int, step: int
) -> None:
    is_null = [null for null, count in runs for _ in range(count)]

    assert_nulls_hide_nothing(log_with_nulls(is_null, step), sum(is_null), per_page, width)


@pytest.mark.parametrize(
    ("before", "nulls", "behind"),
    [(0, 100, 0), (0, 101, 1), (1, 99, 1), (99, 100, 150), (100, 350, 0), (150, 100, 1)],
)
def test_whole_pages_of_null_rows_hide_nothing(before: int, nulls: int, behind: int) -> None:
    log = log_with_nulls([False] * before + [True] * nulls + [False] * behind)

    assert_nulls_hide_nothing(log, nulls, per_page=100)


@pytest.mark.parametrize("seed", [0, 1, 2, 14])
def test_a_tie_of_entries_and_a_page_of_null_rows_hides_none(seed: int) -> None:
    log = Log([START] * 3, ties="shuffled", seed=seed)
    for _ in range(130):
        log.put(None, START)
    log.add([START + MILLISECOND])

    assert_nulls_hide_nothing(log, 130, per_page=100)


# What stops a reader


class BrokenPageError(Exception):
    """Raised instead of a page with a certain entry."""


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 600),
    per_page=st.sampled_from([7, 30]),
    width=st.sampled_from([1, 2, 8]),
    data=st.data(),
)
def test_an_error_comes_after_all_entries_before_its_page(
    count: int, per_page: int, width: int, data: st.DataObject
) -> None:
    times = range(START, START + count * SECOND, SECOND)
    log = Log(times)
    ids = expected(log)
    broken = data.draw(st.integers(0, count - 1))
    answer = out_of_order(asking(log, per_page), broken, at_micros(max(times)))

    def fetch(query: Query) -> Page:
        page = answer(query)
        if ids[broken] in {entry.id for entry in page.entries}:
            raise BrokenPageError
        return page

    found: list[str] = []
    with pytest.raises(BrokenPageError):
        found.extend(
            entry.id
            for chunk in read_range(fetch, None, None, lambda _: width)
            for entry in chunk.entries
        )

    assert found == ids[: len(found)]
    assert broken - per_page < len(found) <= broken


def test_a_reader_that_is_dropped_ends_its_threads() -> None:
    log = Log(range(START, START + 3000 * SECOND, SECOND))
    before = set(threading.enumerate())
    reading = read_range(out_of_order(asking(log, 3), seed=1), None, None, lambda _: 4)
    for _ in range(3):
        next(reading)
    threads = set(threading.enumerate()) - before
    del reading
    for thread in threads:
        thread.join(5)

    assert threads
    assert not any(thread.is_alive() for thread in threads)
