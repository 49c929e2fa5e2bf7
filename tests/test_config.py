from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tap_sentry_audit.config import (
    JSON_SCHEMA,
    SettingsError,
    parse_settings,
    parse_variables,
    read_config_file,
    remarks,
)
from tap_sentry_audit.tap import TapSentryAudit
from testing.sentry_tap import run_tap

GOOD: dict[str, object] = {"auth_token": "sntryu_0123456789abcdef", "organization": "acme"}
SCHEMA = TapSentryAudit.config_jsonschema


def problems(**settings: object) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        parse_settings(GOOD | settings)
    return raised.value.problems


def remarks_on(**settings: object) -> list[str]:
    config = GOOD | settings
    return remarks(config, parse_settings(config), SCHEMA)


def test_two_settings_are_enough() -> None:
    settings = parse_settings(GOOD)

    assert settings.slugs == ("acme",)
    assert settings.host == "https://sentry.io"
    assert settings.start_date is None
    assert settings.end_date is None
    assert settings.backfill
    assert settings.lookback == timedelta(hours=1)
    assert settings.requests_per_second == 40
    assert settings.max_concurrent_requests == 12
    assert settings.request_timeout_seconds == 60
    assert settings.user_agent.startswith("tap-sentry-audit/")
    assert settings.redact_secrets


def test_several_organizations_keep_their_order() -> None:
    settings = parse_settings({"auth_token": "t", "organizations": ["b", "a"]})

    assert settings.slugs == ("b", "a")


@pytest.mark.parametrize(
    ("host", "base_url"),
    [
        ("sentry.io", "https://sentry.io"),
        ("us.sentry.io", "https://us.sentry.io"),
        ("sentry.example.com:9000", "https://sentry.example.com:9000"),
        ("https://sentry.example.com/", "https://sentry.example.com"),
        ("https://example.com/tools/sentry/", "https://example.com/tools/sentry"),
        ("https://sentry.io/api/0/", "https://sentry.io"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("[::1]:9000", "https://[::1]:9000"),
        ("sentry", "https://sentry"),
    ],
)
def test_a_host_is_a_name_a_name_with_port_or_a_url(host: str, base_url: str) -> None:
    assert parse_settings(GOOD | {"host": host}).host == base_url


@pytest.mark.parametrize(
    "host",
    [
        "ftp://sentry.io",
        "https://user:secret@sentry.io",
        "sentry.io:notaport",
        "sentry.io:0",
        "sentry.io:99999",
        "https://",
        "not a host",
        "https://sentry.io/?a=b",
        "https://sentry.io/#top",
        "",
        5,
    ],
)
def test_an_unusable_host_is_refused(host: object) -> None:
    [problem] = problems(host=host)

    assert problem.startswith("host ")
    assert "secret" not in problem


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T08:00:00Z", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("2026-01-31T08:00:00+02:00", datetime(2026, 1, 31, 6, tzinfo=UTC)),
        ("2026-01-31 08:00:00.000001-05:30", datetime(2026, 1, 31, 13, 30, 0, 1, tzinfo=UTC)),
        ("2026-01-31T08:00", datetime(2026, 1, 31, 8, tzinfo=UTC)),
    ],
)
def test_dates_of_any_zone_become_utc(text: str, moment: datetime) -> None:
    assert parse_settings(GOOD | {"start_date": text}).start_date == moment
    assert parse_settings(GOOD | {"end_date": text}).end_date == moment


@pytest.mark.parametrize(
    "text", ["", "nope", "3 days ago", "2026-13-01", "2026-02-30", "08:00", "P1D", 20260131, True]
)
def test_what_is_no_date_is_refused(text: object) -> None:
    [problem] = problems(start_date=text)

    assert problem.startswith(f"start_date is {text!r}, which is not a date: write ")


@pytest.mark.parametrize("year", ["0001", "1899", "3000", "9999"])
@pytest.mark.parametrize("zone", ["", "Z", "+14:00", "-12:00"])
@pytest.mark.parametrize("name", ["start_date", "end_date"])
def test_a_date_at_the_end_of_the_calendar_is_refused(name: str, year: str, zone: str) -> None:
    for day in ("01-01T00:00:00", "12-31T23:59:59.999999"):
        text = f"{year}-{day}{zone}"
        assert problems(**{name: text}) == [
            f"{name} is {text!r}: write a date of the years 1900 to 2999",
        ]


