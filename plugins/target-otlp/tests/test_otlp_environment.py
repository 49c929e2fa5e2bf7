"""OpenTelemetry's variables in a `.env` file, and variables that are empty."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trustme

from testing import forked
from testing.fake_receiver import FakeReceiver
from testing.otlp_target import ENVIRONMENT, record, run_target_in, schema, state

if TYPE_CHECKING:
    from pathlib import Path

    from testing.forked import Run


OTHERS = dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), "")


def run_below(folder: Path, **environment: str) -> Run:
    """Send one record."""
    lines = "".join(f"{json.dumps(line)}\n" for line in [schema(), record(1), state(1)])
    variables = {**ENVIRONMENT, **environment}
    return forked.run_below(folder, "target_otlp", ["--config=ENV"], variables, lines.encode())


def test_the_environment_wins_over_opentelemetrys_variables_in_a_dotenv_file(
    tmp_path: Path,
) -> None:
    prefix = "OTEL_EXPORTER_OTLP_"
    with FakeReceiver() as server, FakeReceiver() as other:
        (tmp_path / ".env").write_text(
            f"{prefix}ENDPOINT={other.url}/hidden2\n{prefix}HEADERS=api-key=hidden1\n"
        )
        run = run_below(tmp_path, **{f"{prefix}ENDPOINT": server.url})

    assert (run.returncode, run.stdout) == (0, '{"done": 1}\n')
    assert [request.headers["api-key"] for request in server.requests] == ["hidden1"]
    assert not other.requests
    assert "hidden" not in run.stderr


def test_a_disabled_sdk_ends_the_run_before_the_first_request() -> None:
    with FakeReceiver() as server:
        ended = run_target_in(
            {"OTEL_SDK_DISABLED": "true"}, [schema(), record(1)], endpoint=server.url
        )

        assert not server.requests
    assert ended.returncode == 1
    assert ended.log("ERROR")[0].startswith("OTEL_SDK_DISABLED is true, ")


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_private_authority_can_be_named_as_for_the_taps(variable: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with FakeReceiver(tls=authority) as server:
        ended = run_target_in(
            OTHERS | {variable: str(tmp_path / "ca.pem")},
            [schema(), record(1), state(1)],
            endpoint=server.url,
        )

    assert (ended.returncode, ended.stdout) == (0, '{"done": 1}\n')


def test_a_certificate_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    ended = run_target_in(
        OTHERS | {"SSL_CERT_FILE": str(tmp_path / "missing")},
        [],
        endpoint="https://localhost",
    )

    assert ended.returncode == 1
    assert ended.log("ERROR")[0].startswith("SSL_CERT_FILE is ")


def test_a_variable_that_is_empty_in_the_environment_is_not_taken_from_the_file(
    tmp_path: Path,
) -> None:
    with FakeReceiver() as server:
        (tmp_path / ".env").write_text(f"TARGET_OTLP_ENDPOINT={server.url}\n")
        run = run_below(tmp_path, TARGET_OTLP_ENDPOINT="")

        assert not server.requests
    assert run.returncode == 1
    assert run.log("ERROR")[0].startswith("endpoint is missing: ")
