"""The check of one package before its release, which also makes what is published."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from release.packages import Package, ReleaseError, tagged
from release.programs import TOOLS, UV, run


def check(tag: str, root: Path, folder: Path) -> Package:
    """Build the package that a tag releases, and check all of it.

    Afterwards `folder` holds `packages/`, with the wheel and the source archive, and `notes.md`,
    the text of the release. Whatever was in it is gone.

    Raises:
        ReleaseError: The package must not be released; the text says why.

    """
    package = tagged(tag, root)
    notes = package.notes()
    _try_out(package, *_build(package, root, folder))
    (folder / "notes.md").write_text(notes, encoding="utf-8")
    return package


def _build(package: Package, root: Path, folder: Path) -> tuple[Path, Path]:
    """Build the source archive, and from it the wheel, with the locked hatchling."""
    shutil.rmtree(folder, ignore_errors=True)
    build: list[str | Path] = [UV, "build", "--package", package.name]
    build += ["--quiet", "--no-build-isolation", "--python", sys.executable]
    run(*build, "--out-dir", folder / "packages", folder=root)
    [wheel] = folder.glob("packages/*.whl")
    [source] = folder.glob("packages/*.tar.gz")
    run(TOOLS / "twine", "check", "--strict", wheel, source)
    with tarfile.open(source) as archive:
        names = {Path(name).name for name in archive.getnames()}
    if missing := {"CHANGELOG.md", "LICENSE", "README.md"} - names:
        message = f"{source.name} lacks {' and '.join(sorted(missing))}"
        raise ReleaseError(message)
    return wheel, source


def _try_out(package: Package, wheel: Path, source: Path) -> None:
    """Install the archives, one after the other, into an environment that was empty; use each."""
    with tempfile.TemporaryDirectory() as name:
        programs = Path(name, "venv", "bin")
        run(UV, "venv", "--quiet", "--python", sys.executable, programs.parent)
        install = [str(UV), "pip", "install", "--quiet", "--python", str(programs / "python")]
        run(*install, wheel)
        _use(package, programs, wheel.name)
        # The dependencies are there by now.
        run(*install, "--no-deps", "--reinstall", source)
        _use(package, programs, source.name)


def _use(package: Package, programs: Path, archive: str) -> None:
    for command in package.commands:
        told = run(programs / command, "--version", folder=programs)
        if package.version not in told:
            message = f"{archive}: {command} --version says '{told.strip()}'"
            raise ReleaseError(message)
    if package.definition:
        about = run(programs / package.name, "--about", "--format=json", folder=programs)
        if json.loads(about)["name"] != package.name:
            message = f"{archive}: {package.name} --about names another plugin"
            raise ReleaseError(message)