TOKENS = [
    "sntryu_0123456789abcdef",
    "sntrys_eyJpYXQiOjE3_abc",
    "sntryi_5",
    "0123456789abcdef" * 4,
    "Bearer " + "0123456789ABCDEF" * 4,
    "the secret of ours",
    "a",
]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("name", sorted(JSON_SCHEMA["properties"].keys() - {"auth_token"}))
def test_a_token_in_another_setting_is_refused_without_showing_it(name: str, token: str) -> None:
    given = GOOD | {"auth_token": token, name: token}
    if name == "organizations":
        given |= {"organization": None, name: ["acme", token]}
    with pytest.raises(SettingsError) as raised:
        parse_settings(given)

    misplaced = f"{name} holds what looks like a token: put it into auth_token, and nowhere else"
    assert misplaced in raised.value.problems
    assert not any(token in problem for problem in raised.value.problems if len(token) > 1)


@pytest.mark.parametrize("token", ["sntryu_0123456789abcdef", "0123456789abcdef" * 4, "our-secret"])
@pytest.mark.parametrize(
    "setting",
    [
        {"stream_maps": {"audit_logs": {"x": "TOKEN"}}},
        {"stream_maps": {"audit_logs": {"x": "'TOKEN' +"}}},
        {"stream_maps": {"audit_logs": {"TOKEN": "1"}}},
        {"flattening_separator": "TOKEN"},
        {"TOKEN": "TOKEN"},
    ],
)
def test_a_token_in_a_setting_of_the_sdk_is_refused_without_showing_it(
    setting: dict[str, object], token: str
) -> None:
    pasted = json.loads(json.dumps(setting).replace("TOKEN", token))
    run = run_tap({"auth_token": "our-secret", "organization": "acme", **pasted})

    assert run.returncode == 1
    assert token not in run.stderr
    assert "holds what looks like a token" in run.stderr


def test_a_hash_seed_may_look_like_a_token() -> None:
    maps = {"stream_map_config": {"hash_seed": "0123456789abcdef" * 4}}

    assert parse_settings({"auth_token": "token", "organization": "acme", **maps})


@pytest.mark.parametrize("token", ["sntryu_0123456789abcdef", "0123456789abcdef" * 4, "our-secret"])
def test_a_token_in_the_name_of_a_setting_is_not_shown(token: str) -> None:
    config = GOOD | {"auth_token": "our-secret", token: "x"}

    [remark] = remarks(config, parse_settings(config), SCHEMA)
    assert remark.startswith("The name of a setting holds what looks like a token: put it into ")


def test_a_token_in_a_variable_is_refused_without_showing_it() -> None:
    environment = {
        "TAP_SENTRY_AUDIT_AUTH_TOKEN": "secret-of-ours",
        "TAP_SENTRY_AUDIT_LOOKBACK_SECONDS": "secret-of-ours",
        "TAP_SENTRY_AUDIT_START_DATE": "from secret-of-ours",
    }
    with pytest.raises(SettingsError) as raised:
        parse_variables(environment, SCHEMA)

    assert [problem.partition(" holds")[0] for problem in raised.value.problems] == [
        "start_date (from TAP_SENTRY_AUDIT_START_DATE)",
        "lookback_seconds (from TAP_SENTRY_AUDIT_LOOKBACK_SECONDS)",
    ]


def test_a_token_in_place_of_a_file_is_not_shown() -> None:
    with pytest.raises(SettingsError, match=r"^the value of --config cannot be read"):
        read_config_file('{"auth_token": "sntryu_0123456789abcdef"}')


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("organisation", "organization"),
        ("organisations", "organizations"),
        ("ORGANIZATION", "organization"),
    ],
)
def test_a_misspelt_organization_is_told_where_it_is_missing(name: str, meant: str) -> None:
    [problem] = problems(organization=None, **{name: "acme"})

    assert problem.startswith("organization is missing: ")
    assert problem.endswith(f" (there is no setting {name!r}: did you mean {meant}?)")


