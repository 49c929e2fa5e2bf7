"""The command line, as every Singer user knows it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from testing.fake_sentry import FakeSentry, Log, entries
from testing.sentry_tap import config, run_tap

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("option", ["--version", "--help", "--about", "--discover"])
def test_what_needs_no_settings_asks_for_none(option: str) -> None:
    run = run_tap({}, option)

    assert run.returncode == 0
    assert run.stdout
    assert run.log("ERROR") == run.log("WARNING") == []


def test_settings_come_from_the_environment() -> None:
    with FakeSentry({"one": Log(entries.even(2)), "two": Log(entries.even(2))}) as sentry:
        environment = {
            "TAP_SENTRY_AUDIT_AUTH_TOKEN": "token",
            "TAP_SENTRY_AUDIT_ORGANIZATIONS": '["one", "two"]',
            "TAP_SENTRY_AUDIT_HOST": sentry.url,
            "TAP_SENTRY_AUDIT_REQUESTS_PER_SECOND": "20",
            "TAP_SENTRY_AUDIT_REDACT_SECRETS": "false",
        }
        run = run_tap({}, "--config=ENV", environment=environment)

    assert run.returncode == 0
    assert len(run.ids) == 4


def test_a_user_agent_and_a_host_with_a_path_are_used() -> None:
    with FakeSentry({"acme": Log(entries.even(3))}, access_prefix="/tools/sentry") as sentry:
        host = f"{sentry.host}/tools/sentry/"
        run = run_tap(config(sentry, host=host, user_agent="our-siem/1"))

    assert len(run.ids) == 3
    assert [request.headers["user-agent"] for request in sentry.requests] == ["our-siem/1"]


def test_an_unknown_setting_is_warned_of() -> None:
    with FakeSentry({"acme": Log()}) as sentry:
        run = run_tap(config(sentry, start_dat="2026-01-01"))

    assert run.log("WARNING") == [
        "There is no setting 'start_dat'; it is ignored: did you mean start_date?",
    ]


# --- errors in plain words


def refused(*arguments: str, **variables: str) -> str:
    """Run the tap, and return the one line that says why it does not."""
    run = run_tap({}, *arguments, environment=variables)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    [line] = run.log("ERROR")
    return line


def test_a_variable_that_is_no_number_is_named() -> None:
    assert refused("--config=ENV", TAP_SENTRY_AUDIT_LOOKBACK_SECONDS="an hour").startswith(
        "lookback_seconds (from TAP_SENTRY_AUDIT_LOOKBACK_SECONDS) is 'an hour'"
    )


def test_a_config_file_that_is_not_json_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{")

    assert refused(f"--config={path}").startswith("A file given to the tap is not JSON: ")


def test_a_config_file_that_is_missing_is_an_error_with_its_name() -> None:
    line = refused("--config=/nowhere.json")

    assert line == "File at '/nowhere.json' was not found. Check what was given as --config"


def test_an_unexpected_error_is_named_without_its_text_which_may_quote_an_entry() -> None:
    row = entries.row("1", 0, note="nobody's business")
    maps = {"audit_logs": {"number": "int(note)"}}
    with FakeSentry({"acme": Log(rows=[row])}) as sentry:
        run = run_tap(config(sentry, stream_maps=maps))

    assert run.returncode == 1
    assert run.log("ERROR")[-1].startswith("Unexpected ")
    assert "business" not in run.stderr
    assert "Traceback" not in run.stderr


def test_a_target_that_goes_away_leaves_no_traceback() -> None:
    with FakeSentry({"acme": Log(entries.even(600))}) as sentry:
        shell = f"{sys.executable} -m tap_sentry_audit --config=ENV | head -n 3 > {os.devnull}"
        environment = {
            **os.environ,
            "TAP_SENTRY_AUDIT_AUTH_TOKEN": "token",
            "TAP_SENTRY_AUDIT_ORGANIZATION": "acme",
            "TAP_SENTRY_AUDIT_HOST": sentry.url,
        }
        done = subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-c", shell],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
