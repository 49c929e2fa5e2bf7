"""The check of one package before its release, which also makes what is published."""

from __future__ import annotations

import json
import shutil
import sys
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
    archives = _build(package, root, folder)
    for archive in archives:
        _try_out(package, archive)
    (folder / "notes.md").write_text(notes, encoding="utf-8")
    return package


def _build(package: Package, root: Path, folder: Path) -> list[Path]:
    """Build the source archive, and from it the wheel, with the locked hatchling."""
    shutil.rmtree(folder, ignore_errors=True)
    build = [UV, "build", "--quiet", "--no-build-isolation", "--python", sys.executable]
    run(*build, "--package", package.name, "--out-dir", folder / "packages", folder=root)
    archives = [*folder.glob("packages/*.whl"), *folder.glob("packages/*.tar.gz")]
    run(TOOLS / "twine", "check", "--strict", *archives)
    return archives


def _try_out(package: Package, archive: Path) -> None:
    """Install an archive into an empty environment, and start its commands there."""
    with tempfile.TemporaryDirectory() as name:
        programs = Path(name, "venv", "bin")
        run(UV, "venv", "--quiet", "--python", sys.executable, programs.parent)
        run(UV, "pip", "install", "--quiet", "--python", programs / "python", archive)
        for command in package.commands:
            told = run(programs / command, "--version", folder=Path(name))
            if package.version not in told:
                message = f"{archive.name}: {command} --version says '{told.strip()}'"
                raise ReleaseError(message)
        if package.definition:
            about = run(programs / package.name, "--about", "--format=json", folder=Path(name))
            if json.loads(about)["name"] != package.name:
                message = f"{archive.name}: {package.name} --about names another plugin"
                raise ReleaseError(message)