def test_no_setting_of_another_kind_is_taken_for_a_misspelt_one() -> None:
    [problem] = problems(organization=None, stream_maps={}, state="x")

    assert "did you mean" not in problem


def test_an_end_that_is_not_after_the_start_is_refused() -> None:
    assert problems(start_date="2026-02-01", end_date="2026-02-01T01:00:00+01:00") == [
        "end_date is not after start_date: nothing lies between them",
    ]


@pytest.mark.parametrize(
    "token", ["", "  ", "se cret", "secret\n", "\tsecret", "sécret", "sntrys_secret", 12345]
)
def test_an_unusable_token_is_refused_without_showing_it(token: object) -> None:
    [problem] = problems(auth_token=token)

    assert problem.startswith("auth_token ")
    assert "secret" not in problem
    assert "12345" not in problem


@pytest.mark.parametrize(
    "slug", ["", "a b", "acme/audit-logs", "https://acme.sentry.io", "ümläut", "../x", 7]
)
def test_an_unusable_slug_is_refused(slug: object) -> None:
    [problem] = problems(organization=slug)

    assert problem.startswith("organization ")


@pytest.mark.parametrize("slugs", [[], "acme", ["acme", "acme"], ["acme", "a b"], [None], {}])
def test_an_unusable_list_of_slugs_is_refused(slugs: object) -> None:
    [problem] = problems(organization=None, organizations=slugs)

    assert problem.startswith("organizations ")


def test_no_organization_is_refused() -> None:
    [problem] = problems(organization=None)

    assert problem.startswith("organization is missing: ")


def test_both_organization_settings_are_refused() -> None:
    assert problems(organizations=["other"]) == [
        "organization and organizations are both set: keep one of them",
    ]


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("requests_per_second", 1, 1000),
        ("max_concurrent_requests", 1, 100),
        ("request_timeout_seconds", 1, 600),
        ("request_deadline_seconds", 1, 3600),
        ("max_response_mb", 1, 4096),
    ],
)
def test_numbers_have_a_range(name: str, least: int, most: int) -> None:
    for good in (least, most):
        parse_settings(GOOD | {name: good})
    for bad in (least - 1, most + 1):
        [problem] = problems(**{name: bad})
        assert problem == f"{name} is {bad}: write a whole number from {least} to {most}"


def test_a_user_agent_fits_into_a_header() -> None:
    [problem] = problems(user_agent="tap\r\nX-Evil: 1")

    assert problem.startswith("user_agent ")


def test_the_token_is_in_no_text_of_the_settings() -> None:
    assert "sntryu_" not in repr(parse_settings(GOOD))


@pytest.mark.parametrize(
    ("host", "count"),
    [
        ("http://sentry.example.com", 1),
        ("http://10.0.0.1:9000", 1),
        ("http://127.0.0.1:9000", 0),
        ("http://localhost:9000", 0),
        ("http://[::1]:9000", 0),
        ("https://sentry.example.com", 0),
        ("sentry.example.com", 0),
    ],
)
def test_an_unencrypted_host_is_remarked_on_unless_it_is_this_machine(
    host: str, count: int
) -> None:
    assert len(remarks_on(host=host)) == count


def test_a_start_that_backfill_false_leaves_without_effect_is_remarked_on() -> None:
    assert remarks_on(backfill=False, start_date="2026-01-01") == [
        "start_date is not used while backfill is false",
    ]


@pytest.mark.parametrize("salt", ["config['salt']", 'config["salt"]', "config.get('salt')"])
@pytest.mark.parametrize("values", [None, {}, {"salt": ""}, {"salt": None}, {"pepper": "x"}])
def test_a_salt_that_is_missing_is_an_error_before_the_first_request(
    values: object, salt: str
) -> None:
    maps = {"audit_logs": {"who": f"sha256({salt} + actor['email']) if actor else None"}}
    with pytest.raises(SettingsError) as raised:
        parse_settings(
            {
                "auth_token": "t",
                "organization": "acme",
                "stream_maps": maps,
                "stream_map_config": values,
            }
        )

    [problem] = raised.value.problems
    assert problem.startswith("stream_map_config has no salt, which stream_maps uses for audit_")
