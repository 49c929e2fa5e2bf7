"""The command line, as every Singer user knows it."""

from __future__ import annotations

import os
import subprocess
import sys

from testing.fake_sentry import FakeSentry, Log, entries
from testing.sentry_tap import config, run_tap


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
