"""What people install: the wheel, the source archive and the command."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
VERSION = version("tap-sentry-audit")
NAME = f"tap_sentry_audit-{VERSION}"


def run(*command: str | Path, **environment: str) -> str:
    return subprocess.check_output(
        command, cwd=ROOT, env={**os.environ, **environment}, encoding="utf-8"
    )


CODE = {
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.py", "py.typed")
    for path in (ROOT / "tap_sentry_audit").rglob(pattern)
}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder)
    return folder


def test_the_wheel_holds_the_code_and_nothing_else(dist: Path) -> None:
    about = ["METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"]
    with ZipFile(dist / f"{NAME}-py3-none-any.whl") as wheel:
        assert sorted(wheel.namelist()) == sorted(
            CODE | {f"{NAME}.dist-info/{name}" for name in about}
        )


def test_the_source_archive_holds_the_code_and_no_tests(dist: Path) -> None:
    about = [".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"]
    with tarfile.open(dist / f"{NAME}.tar.gz") as archive:
        assert sorted(archive.getnames()) == sorted(f"{NAME}/{name}" for name in CODE | set(about))


@pytest.mark.slow
def test_the_installed_wheel_brings_the_command(dist: Path, tmp_path: Path) -> None:
    venv.create(tmp_path, with_pip=True)
    wheel = dist / f"{NAME}-py3-none-any.whl"
    run(tmp_path / "bin" / "pip", "install", "--no-index", "--no-deps", wheel)

    lent = sysconfig.get_path("purelib")  # for the dependencies
    told = run(tmp_path / "bin" / "tap-sentry-audit", "--version", PYTHONPATH=lent)

    assert told.startswith(f"tap-sentry-audit v{VERSION},")


def test_the_command_is_installed() -> None:
    told = run(Path(sys.executable).with_name("tap-sentry-audit"), "--version")

    assert told.startswith(f"tap-sentry-audit v{VERSION},")
