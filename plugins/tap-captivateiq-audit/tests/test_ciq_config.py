"""Every setting is checked before the first request."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tap_captivateiq_audit.config import SettingsError, parse_settings, remarks
from tap_captivateiq_audit.tap import TapCaptivateiqAudit
from testing.captivateiq_tap import config, run_tap
from testing.fake_captivateiq import FakeCaptivateIQ, Log, row


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
        ("api_token", 7),
        ("start_date", "yesterday"),
        ("start_date", 2026),
        ("start_date", "0001-01-01"),
        ("backfill", "no"),
        ("lookback_days", -1),
        ("lookback_days", 32),
        ("lookback_days", 1.5),
        ("requests_per_second", 0),
        ("requests_per_hour", True),
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
    assert ": " in problem or name == "backfill"
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


@pytest.mark.parametrize(
    "name", ["lookback_days", "requests_per_second", "requests_per_hour"], ids=str
)
def test_a_whole_number_may_have_a_decimal_point_as_in_json(name: str) -> None:
    parsed = parse_settings(json.loads(f'{{"api_token": "token", "{name}": 1.0}}'))

    assert repr(getattr(parsed, name)) == "1"


def test_a_run_takes_a_lookback_with_a_decimal_point() -> None:
    with FakeCaptivateIQ(Log([row(1, datetime.now(UTC))])) as server:
        run = run_tap(config(server, lookback_days=1.0))

    assert run.returncode == 0
    assert len(run.ids) == 1
    assert not run.log("WARNING")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/ciq/v1/", "http://localhost", "https://x"])
def test_http_is_for_this_machine_alone(url: str) -> None:
    assert parse_settings({"api_token": "token", "api_url": url}).api_url == url.rstrip("/")


def test_what_a_person_should_know_is_remarked() -> None:
    known = TapCaptivateiqAudit.config_jsonschema["properties"]

    assert remarks({"start_dat": "x", "backfill": False, "start_date": "2026-01-01"}, known) == [
        "There is no setting 'start_dat'; it is ignored: did you mean start_date?",
        "start_date is not used while backfill is false",
    ]


def test_a_bad_setting_ends_the_run_with_a_line_and_no_traceback() -> None:
    run = run_tap({"api_token": "hidden hidden", "lookback_days": "1"})

    assert run.returncode == 1
    assert run.stdout == ""
    assert run.log("ERROR")[:2] == [
        "api_token has spaces, line breaks or characters that no token has: copy it once more",
        "lookback_days is '1': write a whole number from 0 to 31",
    ]
    assert "hidden" not in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("option", ["--version", "--help", "--about", "--discover"])
def test_what_needs_no_settings_asks_for_none(option: str) -> None:
    run = run_tap({}, option)

    assert run.returncode == 0
    assert run.stdout
    assert not run.log("ERROR")


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("LOOKBACK_DAYS", "two", "write a whole number"),
        ("REQUESTS_PER_HOUR", "-5", "write a whole number"),
        ("BACKFILL", "maybe", "write true or false"),
    ],
)
def test_a_bad_variable_is_named(name: str, text: str, hint: str) -> None:
    variables = {"TAP_CAPTIVATEIQ_AUDIT_API_TOKEN": "x", f"TAP_CAPTIVATEIQ_AUDIT_{name}": text}
    run = run_tap({}, "--config=ENV", environment=variables)

    assert run.returncode == 1
    assert run.log("ERROR")[0] == (
        f"{name.lower()} (from TAP_CAPTIVATEIQ_AUDIT_{name}) is {text!r}: {hint}"
    )
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("value", [{}, {"encoding": {"format": "jsonl"}, "storage": "hidden"}])
def test_batches_are_refused_with_the_reason(value: object) -> None:
    with FakeCaptivateIQ(Log([row(1, datetime.now(UTC))])) as server:
        run = run_tap(config(server, batch_config=value))

        assert not server.requests
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.log("ERROR")[0].startswith("batch_config cannot be used: a STATE would come before")
    assert "hidden" not in run.stderr


def test_batches_are_refused_from_the_environment_too() -> None:
    with FakeCaptivateIQ(Log([])) as server:
        variables = {
            "TAP_CAPTIVATEIQ_AUDIT_API_TOKEN": "x",
            "TAP_CAPTIVATEIQ_AUDIT_API_URL": server.url,
            "TAP_CAPTIVATEIQ_AUDIT_BATCH_CONFIG": '{"storage": "hidden"}',
        }
        run = run_tap({}, "--config=ENV", environment=variables)

        assert not server.requests
    assert run.returncode == 1
    assert run.log("ERROR")[0].startswith(
        "batch_config (from TAP_CAPTIVATEIQ_AUDIT_BATCH_CONFIG) cannot be used: "
    )
    assert "hidden" not in run.stderr


def test_batches_that_are_not_set_are_no_error() -> None:
    with FakeCaptivateIQ(Log([row(1, datetime.now(UTC))])) as server:
        settings = config(server) | {"batch_config": None}
        run = run_tap(settings, environment={"TAP_CAPTIVATEIQ_AUDIT_BATCH_CONFIG": ""})

    assert run.returncode == 0
    assert len(run.ids) == 1
    assert not run.log("WARNING")


def test_the_tap_does_not_offer_batches() -> None:
    about = json.loads(run_tap({}, "--about", "--format=json").stdout)

    assert "batch" not in about["capabilities"]
    assert "batch_config" not in about["settings"]["properties"]
