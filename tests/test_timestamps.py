"""Times in the one form that sorts as text."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sentry_audit.api.timestamps import (
    EPOCH,
    format_time,
    from_milliseconds,
    parse_time,
    to_milliseconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MOMENTS = st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  (a bound)


@given(MOMENTS, MOMENTS)
def test_the_written_form_of_a_time_reads_back_and_sorts_as_times_do(
    one: datetime, other: datetime
) -> None:
    text = format_time(one)

    assert len(text) == 27
    assert text.endswith("Z")
    assert parse_time(text) == one
    assert (text < format_time(other)) == (one < other)


@pytest.fixture
def _in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_in_tokyo")
@pytest.mark.parametrize("zone", ["", "Z", "+00:00"])
def test_a_time_is_in_utc_unless_it_names_a_zone(zone: str) -> None:
    assert parse_time(f"1970-01-01T00:00:00{zone}") == EPOCH
    assert parse_time("1970-01-01T09:00:00+09:00").tzinfo is UTC


@given(MOMENTS)
def test_a_millisecond_holds_its_microseconds(moment: datetime) -> None:
    start = from_milliseconds(to_milliseconds(moment))

    assert start <= moment < start + timedelta(milliseconds=1)
