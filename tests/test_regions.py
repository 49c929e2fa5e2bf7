"""Where an organization's projects, issues and events are asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tap_sentry_audit.api.regions import region_of

if TYPE_CHECKING:
    from tap_sentry_audit.api.pagination import Row

SENTRY = "https://sentry.io"


def region(organization: Row, base_url: str = SENTRY) -> str:
    return region_of(organization, datetime.now(UTC), base_url).base_url


def named(url: object) -> Row:
    return {"slug": "acme", "links": {"regionUrl": url}}  # type: ignore[dict-item]


@pytest.mark.parametrize("name", ["us", "de", "new-one"])
def test_a_region_below_the_host_is_asked(name: str) -> None:
    assert region(named(f"https://{name}.sentry.io")) == f"https://{name}.sentry.io"


@pytest.mark.parametrize(
    "organization",
    [
        {},
        {"links": None},
        {"links": {}},
        named(None),
        named(""),
        named(5),
        named(SENTRY),
        named("https://[broken"),
    ],
)
def test_without_a_region_the_host_is_asked(organization: Row) -> None:
    assert region(organization) == SENTRY


@pytest.mark.parametrize(
    "url",
    [
        "https://sentry.io.example.com",
        "https://evilsentry.io",
        "http://us.sentry.io",
        "https://user@us.sentry.io",
        "https://us.sentry.io/?next=x",
        "http://169.254.169.254",
        "http://sentry-web:9000",
        "https://evil.example\\.sentry.io",
        "https://.sentry.io",
        "https://a b.sentry.io",
        "https://us.sentry.io:1#x",
        "https://us.sentry.io:",
    ],
)
def test_the_token_goes_to_no_other_host(url: str) -> None:
    assert region(named(url)) == SENTRY


def test_a_self_hosted_server_that_names_an_inner_port_is_asked_at_its_own() -> None:
    own = "https://sentry.example.com"

    assert region(named("https://sentry.example.com:9000"), own) == own


def test_on_the_own_machine_regions_are_ports() -> None:
    assert region(named("http://127.0.0.1:2"), "http://127.0.0.1:1") == "http://127.0.0.1:2"
