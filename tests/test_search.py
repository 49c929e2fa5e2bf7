"""A search that is newest first, read oldest slice first."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.api.pagination import ListPage, Row
from tap_sentry_audit.api.search import read_slices, search_text
from tap_sentry_audit.api.timestamps import EPOCH

PER_PAGE = 3
MOST = 7
END = EPOCH + timedelta(days=20_000)
SECONDS = st.lists(st.one_of(st.integers(0, 20), st.integers(0, 20_000 * 86_400 - 1)), max_size=60)


class Issues:
    """A search over rows that lie so many seconds after 1970; it counts to MOST and no further."""

    def __init__(self, seconds: list[int]) -> None:
        self.seconds = {str(number): at for number, at in enumerate(seconds)}
        self.searches = 0

    def time_of(self, row: Row) -> datetime:
        return EPOCH + timedelta(seconds=self.seconds[str(row["id"])])

    def search(self, start: datetime, end: datetime, cursor: str | None) -> ListPage:
        self.searches += 1
        within = [
            name
            for name, seconds in self.seconds.items()
            if start <= EPOCH + timedelta(seconds=seconds) < end
        ]
        within.sort(key=self.seconds.__getitem__, reverse=True)
        found: list[Row] = [{"id": name} for name in within]
        offset = int(cursor or 0)
        more = len(found) > offset + PER_PAGE
        return ListPage(
            rows=found[offset : offset + PER_PAGE],
            older=str(offset + PER_PAGE) if more else None,
            server_time=END,
            hits=min(MOST, len(found)),
            most_hits=MOST,
            body=b"",
        )


@settings(max_examples=100, deadline=None)
@given(SECONDS)
def test_every_row_comes_once_and_slices_follow_each_other(seconds: list[int]) -> None:
    issues = Issues(seconds)
    slices = [
        [str(row["id"]) for page in slice_.pages for row in page.rows]
        for slice_ in read_slices(issues.search, EPOCH, END, issues.time_of)
    ]

    assert sorted(name for slice_ in slices for name in slice_) == sorted(issues.seconds)
    times = [[issues.seconds[name] for name in slice_] for slice_ in slices if slice_]
    assert all(max(earlier) < min(later) for earlier, later in pairwise(times))


def test_a_poll_of_a_page_is_one_search() -> None:
    issues = Issues([5, 6])
    list(read_slices(issues.search, EPOCH, END, issues.time_of))

    assert issues.searches == 1


@pytest.mark.parametrize("count", [MOST - 1, 10 * MOST])
def test_a_server_that_ignores_the_search_is_found_out(count: int) -> None:
    issues = Issues([10_000 * 86_400 + number for number in range(count)])

    def all_of_it(_: datetime, __: datetime, cursor: str | None) -> ListPage:
        return issues.search(EPOCH, END, cursor)

    later = EPOCH + timedelta(days=15_000)
    with pytest.raises(SentryError, match="ignores the search"):
        list(read_slices(all_of_it, later, END, issues.time_of))
    if count >= MOST:
        with pytest.raises(SentryError, match="ignores the search"):
            list(read_slices(all_of_it, EPOCH, END, issues.time_of))


def test_a_time_is_searched_in_whole_seconds() -> None:
    time = EPOCH + timedelta(seconds=1.5)

    assert search_text(time) == "1970-01-01T00:00:01"
    assert search_text(time, rounded_up=True) == "1970-01-01T00:00:02"
