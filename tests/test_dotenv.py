"""Settings from the environment, and from a `.env` file above the virtual environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testing.fake_sentry import FakeSentry, Log, entries

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "from-the-file"  # noqa: S105  (no token of anybody's)


@pytest.fixture(name="project", scope="module")
def _project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a virtual environment in it, into which the tap is installed."""
    folder = tmp_path_factory.mktemp("project")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    packages = next((folder / ".venv").glob("lib/*/site-packages"))
    here = Path(__file__).parent.parent
    # Where the SDK lies is what it searches from; all the rest is taken from where it is.
    installed = Path(sysconfig.get_path("purelib"))
    shutil.copytree(installed / "singer_sdk", packages / "singer_sdk")
    (packages / "others.pth").write_text(f"{here}\n{installed}\n")
    return folder


@pytest.fixture(name="sentry")
def _sentry() -> Iterator[FakeSentry]:
    logs = {slug: Log(entries.even(3, seed=seed)) for seed, slug in enumerate(["acme", "beta"])}
    with FakeSentry(logs, tokens={"token": "ok", SECRET: "ok"}) as sentry:
        yield sentry


def run(project: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if name in {"PATH", "HOME"}}
    environment |= {f"TAP_SENTRY_AUDIT_{name}": text for name, text in variables.items()}
    return subprocess.run(
        [project / ".venv/bin/python", "-m", "tap_sentry_audit", "--config=ENV"],
        env=environment,
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_environment_wins_over_a_file_and_the_log_names_the_file(
    project: Path, sentry: FakeSentry
) -> None:
    path = project / ".env"
    path.write_text(f"TAP_SENTRY_AUDIT_ORGANIZATION=beta\nTAP_SENTRY_AUDIT_AUTH_TOKEN={SECRET}\n")
    done = run(project, ORGANIZATION="acme", HOST=sentry.url)

    assert done.returncode == 0, done.stderr
    assert {request.organization for request in sentry.requests} == {"acme"}
    assert sentry.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert f"Settings that the environment lacks come from {path}\n" in done.stderr
    assert SECRET not in done.stderr + done.stdout


def test_without_a_file_none_is_named(project: Path, sentry: FakeSentry) -> None:
    (project / ".env").unlink(missing_ok=True)
    done = run(project, ORGANIZATION="acme", HOST=sentry.url, AUTH_TOKEN="token")  # noqa: S106

    assert done.returncode == 0, done.stderr
    assert ".env" not in done.stderr


def test_a_file_that_cannot_be_read_is_one_clear_error(project: Path, sentry: FakeSentry) -> None:
    path = project / ".env"
    path.write_bytes(b"TAP_SENTRY_AUDIT_ORGANIZATION=\xff\n")
    done = run(project, HOST=sentry.url)

    assert done.returncode == 1
    assert f"{path} cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
    assert not sentry.requests
