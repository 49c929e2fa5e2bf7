"""The command line, as every Singer user knows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.sentry_tap import config, run_tap, selecting

if TYPE_CHECKING:
    from collections.abc import Callable

    from testing.forked import Message, Run


def test_about_lists_every_setting_and_which_one_is_secret() -> None:
    about = json.loads(run_tap({}, "--about", "--format=json").stdout)

    properties = about["settings"]["properties"]
    own = list(properties)[:13]
    assert own == [
        "auth_token",
        "organization",
        "organizations",
        "host",
        "start_date",
        "backfill",
        "end_date",
        "lookback_seconds",
        "requests_per_second",
        "max_concurrent_requests",
        "request_timeout_seconds",
        "user_agent",
        "redact_secrets",
    ]
    assert [name for name in own if properties[name].get("secret")] == ["auth_token"]
    assert {name: properties[name]["default"] for name in own if "default" in properties[name]} == {
        "host": "https://sentry.io",
        "backfill": True,
        "lookback_seconds": 3600,
        "requests_per_second": 40,
        "max_concurrent_requests": 12,
        "request_timeout_seconds": 60,
        "redact_secrets": True,
    }


@pytest.mark.parametrize("option", ["--version", "--help", "--about", "--discover"])
def test_what_needs_no_settings_asks_for_none(option: str) -> None:
    run = run_tap({}, option)

    assert run.returncode == 0
    assert run.stdout
    assert not run.log("ERROR")
    assert not run.log("WARNING")


def test_the_installed_command_is_there() -> None:
    command = Path(sys.executable).with_name("tap-sentry-audit")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)

    assert done.stdout.startswith(f"tap-sentry-audit v{version('tap-sentry-audit')}, ")


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


def read_acme(catalog: Message | None, *arguments: str) -> Run:
    inventories = {"acme": Inventory.made(members=2, teams=2)}
    with FakeSentry({"acme": Log(entries.even(5))}, inventories=inventories) as sentry:
        run = run_tap(config(sentry), *arguments, catalog=catalog)
    assert run.returncode == 0, run.stderr
    return run


def without_audit_logs() -> Message:
    """A catalog that does not even name the audit log."""
    catalog = selecting("members", "teams")
    streams = [stream for stream in catalog["streams"] if stream["stream"] != "audit_logs"]
    return catalog | {"streams": streams}


@pytest.mark.parametrize(
    "catalog",
    [partial(selecting, "members", "teams"), selecting, without_audit_logs],
    ids=["others", "none", "unnamed"],
)
def test_a_run_without_the_audit_log_warns_once_and_says_how_to_select_it(
    catalog: Callable[[], Message],
) -> None:
    [line] = read_acme(catalog()).log("WARNING")

    assert "audit_logs is not selected" in line
    assert "meltano select tap-sentry-audit audit_logs '*'" in line


@pytest.mark.parametrize("has_catalog", [False, True])
def test_a_run_with_the_audit_log_does_not_warn_of_it(has_catalog: bool) -> None:  # noqa: FBT001
    run = read_acme(selecting("audit_logs") if has_catalog else None)

    assert len(run.records) == 5
    assert run.log("WARNING") == []


@pytest.mark.parametrize("option", ["--discover", "--test"])
def test_only_a_run_warns_that_the_audit_log_is_not_selected(option: str) -> None:
    assert read_acme(selecting("members"), option).log("WARNING") == []


def test_the_user_agent_is_the_taps_name_and_version() -> None:
    with FakeSentry({"acme": Log()}) as sentry:
        run_tap(config(sentry))
        run_tap(config(sentry, user_agent="our-siem/1"))

    assert [request.headers["user-agent"] for request in sentry.requests] == [
        f"tap-sentry-audit/{version('tap-sentry-audit')}",
        "our-siem/1",
    ]


def test_a_path_prefix_of_the_host_is_kept() -> None:
    with FakeSentry({"acme": Log(entries.even(3))}, access_prefix="/tools/sentry") as sentry:
        run = run_tap(config(sentry, host=f"{sentry.host}/tools/sentry/"))

    assert len(run.ids) == 3


def test_a_target_that_went_away_leaves_no_traceback() -> None:
    with FakeSentry({"acme": Log(entries.even(3000))}) as sentry:
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
