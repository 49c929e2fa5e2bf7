"""What people install: the wheel, the source archive and the command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
VERSION = version("tap-sentry-audit")
NAME = f"tap_sentry_audit-{VERSION}"


CODE = {
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.py", "py.typed")
    for path in (ROOT / "tap_sentry_audit").rglob(pattern)
}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True)
    return folder


def test_the_wheel_holds_the_code_and_nothing_else(dist: Path) -> None:
    about = ["METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"]
    with ZipFile(dist / f"{NAME}-py3-none-any.whl") as wheel:
        assert sorted(wheel.namelist()) == sorted(
            CODE | {f"{NAME}.dist-info/{name}" for name in about}
        )


def test_the_source_archive_holds_the_code_and_no_tests(dist: Path) -> None:
    about = [".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md"]
    about += ["hatch_build.py", "pyproject.toml"]
    with tarfile.open(dist / f"{NAME}.tar.gz") as archive:
        assert sorted(archive.getnames()) == sorted(f"{NAME}/{name}" for name in CODE | set(about))


def description(folder: Path, package: Path = ROOT, **variables: str) -> str:
    """What PyPI shows of a wheel that is built with these variables, of GitHub's none."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    given = {n: value for n, value in os.environ.items() if not n.startswith("GITHUB_")}
    subprocess.run(build, cwd=package, env=given | variables, check=True)
    [path] = folder.glob("*.whl")
    with ZipFile(path) as wheel:
        [name] = [each for each in wheel.namelist() if each.endswith(".dist-info/METADATA")]
        return wheel.read(name).decode().partition("\n\n")[2]


def links_in(shown: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", shown)


def test_links_lead_into_the_repository_that_releases_the_package(tmp_path: Path) -> None:
    links = links_in(description(tmp_path, GITHUB_REPOSITORY="acme/taps"))

    tagged = f"https://github.com/acme/taps/blob/tap-sentry-audit-v{VERSION}"
    assert f"{tagged}/docs/token.md" in links
    assert f"{tagged.replace('/blob/', '/raw/')}/docs/terminal.svg" in links
    assert [link for link in links if not link.startswith("https://")] == []


@pytest.mark.parametrize("name", ["target-otlp", "tap-captivateiq-audit"])
def test_links_of_a_plugin_lead_into_its_folder(name: str, tmp_path: Path) -> None:
    folder = ROOT / "plugins" / name
    links = links_in(description(tmp_path, folder, GITHUB_REPOSITORY="acme/taps"))

    tagged = f"https://github.com/acme/taps/blob/{name}-v{version(name)}"
    assert f"{tagged}/plugins/{name}/docs/settings.md" in links
    assert [link for link in links if not link.startswith("https://") or ".." in link] == []
    assert (folder / "hatch_build.py").read_text() == (ROOT / "hatch_build.py").read_text()


def test_the_readme_is_shown_as_it_is_where_the_repository_is_not_known(tmp_path: Path) -> None:
    assert description(tmp_path) == (ROOT / "README.md").read_text("utf-8")


def test_the_command_is_installed() -> None:
    command = Path(sys.executable).with_name("tap-sentry-audit")
    told = subprocess.check_output([command, "--version"], encoding="utf-8")

    assert told.startswith(f"tap-sentry-audit v{VERSION},")


def test_no_test_file_imports_another() -> None:
    files = [*ROOT.glob("tests/test_*.py"), *ROOT.glob("plugins/*/tests/test_*.py")]
    importing = re.compile(r"^\s*(from|import) (tests\.)?test_", re.MULTILINE)

    assert len(files) > 50
    assert [path.name for path in files if importing.search(path.read_text())] == []
