"""What can be released under which tag, and what cannot."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from release.check import check
from release.packages import Package, ReleaseError, packages, tagged

ROOT = Path(__file__).parents[1]

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{name}"
version = "{version}"
description = "A package."
requires-python = ">=3.11"
readme = "README.md"
license-files = ["LICENSE"]
[project.scripts]
{name} = "{module}:main"
"""

WORKSPACE = """
[tool.uv.workspace]
members = ["plugins/*"]
"""

CHANGELOG = """# Changelog

## Unreleased

- Not yet.

## 0.2.0 - 2026-12-01

### Fixed

- A leak.

## 0.1.0 - 2026-11-01

- The first version.
"""


def write_package(folder: Path, name: str, version: str, changelog: str = CHANGELOG) -> Path:
    """Write a package whose command says its version."""
    module = name.replace("-", "_")
    (folder / module).mkdir(parents=True)
    content = {
        "pyproject.toml": PYPROJECT.format(name=name, version=version, module=module),
        "CHANGELOG.md": changelog,
        "LICENSE": "Free.",
        "README.md": "A package.",
        f"{module}/__init__.py": f"def main() -> None:\n    print('{name} v{version}')\n",
    }
    for file, text in content.items():
        (folder / file).write_text(text)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a workspace of two packages."""
    write_package(tmp_path, "tap-a", "1.0.0")
    with (tmp_path / "pyproject.toml").open("a") as file:
        file.write(WORKSPACE)
    write_package(tmp_path / "plugins" / "target-b", "target-b", "0.2.0")
    return tmp_path


def test_a_tag_names_a_package_and_its_version(root: Path) -> None:
    assert tagged("target-b-v0.2.0", root).folder == root / "plugins" / "target-b"
    assert tagged("tap-a-v1.0.0", root).folder == root


def test_a_package_that_joins_the_workspace_can_be_released(root: Path) -> None:
    write_package(root / "plugins" / "mapper-c", "mapper-c", "0.1.0")

    assert tagged("mapper-c-v0.1.0", root).name == "mapper-c"


@pytest.mark.parametrize(
    "tag", ["v0.2.0", "target-b", "target-b-0.2.0", "-v0.2.0", "target-d-v0.2.0", "target_b-v0.2.0"]
)
def test_a_tag_without_the_name_of_a_package_is_refused(root: Path, tag: str) -> None:
    with pytest.raises(ReleaseError, match="is not one of tap-a-v…, target-b-v…"):
        tagged(tag, root)


@pytest.mark.parametrize("tag", ["target-b-v0.2.1", "target-b-v0.2", "tap-a-v0.2.0"])
def test_a_tag_of_another_version_is_refused(root: Path, tag: str) -> None:
    with pytest.raises(ReleaseError, match="is not the version of"):
        tagged(tag, root)


def test_the_notes_are_the_section_of_the_version_and_nothing_else(root: Path) -> None:
    assert tagged("target-b-v0.2.0", root).notes() == "### Fixed\n\n- A leak.\n"


@pytest.mark.parametrize(
    ("changelog", "problem"),
    [
        ("## Unreleased\n\n- A leak.\n", "has no section '## 0.2.0 - YYYY-MM-DD'"),
        ("## 0.2.01 - 2026-12-01\n\n- A leak.\n", "has no section"),
        ("## 0.2.0\n\n- A leak.\n", "says '## 0.2.0' where"),
        ("## 0.2.0 - soon\n\n- A leak.\n", "says '## 0.2.0 - soon' where"),
        ("## 0.2.0 - 2026-13-01\n\n- A leak.\n", "says '## 0.2.0 - 2026-13-01' where"),
        ("## 0.2.0 - 2026-12-01\n\n## 0.1.0 - 2026-11-01\n\n- A leak.\n", "says nothing about"),
    ],
)
def test_a_version_without_a_dated_section_in_the_changelog_is_refused(
    root: Path, changelog: str, problem: str
) -> None:
    (root / "plugins" / "target-b" / "CHANGELOG.md").write_text(changelog)

    with pytest.raises(ReleaseError, match=problem):
        tagged("target-b-v0.2.0", root).notes()


def test_a_package_without_a_changelog_is_refused(root: Path) -> None:
    (root / "CHANGELOG.md").unlink()

    with pytest.raises(ReleaseError, match="tap-a has no CHANGELOG"):
        tagged("tap-a-v1.0.0", root).notes()


each_package = pytest.mark.parametrize("package", packages(ROOT), ids=lambda each: each.name)


@each_package
def test_each_package_has_notes_of_its_version(package: Package) -> None:
    assert package.notes()


@each_package
def test_the_tag_of_each_package_starts_the_release(package: Package) -> None:
    workflow = YAML(typ="safe", pure=True).load(ROOT / ".github" / "workflows" / "release.yml")

    # YAML 1.2 takes `on` for the text that GitHub means.
    assert any(fnmatchcase(package.tag, pattern) for pattern in workflow["on"]["push"]["tags"])


@pytest.mark.slow
def test_a_package_that_works_gets_its_archives_and_its_notes(root: Path, tmp_path: Path) -> None:
    check("target-b-v0.2.0", root, tmp_path / "out")

    assert sorted(path.name for path in tmp_path.glob("out/packages/*.[wt]*")) == [
        "target_b-0.2.0-py3-none-any.whl",
        "target_b-0.2.0.tar.gz",
    ]
    assert (tmp_path / "out" / "notes.md").read_text() == "### Fixed\n\n- A leak.\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("target_b/__init__.py", "print(", "import nothing; print(", "No module named 'nothing'"),
        ("target_b/__init__.py", "v0.2.0", "v0.1.0", "says 'target-b v0.1.0'"),
        ("pyproject.toml", 'readme = "README.md"\n', "", "`long_description` missing"),
        (".gitignore", "", "CHANGELOG.md\n", "lacks CHANGELOG.md"),
    ],
)
def test_a_package_that_does_not_work_for_others_is_refused(
    root: Path, file: str, old: str, new: str, problem: str
) -> None:
    path = root / "plugins" / "target-b" / file
    text = path.read_text() if path.exists() else ""
    path.write_text(text.replace(old, new, 1))

    with pytest.raises(ReleaseError, match=problem):
        check("target-b-v0.2.0", root, root / "out")
