"""Every setting is checked, and OpenTelemetry's own variables stand in for those not given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

from target_otlp.config import SettingsError, parse_settings, remarks
from testing.otlp_target import settings

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://localhost:4318"
OTEL = "OTEL_EXPORTER_OTLP_"


def problem(environment: dict[str, str] | None = None, **config: object) -> str:
    """The one problem of settings."""
    with pytest.raises(SettingsError) as caught:
        parse_settings({"endpoint": URL} | config, environment or {})
    [found] = caught.value.problems
    return found


def test_defaults() -> None:
    read = settings(URL)

    assert (read.max_batch_size, read.max_batch_bytes) == (500, 4_000_000)
    assert (read.timeout_seconds, read.max_retry_seconds) == (10, 300)
    assert (read.compression, read.encoding, read.on_partial_success) == (
        "none",
        "protobuf",
        "fail",
    )
    assert (read.headers, read.resource) == ({}, {"service.name": "singer"})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://localhost:4318", "http://localhost:4318/v1/logs"),
        ("http://localhost:4318/", "http://localhost:4318/v1/logs"),
        ("https://example.com?key=1", "https://example.com/v1/logs?key=1"),
        ("https://example.com/otlp/v1/logs", "https://example.com/otlp/v1/logs"),
        ("https://example.com/insert/", "https://example.com/insert/"),
        (" https://[::1]:9/x ", "https://[::1]:9/x"),
        ("HTTP://localhost", "http://localhost/v1/logs"),
    ],
)
def test_an_endpoint_without_a_path_gets_the_one_of_otlp(given: str, expected: str) -> None:
    assert settings(given).endpoint == expected


@pytest.mark.parametrize(
    "url",
    [
        "localhost:4318",
        "grpc://localhost",
        "http://",
        "http://localhost:99999",
        "http://localhost:0",
        "http://[::1",
        "http://local host",
        "http://localhost/\x01",
        "http://a..b",
        f"http://{'a' * 64}",
        "http://user:hidden@localhost",
        "http://localhost/#here",
        7,
    ],
    ids=repr,
)
def test_an_endpoint_that_is_no_url_is_one_clear_problem(url: object) -> None:
    told = problem(endpoint=url)

    assert told.startswith("endpoint ")
    assert ": " in told
    assert "hidden" not in told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_batch_bytes", 999),
        ("max_batch_bytes", (64 << 20) + 1),
        ("max_retry_seconds", 86_401),
        ("timeout_seconds", 0),
        ("compression", "zstd"),
        ("compression", False),
        ("encoding", "xml"),
        ("on_partial_success", "ignore"),
        ("rejected_records_path", 5),
        ("rejected_records_path", "/no/such/folder/file"),
        ("max_rejected_records", 0),
        ("headers", "a=b"),
        ("headers", []),
        ("headers", {"a b": "c"}),
        ("headers", {"": "c"}),
        ("headers", {"Content-Type": "c"}),
        ("headers", {"Authorization": "hidden\n"}),
        ("headers", {"Authorization": " hidden"}),
        ("headers", {"Authorization": "hiddén"}),
        ("headers", {"Authorization: hidden": "x"}),
        ("headers", {"Authorization": ["hidden"]}),
        ("headers", {"hidden": 5}),
        ("headers", {"hidden.x": "a", "hidden": {"x": "b"}}),
        ("resource_attributes", "a=b"),
        ("mapping", []),
        ("mapping", {"a": []}),
        ("mapping", {"a": {"times": "$.a"}}),
        ("mapping", {"a": {"time": "a"}}),
        ("mapping", {"a": {"time": 5}}),
        ("mapping", {"a": {"time": ["$.a"]}}),
        ("mapping", {"a": {"id": []}}),
        ("mapping", {"a": {"id": ["$.a", None]}}),
        ("mapping", {"a": {"id": ["$.a", ["$.b"]]}}),
        ("mapping", {"a": {"attributes": "$.a"}}),
        ("mapping", {"a": {"attributes": {"b": "$..c"}}}),
        ("mapping", {"*": {"attributes": {"event.name": "$.c"}}}),
        ("mapping", {"a": {"attributes": {"b.c": "$.d", "b": {"c": "$.e"}}}}),
    ],
    ids=repr,
)
def test_a_value_that_cannot_be_used_is_one_clear_problem(name: str, value: object) -> None:
    told = problem({}, **{name: value})

    assert told.startswith(f"{name} ")
    assert ": " in told
    assert "hidd" not in told


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"ENDPOINT": "http://general:4318"}, "http://general:4318/v1/logs"),
        ({"ENDPOINT": "http://general/otlp/"}, "http://general/otlp/v1/logs"),
        ({"LOGS_ENDPOINT": "http://logs:4318"}, "http://logs:4318"),
        ({"LOGS_ENDPOINT": "http://logs/x", "ENDPOINT": "http://general"}, "http://logs/x"),
        ({"LOGS_ENDPOINT": "", "ENDPOINT": "http://general"}, "http://general/v1/logs"),
    ],
    ids=str,
)
def test_the_endpoint_can_come_from_opentelemetrys_variables(
    environment: dict[str, str], expected: str
) -> None:
    variables = {OTEL + name: value for name, value in environment.items()}

    assert parse_settings({}, variables).endpoint == expected
    assert parse_settings({"endpoint": "http://set/a"}, variables).endpoint == "http://set/a"


def test_every_variable_of_opentelemetry_works_and_what_is_for_logs_comes_first(
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca")
    shown = authority.issue_cert("localhost")
    shown.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    shown.private_key_pem.write_to_path(tmp_path / "key")
    variables = {
        f"{OTEL}HEADERS": "api-key=a%20b, x = y ,",
        f"{OTEL}TIMEOUT": "2500",
        f"{OTEL}COMPRESSION": "gzip",
        f"{OTEL}PROTOCOL": "http/json",
        f"{OTEL}CERTIFICATE": "/no/such/file",
        f"{OTEL}LOGS_CERTIFICATE": str(tmp_path / "ca"),
        f"{OTEL}CLIENT_CERTIFICATE": str(tmp_path / "cert"),
        f"{OTEL}CLIENT_KEY": str(tmp_path / "key"),
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=a,deployment.environment.name=prod",
        "OTEL_SERVICE_NAME": "b",
    }
    read = parse_settings({"endpoint": URL}, variables)

    assert read.headers == {"api-key": "a b", "x": "y"}
    assert read.timeout_seconds == 2.5
    assert (read.compression, read.encoding) == ("gzip", "json")
    assert read.certificate == str(tmp_path / "ca")
    assert (read.client_certificate, read.client_key) == (
        str(tmp_path / "cert"),
        str(tmp_path / "key"),
    )
    assert read.resource == {"service.name": "b", "deployment.environment.name": "prod"}


def test_the_batch_size_can_come_from_opentelemetrys_variable() -> None:
    variables = {"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "64"}

    assert parse_settings({"endpoint": URL}, variables).max_batch_size == 64
    assert parse_settings({"endpoint": URL, "max_batch_size": 7}, variables).max_batch_size == 7


@pytest.mark.parametrize("size", ["0", "1001", "many"])
def test_a_batch_size_that_cannot_be_used_is_named_with_opentelemetrys_variable(size: str) -> None:
    told = problem({"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": size})

    assert told.startswith("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE is ")
    assert told.endswith(": write a whole number from 1 to 1000")


@pytest.mark.parametrize("value", ["true", "TRUE", " True "])
def test_a_disabled_sdk_is_an_error(value: str) -> None:
    assert problem({"OTEL_SDK_DISABLED": value}).startswith("OTEL_SDK_DISABLED is true, ")


@pytest.mark.parametrize("value", ["", "false", "1", "yes"])
def test_an_sdk_that_is_not_disabled_is_none(value: str) -> None:
    assert parse_settings({"endpoint": URL}, {"OTEL_SDK_DISABLED": value})


def test_a_setting_wins_over_a_variable_even_one_that_cannot_be_used() -> None:
    variables = {f"{OTEL}{name}": "?" for name in ("TIMEOUT", "COMPRESSION", "HEADERS", "PROTOCOL")}
    config = {"timeout_seconds": 3, "compression": "none", "headers": {}, "encoding": "protobuf"}

    assert parse_settings({"endpoint": URL, **config}, variables).timeout_seconds == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENDPOINT", "localhost"),
        ("LOGS_ENDPOINT", "localhost"),
        ("HEADERS", "hidden"),
        ("HEADERS", "=hidden"),
        ("LOGS_HEADERS", "key=hidden%0A"),
        ("TIMEOUT", "10s"),
        ("TIMEOUT", "0"),
        ("COMPRESSION", "brotli"),
        ("PROTOCOL", "grpc"),
        ("PROTOCOL", "http"),
        ("CERTIFICATE", "/no/such/file"),
        ("CERTIFICATE", "x" * 5000),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(name: str, value: str) -> None:
    told = problem({OTEL + name: value}, endpoint=None if "ENDPOINT" in name else URL)

    assert told.startswith(f"{OTEL}{name} ")
    assert ": " in told
    assert "hidden" not in told


@pytest.mark.parametrize("name", ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"])
def test_a_file_that_is_no_certificate_is_found_before_the_first_request(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no certificate")
    told = problem({OTEL + name: str(tmp_path / "file")})

    assert told.startswith(OTEL + name)
    assert ": " in told


def test_a_secret_is_not_in_the_text_of_the_settings() -> None:
    read = settings("http://localhost/?key=hidden", headers={"Authorization": "hidden"})

    assert "hidden" not in repr(read)


def test_headers_that_go_elsewhere_unencrypted_are_remarked() -> None:
    config = {"endpoint": "http://otel.example.com", "headers": {"a": "b"}}

    assert remarks(config, parse_settings(config, {}), config) == [
        "endpoint: headers go to otel.example.com unencrypted; write https:// if it can do that"
    ]


@pytest.mark.parametrize("host", ["http://localhost", "http://127.0.0.1", "https://example.com"])
def test_headers_that_are_encrypted_or_stay_on_the_machine_are_not_remarked(host: str) -> None:
    config = {"endpoint": host, "headers": {"a": "b"}}

    assert remarks(config, parse_settings(config, {}), config) == []
