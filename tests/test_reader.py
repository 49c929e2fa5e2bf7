"""The reader against logs drawn by hypothesis, without a server between them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_sentry_audit.audit_log.reader import read_range
from testing.fake_sentry import Log
from testing.reading import MILLISECOND, START, asking, by_links, expected


def read_ids(log: Log, per_page: int = 100) -> list[str]:
    chunks = list(read_range(asking(log, per_page), None, None))
    assert not any(chunk.problem for chunk in chunks)
    return [entry.id for chunk in chunks for entry in chunk.entries]


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 1000])
def test_every_entry_comes_once_and_in_order(count: int) -> None:
    log = Log(range(START, START + count * 7919, 7919))

    assert read_ids(log) == expected(log)


CLUSTERS = st.lists(
    st.tuples(
        st.integers(0, 20),  # milliseconds after the one before
        st.integers(1, 25),  # entries
        st.integers(1, MILLISECOND),  # microseconds that they lie within
    ),
    max_size=6,
)


def log_of(clusters: list[tuple[int, int, int]], seed: int) -> Log:
    times = []
    millisecond = START
    for gap, count, width in clusters:
        millisecond += gap * MILLISECOND
        times += [millisecond + (n * 37) % width for n in range(count)]
    return Log(times, ties="shuffled", seed=seed)


@settings(max_examples=100, deadline=None)
@given(clusters=CLUSTERS, per_page=st.sampled_from([1, 3, 7, 30, 100]), seed=st.integers(0, 9))
def test_ties_of_any_width_lose_and_repeat_nothing(
    clusters: list[tuple[int, int, int]], per_page: int, seed: int
) -> None:
    log = log_of(clusters, seed)

    assert read_ids(log, per_page) == expected(log)


def test_sentrys_own_pagination_loses_tied_entries() -> None:
    log = log_of([(0, 60, 1), (1, 60, 1), (1, 60, 1)], seed=1)

    assert set(by_links(log, 10)) < set(expected(log))
