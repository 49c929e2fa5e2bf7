"""What a tag such as target-otlp-v0.2.0 releases: a package, its version, and its notes."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class ReleaseError(Exception):
    """A package cannot be released as it is; the text says why."""


@dataclass(frozen=True)
class Package:
    """A package of the uv workspace, as its pyproject.toml describes it."""

    name: str
    version: str
    folder: Path
    commands: tuple[str, ...]

    @property
    def tag(self) -> str:
        """The tag that releases this version."""
        return f"{self.name}-v{self.version}"

    @property
    def definition(self) -> Path | None:
        """The definition for Meltano Hub, which only Singer plugins have."""
        path = self.folder / "hub" / f"{self.name}.yml"
        return path if path.exists() else None

    def notes(self) -> str:
        """Return what CHANGELOG.md says of this version: the text below `## 0.2.0 - 2026-12-01`.

        Raises:
            ReleaseError: There is no such section, or it has no date or no text.

        """
        path = self.folder / "CHANGELOG.md"
        if not path.exists():
            message = f"{self.name} has no CHANGELOG.md"
            raise ReleaseError(message)
        wanted = f"## {self.version} - YYYY-MM-DD"
        for heading, text in _sections(path.read_text(encoding="utf-8")):
            version, _, day = heading.removeprefix("## ").partition(" - ")
            if version != self.version:
                continue
            if not _is_date(day):
                message = f"the changelog of {self.name} says '{heading}' where '{wanted}' belongs"
                raise ReleaseError(message)
            if not text:
                message = f"the changelog of {self.name} says nothing about {self.version}"
                raise ReleaseError(message)
            return f"{text}\n"
        message = f"the changelog of {self.name} has no section '{wanted}'"
        raise ReleaseError(message)


def packages(root: Path) -> list[Package]:
    """Return the package in the root folder, then the members of its workspace by folder."""
    workspace = _pyproject(root)["tool"]["uv"]["workspace"]
    members = {folder for pattern in workspace["members"] for folder in root.glob(pattern)}
    folders = [folder for folder in sorted(members) if (folder / "pyproject.toml").exists()]
    return [_package(folder) for folder in (root, *folders)]


def tagged(tag: str, root: Path) -> Package:
    """Return the package that a tag releases.

    Raises:
        ReleaseError: The tag names no package, or another version than the package has.

    """
    name, _, version = tag.rpartition("-v")
    known = {package.name: package for package in packages(root)}
    if name not in known:
        message = f"the tag '{tag}' is not one of {', '.join(f'{each}-v…' for each in known)}"
        raise ReleaseError(message)
    if known[name].version != version:
        message = f"the tag '{tag}' is not the version of {name}, {known[name].version}"
        raise ReleaseError(message)
    return known[name]


def _pyproject(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def _package(folder: Path) -> Package:
    project = _pyproject(folder)["project"]
    return Package(project["name"], project["version"], folder, tuple(project.get("scripts", ())))


def _sections(changelog: str) -> Iterator[tuple[str, str]]:
    """Yield the heading of each section and the text below it."""
    for section in re.split(r"^(?=## )", changelog, flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        yield heading.strip(), text.strip()


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
