"""Every setting is checked before the first request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tap_captivateiq_audit.config import SettingsError, parse_settings, remarks


def problems(**settings: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parse_settings({"api_token": "token"} | settings)
    return caught.value.problems


def test_defaults_keep_the_limits_of_the_standard_plan() -> None:
    read = parse_settings({"api_token": "token"})

    assert (read.requests_per_second, read.requests_per_hour) == (5, 1500)
    assert (read.start_date, read.backfill, read.lookback) == (None, True, timedelta(days=1))
    assert read.api_url == "https://api.captivateiq.com/ciq/v1"
    assert "token" not in repr(read)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_token", ""),
        ("api_token", "hidden\n"),
        ("api_token", "Token hidden"),
        ("start_date", "yesterday"),
        ("start_date", 2026),
        ("start_date", "0001-01-01"),
        ("requests_per_second", 0),
        ("api_url", "api.captivateiq.com"),
        ("api_url", "http://api.captivateiq.com/ciq/v1"),
        ("api_url", "https://user:hidden@api.captivateiq.com"),
        ("api_url", "https://api.captivateiq.com/?a=b"),
        ("api_url", "https://[::1"),
        ("api_url", "https://"),
    ],
    ids=repr,
)
def test_a_value_that_cannot_be_used_is_one_clear_problem(name: str, value: object) -> None:
    (problem,) = problems(**{name: value})

    assert problem.startswith(f"{name} ")
    assert ": " in problem
    assert "hidden" not in problem


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T08:00:00+02:00", datetime(2026, 1, 31, 6, tzinfo=UTC)),
    ],
)
def test_a_start_date_is_a_date_or_a_date_time(value: str, expected: datetime) -> None:
    assert parse_settings({"api_token": "token", "start_date": value}).start_date == expected


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/ciq/v1/", "http://localhost", "https://x"])
def test_http_is_for_this_machine_alone(url: str) -> None:
    assert parse_settings({"api_token": "token", "api_url": url}).api_url == url.rstrip("/")


def test_a_start_date_that_is_not_used_is_remarked() -> None:
    given = {"backfill": False, "start_date": "2026-01-01"}

    assert remarks(given, given) == ["start_date is not used while backfill is false"]
