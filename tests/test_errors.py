"""Errors in plain words: what went wrong and what to do, without personal data or the token."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import pytest
import requests

from tap_sentry_audit.api.client import Client
from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.audit_log.pages import Query, fetch_from
from tap_sentry_audit.streams.outcome import Outcome
from testing.fake_sentry import Answer, FakeSentry, Log, entries, faults
from testing.sentry_tap import TOKEN, config, run_tap, without_waits

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "GET /api/0/organizations/acme/audit-logs/"
PERSONAL = "someone@acme.example"
NOT_AUTHENTICATED = b'{"detail":"Authentication credentials were not provided."}'


@pytest.fixture(name="sentry")
def _sentry() -> Iterator[FakeSentry]:
    tokens = {TOKEN: "ok", "expired": "expired"}
    with FakeSentry({"acme": Log(entries.even(10))}, tokens=tokens) as server:  # type: ignore[arg-type]
        yield server


def failure(sentry: FakeSentry, **settings: object) -> str:
    client = without_waits(config(sentry, **settings)).client
    fetch = fetch_from(client, "acme")
    with pytest.raises(SentryError) as raised:
        fetch(Query(cursor=None))
    return str(raised.value)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("wrong", "Sentry does not know this auth_token: it was mistyped or revoked. Copy it"),
        ("expired", "this auth_token has expired: make a new one"),
    ],
)
def test_a_token_that_cannot_read_is_told_why_before_what_was_requested(
    sentry: FakeSentry, token: str, words: str
) -> None:
    message = failure(sentry, auth_token=token)

    assert message.startswith(words)
    assert message.endswith(f" ({PATH} answered 401 Unauthorized)")
    assert "wrong" not in message


def test_an_unknown_organization_is_told_with_the_host(sentry: FakeSentry) -> None:
    sentry.organizations = {}

    assert f"there is no such organization on 127.0.0.1:{sentry.port}" in failure(sentry)


HTML_PAGES = [
    Answer(status, b"<html>Sign in, someone@acme.example</html>", faults.HTML.headers)
    for status in (200, 403, 404)
]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            Answer(401, NOT_AUTHENTICATED),
            "such as a reverse proxy, removes the Authorization header",
        ),
        (faults.redirect("http://[bad"), " sent an answer that cannot be read: check host"),
        *[
            (page, " sent an HTML page, which Sentry's API never does: it is another server")
            for page in HTML_PAGES
        ],
        (
            faults.status(503),
            f"nothing is lost ({PATH} answered 503 Service Unavailable). Tried 7 times",
        ),
        ("reset", "failed (ConnectionResetError)"),
        ("truncated", "broke off in the middle of its answer"),
    ],
)
def test_an_answer_that_is_none_is_told(
    sentry: FakeSentry, fault: faults.Fault, words: str
) -> None:
    sentry.faults = lambda _number, _request: fault
    message = failure(sentry)

    assert words in message
    assert PERSONAL not in message


def test_no_message_has_a_body_a_header_or_the_token_in_it(sentry: FakeSentry) -> None:
    body = b'{"detail": "someone@acme.example did it with a token"}'
    for status in (400, 401, 402, 403, 404, 407, 409, 418, 451, 500, 504):
        answer = Answer(status, body, {"X-Secret": "hidden"})
        sentry.faults = lambda _number, _request, answer=answer: answer
        message = failure(sentry, auth_token="s3cr3t-s3cr3t")  # noqa: S106  (the stand-in's)
        assert f"{PATH} answered {status}" in message
        for secret in (PERSONAL, "s3cr3t", "hidden"):
            assert secret not in message


@pytest.mark.parametrize(
    ("host", "proxy", "words"),
    [
        ("127.0.0.1:1", "", "127.0.0.1:1 refused the connection: check host and port"),
        ("sentry.invalid", "", "The name sentry.invalid cannot be found: check host and your DNS"),
        (
            "sentry.invalid",
            "127.0.0.1:1",
            "The proxy in front of sentry.invalid cannot be used: check",
        ),
    ],
)
def test_a_connection_that_fails_is_told_with_what_to_check(
    sentry: FakeSentry, monkeypatch: pytest.MonkeyPatch, host: str, proxy: str, words: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)

    assert failure(sentry, host=f"http://{host}").startswith(words)


def test_a_region_is_told_to_have_no_audit_logs() -> None:
    response = requests.Response()
    response.status_code = 404
    response.url = "https://us.sentry.io/api/0/organizations/acme/audit-logs/"
    response.raw = io.BytesIO(b'{"detail":"The requested resource does not exist"}')

    with pytest.raises(SentryError, match=r"on us\.sentry\.io: audit logs live on sentry\.io"):
        Client.read(response, lambda *_: None)


def test_a_connection_test_looks_at_every_organization() -> None:
    logs = {slug: Log(entries.even(5)) for slug in ("first", "third")}
    with FakeSentry(logs) as server:
        slugs = ["first", "second", "third"]
        run = run_tap(config(server, organization=None, organizations=slugs), "--test")

    assert run.returncode == 1
    assert len(server.requests) == 3
    assert run.log("INFO") == ["audit_logs: 2 of 3 organizations can be read"]
    [error] = run.errors
    assert error.startswith("second: there is no such organization on ")


def test_a_connection_test_refuses_bad_settings_before_the_first_request(
    sentry: FakeSentry,
) -> None:
    run = run_tap(config(sentry, start_date="nope"), "--test")

    assert (run.returncode, run.stdout) == (1, "")
    problem = "start_date is 'nope', which is not a date: write 2026-01-31 or 2026-01-31T08:00:00Z"
    assert run.errors == [problem]
    assert sentry.requests == []


def test_the_reason_why_a_run_ended_is_its_last_line_whatever_else_went_wrong(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcome = Outcome(logging.getLogger("test"), is_single=True)
    outcome.report("acme", "one row is left out")
    outcome.report("acme", "Sentry failed to answer", is_end=True)
    outcome.report("acme", "another row is left out")
    outcome.conclude()

    assert caplog.messages[-1] == "acme: Sentry failed to answer. 2 more errors stand above"
    assert len(caplog.messages) == 3
