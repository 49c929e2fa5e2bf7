"""The command line, as every Singer user knows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tap_sentry_audit.config import DOCUMENTATION
from testing.fake_sentry import FakeSentry, Log, entries
from testing.sentry_tap import command, config, run_tap

if TYPE_CHECKING:
    from pathlib import Path


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


@pytest.mark.parametrize("test", ["", "--test "])
@pytest.mark.parametrize(
    ("pipe", "last"),
    [
        ("> /dev/full", "the messages cannot be written: No space left on device"),
        ("| true", "what reads the messages, such as the target, has ended: see"),
    ],
)
def test_what_cannot_be_written_is_the_last_line(
    pipe: str, last: str, test: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    with FakeSentry({"acme": Log(entries.even(3_000))}) as sentry:
        path.write_text(json.dumps(config(sentry)))
        line = f"{' '.join(command('--config', str(path)))} {test}{pipe}"
        done = subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-c", line], capture_output=True, check=False, text=True
        )

    assert done.returncode == 1
    assert last in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_help_names_the_documentation_and_an_example() -> None:
    told = " ".join(run_tap({}, "--help", environment={"COLUMNS": "200"}).stdout.split())

    assert "Example: tap-sentry-audit --config=ENV | target-jsonl" in told
    assert DOCUMENTATION in told
