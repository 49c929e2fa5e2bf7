"""Answers that are none, in plain words; nothing of a body or the token in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.audit_log.pages import Query, fetch_from
from tap_sentry_audit.streams.audit_logs import AuditLogs
from testing.fake_sentry import Answer, FakeSentry, Log, entries, faults
from testing.sentry_tap import TOKEN, config, run_tap, without_waits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATH = "GET /api/0/organizations/acme/audit-logs/"
PERSONAL = "someone@acme.example"


@pytest.fixture
def sentry() -> Iterator[FakeSentry]:
    tokens = {TOKEN: "ok", "expired": "expired", "forbidden": "forbidden"}
    with FakeSentry({"acme": Log(entries.even(10))}, tokens=tokens) as server:  # type: ignore[arg-type]
        yield server


def failure(sentry: FakeSentry, **settings: object) -> str:
    client = without_waits(config(sentry, **settings)).client
    fetch = fetch_from(client, "acme", AuditLogs.permission)
    with pytest.raises(SentryError) as raised:
        fetch(Query(cursor=None))
    return str(raised.value)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("wrong", "401 Unauthorized: Sentry does not know this auth_token"),
        ("expired", "401 Unauthorized: this auth_token has expired"),
        ("forbidden", "403 Forbidden: the token may not read this organization's audit log. It"),
    ],
)
def test_a_token_that_cannot_read_is_told_why(sentry: FakeSentry, token: str, words: str) -> None:
    message = failure(sentry, auth_token=token)

    assert message.startswith(f"{PATH} answered {words}")
    assert "wrong" not in message


def test_a_403_names_scope_role_and_plan(sentry: FakeSentry) -> None:
    message = failure(sentry, auth_token="forbidden")  # noqa: S106  (the stand-in's)

    for word in ("org:write", "Owner or Manager", "Business plan"):
        assert word in message


def test_a_token_that_got_lost_on_the_way_is_told(sentry: FakeSentry) -> None:
    sentry.faults = [
        Answer(401, b'{"detail":"Authentication credentials were not provided."}'),
    ]

    assert "something between here and Sentry takes the Authorization" in failure(sentry)


def test_a_404_names_slug_and_host(sentry: FakeSentry) -> None:
    sentry.organizations = {}

    assert f"there is no organization 'acme' on 127.0.0.1:{sentry.port}" in failure(sentry)


def test_a_redirect_is_not_followed_and_told(sentry: FakeSentry) -> None:
    with FakeSentry({"acme": Log()}) as other:
        sentry.faults = [faults.redirect(f"{other.url}/api/0/organizations/acme/audit-logs/?x=1")]
        message = failure(sentry)

    assert message.startswith(f"{PATH} answered 302 Found: it points to {other.url}. The token")
    assert "x=1" not in message
    assert other.requests == []


def test_a_redirect_to_no_address_is_told(sentry: FakeSentry) -> None:
    sentry.faults = [faults.redirect("http://[bad")]

    assert failure(sentry).endswith("sent an answer that cannot be read: check host")


def test_a_link_to_another_host_is_not_followed() -> None:
    log = Log(entries.even(250))
    with (
        FakeSentry({"acme": Log()}) as other,
        FakeSentry({"acme": log}, url_prefix=other.url) as sentry,
    ):
        run = run_tap(config(sentry))

    assert len(run.ids) == 250
    assert other.requests == []


@pytest.mark.parametrize("status", [200, 403, 404])
def test_an_html_page_is_told(sentry: FakeSentry, status: int) -> None:
    page = Answer(status, b"<html>Sign in, someone@acme.example</html>", faults.HTML.headers)
    sentry.faults = lambda _number, _request: page
    message = failure(sentry)

    assert "with an HTML page, which Sentry's API never sends" in message
    assert PERSONAL not in message


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (faults.status(500), f"{PATH} answered 500 Internal Server Error"),
        (faults.status(503), f"{PATH} answered 503 Service Unavailable"),
        ("reset", "failed (ConnectionResetError)"),
        ("truncated", "broke off in the middle of its answer"),
    ],
)
def test_what_does_not_pass_is_told_after_some_tries(
    sentry: FakeSentry, fault: faults.Fault, words: str
) -> None:
    sentry.faults = lambda _number, _request: fault

    assert words in failure(sentry)
    assert len(sentry.requests) == 7


def test_no_message_has_a_body_or_the_token_in_it(sentry: FakeSentry) -> None:
    body = b'{"detail": "someone@acme.example did it with a token"}'
    for status in (400, 401, 402, 403, 404, 407, 409, 418, 451, 500, 504):
        sentry.requests.clear()
        sentry.faults = [Answer(status, body, {"X-Secret": "hidden"})] * 10
        message = failure(sentry, auth_token="s3cr3t-s3cr3t")  # noqa: S106  (the stand-in's)
        assert str(status) in message
        for secret in (PERSONAL, "s3cr3t", "hidden"):
            assert secret not in message


def test_a_region_host_is_told_to_have_no_audit_logs() -> None:
    import requests  # noqa: PLC0415

    from tap_sentry_audit.api.exceptions import error_of  # noqa: PLC0415

    response = requests.Response()
    response.status_code = 404
    response.url = "https://us.sentry.io/api/0/organizations/acme/audit-logs/"
    response._content = b'{"detail":"The requested resource does not exist"}'  # noqa: SLF001

    message = str(error_of(response, ""))
    assert "'acme' on us.sentry.io: audit logs live on sentry.io, not on a region's host" in message


def test_one_organization_that_fails_does_not_stop_the_others() -> None:
    logs = {slug: Log(entries.even(5)) for slug in ("first", "third")}
    with FakeSentry(logs) as server:
        slugs = ["first", "second", "third"]
        run = run_tap(config(server, organization=None, organizations=slugs))

    assert run.returncode == 1
    assert [record["organization"] for record in run.records] == ["first"] * 5 + ["third"] * 5
    [error] = run.log("ERROR")
    assert error.startswith("second: GET /api/0/organizations/second/audit-logs/ answered 404")


def test_the_connection_test_looks_at_every_organization() -> None:
    logs = {slug: Log(entries.even(5)) for slug in ("first", "third")}
    with FakeSentry(logs) as server:
        slugs = ["first", "second", "third"]
        run = run_tap(config(server, organization=None, organizations=slugs), "--test")

    assert run.returncode == 1
    assert len(server.requests) == 3
    assert [text for text in run.log("INFO") if "can be read" in text] == [
        "first: audit_logs can be read",
        "third: audit_logs can be read",
    ]


def test_a_good_connection_test_succeeds(sentry: FakeSentry) -> None:
    run = run_tap(config(sentry), "--test")

    assert run.returncode == 0
    assert "acme: audit_logs can be read" in run.log("INFO")
    assert len(run.ids) == 1


@pytest.mark.parametrize("arguments", [[], ["--test"]])
def test_bad_settings_are_told_before_the_first_request(
    sentry: FakeSentry, arguments: list[str]
) -> None:
    run = run_tap(config(sentry, start_date="nope", auth_token="s3 cret"), *arguments)  # noqa: S106

    assert run.returncode == 1
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    assert "cret" not in run.stderr
    assert [text for text in run.log("ERROR") if "start_date" in text] == [
        "start_date is 'nope', which is no date: write 2026-01-31 or 2026-01-31T08:00:00Z",
    ]
    assert sentry.requests == []


@pytest.mark.parametrize("number", ["1.5", "1e50", "1e999999", "-1e999999"])
def test_a_number_that_is_no_setting_is_refused_by_name(number: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    rest = '"auth_token": "token", "organization": "acme", "unknown": 1e999999'
    file.write_text(f'{{{rest}, "lookback_seconds": {number}}}')
    ended = run_tap({}, "--config", str(file))

    assert ended.returncode == 1
    assert "write a whole number from 0 to 2678400" in ended.stderr
    assert "Unexpected" not in ended.stderr
    assert "Decimal" not in ended.stderr
