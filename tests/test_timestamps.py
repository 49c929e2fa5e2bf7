"""Times in the one form that sorts as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tap_sentry_audit.api.timestamps import format_time, parse_time, to_milliseconds

MOMENTS = st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  (a bound)


@given(MOMENTS)
def test_the_written_form_of_a_time_reads_back_and_has_one_width(moment: datetime) -> None:
    text = format_time(moment)

    assert len(text) == 27
    assert text.endswith("Z")
    assert parse_time(text) == moment


@given(MOMENTS, MOMENTS)
def test_the_written_form_sorts_as_the_times_do(one: datetime, other: datetime) -> None:
    assert (format_time(one) < format_time(other)) == (one < other)


@given(MOMENTS)
def test_a_millisecond_holds_its_microseconds(moment: datetime) -> None:
    start = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=to_milliseconds(moment))

    assert start <= moment < start + timedelta(milliseconds=1)
