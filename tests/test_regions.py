"""Which host is asked for an organization's projects, issues and events."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tap_sentry_audit.api.regions import region_of

SENTRY = "https://sentry.io"
OWN = "https://sentry.example.com"


def region(url: object, base_url: str = SENTRY) -> str:
    """The host that is asked if the server names this one."""
    organization = {"slug": "acme", "links": {"regionUrl": url}}
    return region_of(organization, datetime.now(UTC), base_url).base_url  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["us", "de", "new-one"])
def test_a_region_below_the_host_is_asked(name: str) -> None:
    assert region(f"https://{name}.sentry.io") == f"https://{name}.sentry.io"


@pytest.mark.parametrize("organization", [{}, {"links": None}, {"links": {}}])
def test_without_regions_the_host_is_asked(organization: dict[str, None]) -> None:
    assert region_of(organization, datetime.now(UTC), SENTRY).base_url == SENTRY  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        5,
        SENTRY,
        "https://[broken",
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
def test_the_token_goes_to_no_other_host(url: object) -> None:
    assert region(url) == SENTRY


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://sentry.io", None),
        ("https://sentry.io/", None),
        ("https://us.sentry.io", None),
        ("http://sentry-web:9000/", "http://sentry-web:9000"),
        ("https://elsewhere.example/?secret", "https://elsewhere.example"),
        ("https://secret@elsewhere.example", ""),
        ("secret", ""),
    ],
)
def test_a_region_that_is_refused_is_named_without_what_may_be_secret(
    url: str, shown: str | None
) -> None:
    organization = {"slug": "acme", "links": {"regionUrl": url}}
    found = region_of(organization, datetime.now(UTC), SENTRY)  # type: ignore[arg-type]

    assert found.refused == shown


@pytest.mark.parametrize(
    "host", ["https://sentry.io", "http://sentry.example.com", "http://10.0.0.1"]
)
@pytest.mark.parametrize("there", ["127.0.0.1", "localhost", "[::1]", "127.1", "sub.localhost"])
def test_a_port_of_this_machine_gets_no_token_of_a_host_elsewhere(host: str, there: str) -> None:
    scheme = host.partition(":")[0]

    assert region(f"{scheme}://{there}:9000", host) == host


@pytest.mark.parametrize(
    "there", ["http://localhost:2", "https://127.0.0.1:2", "http://127.0.0.2:2"]
)
def test_a_port_of_this_machine_is_asked_only_by_the_name_that_host_has(there: str) -> None:
    assert region(there, "http://127.0.0.1:1") == "http://127.0.0.1:1"


def test_a_self_hosted_server_that_names_an_inner_port_is_asked_at_its_own() -> None:
    assert region(f"{OWN}:9000", OWN) == OWN


def test_on_this_machine_regions_are_ports() -> None:
    assert region("http://127.0.0.1:2", "http://127.0.0.1:1") == "http://127.0.0.1:2"
