"""A search that is newest first, read oldest slice first."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.api.pagination import ListPage, Row
from tap_sentry_audit.api.search import read_slices, search_text
from tap_sentry_audit.api.timestamps import EPOCH

PER_PAGE = 3
MOST = 7
END = EPOCH + timedelta(days=20_000)
SECONDS = st.lists(st.one_of(st.integers(0, 20), st.integers(0, 20_000 * 86_400 - 1)), max_size=60)


def time_of(row: Row) -> datetime:
    return EPOCH + timedelta(seconds=int(str(row["seconds"])))


class Issues:
    """A search over rows that lie so many seconds after 1970; it counts to MOST and no further."""

    def __init__(self, seconds: list[int]) -> None:
        self.rows: list[Row] = [{"seconds": at} for at in sorted(seconds, reverse=True)]
        self.searches = 0

    def search(self, start: datetime, end: datetime, cursor: str | None) -> ListPage:
        self.searches += 1
        found = [row for row in self.rows if start <= time_of(row) < end]
        first = int(cursor or 0)
        last = first + PER_PAGE
        older = str(last) if len(found) > last else None
        return ListPage(found[first:last], older, END, min(MOST, len(found)), MOST, b"")


@settings(max_examples=60, deadline=None)
@given(SECONDS)
@example([5] * 2 * MOST)  # more in one second than are counted
def test_every_row_comes_once_and_slices_follow_each_other(seconds: list[int]) -> None:
    slices = [
        [time_of(row) for page in slice_.pages for row in page.rows]
        for slice_ in read_slices(Issues(seconds).search, EPOCH, END, time_of)
    ]

    found = sorted(time for slice_ in slices for time in slice_)
    assert found == sorted(EPOCH + timedelta(seconds=at) for at in seconds)
    assert all(max(one) < min(other) for one, other in pairwise(filter(None, slices)))


def test_a_poll_of_a_page_is_one_search() -> None:
    issues = Issues([5, 6])
    list(read_slices(issues.search, EPOCH, END, time_of))

    assert issues.searches == 1


@pytest.mark.parametrize("count", [MOST - 1, 10 * MOST])
def test_a_server_that_ignores_the_search_is_found_out(count: int) -> None:
    issues = Issues([10_000 * 86_400 + number for number in range(count)])

    def all_of_it(_: datetime, __: datetime, cursor: str | None) -> ListPage:
        return issues.search(EPOCH, END, cursor)

    later = EPOCH + timedelta(days=15_000)
    with pytest.raises(SentryError, match="ignores the search"):
        list(read_slices(all_of_it, later, END, time_of))
    if count >= MOST:
        with pytest.raises(SentryError, match="ignores the search"):
            list(read_slices(all_of_it, EPOCH, END, time_of))


def test_a_time_is_searched_in_whole_seconds() -> None:
    time = EPOCH + timedelta(seconds=1.5)

    assert search_text(time) == "1970-01-01T00:00:01"
    assert search_text(time, rounded_up=True) == "1970-01-01T00:00:02"
