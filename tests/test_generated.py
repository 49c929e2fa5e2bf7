"""The files that `make generate` writes are up to date, and what they say can be used."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dotenv import dotenv_values
from ruamel.yaml import YAML

from generate.files import FILES
from generate.packages import PACKAGES, ROOT, accepts, required_groups, settings
from testing.hub import schema_of

if TYPE_CHECKING:
    from generate.packages import Package

# Settings of the SDK, and one that no program reads by itself.
RECIPES = {
    "TAP_SENTRY_AUDIT_FLATTENING_ENABLED",
    "TAP_SENTRY_AUDIT_FLATTENING_MAX_DEPTH",
    "AUDIT_SALT",
}

packages = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)


def definition(package: Package) -> dict[str, Any]:
    """The definition for Meltano Hub."""
    found: dict[str, Any] = content_of(package.folder / "hub" / f"{package.name}.yml")
    return found


def content_of(path: Path, text: str | None = None) -> Any:  # noqa: ANN401  (whatever YAML can hold)
    """The content of a YAML file, or the text of another one."""
    text = path.read_text("utf-8") if text is None else text
    return YAML(typ="safe", pure=True).load(text) if path.suffix == ".yml" else text


def other_targets() -> dict[str, str]:
    """The variables of the project's targets that others wrote, with their defaults."""
    names = {package.name for package in PACKAGES}
    loaders = content_of(ROOT / "meltano.yml")["plugins"]["loaders"]
    return {
        f"{loader['namespace']}_{setting['name']}".upper(): value
        if isinstance(value := setting.get("value", ""), str)
        else json.dumps(value)
        for loader in loaders
        if loader["name"] not in names
        for setting in loader["settings"]
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_generated_file_is_up_to_date(path: Path) -> None:
    expected = content_of(path, FILES[path](path.read_text("utf-8")))

    assert content_of(path) == expected, f"{path.relative_to(ROOT)} is stale: run `make generate`"


@packages
def test_a_definition_is_valid_for_the_hub(package: Package) -> None:
    assert list(schema_of(package.kind).iter_errors(definition(package))) == []


@pytest.mark.parametrize(
    "mistake",
    [
        {"quality": "excellent"},
        {"domain_url": "no address"},
        {"capabilities": ["magic"]},
        {"settings": [{"name": "host", "kind": "text"}]},
        {"unheard_of": True},
    ],
    ids=str,
)
def test_the_hub_would_find_a_mistake(mistake: dict[str, Any]) -> None:
    package, *_ = PACKAGES
    assert list(schema_of(package.kind).iter_errors(definition(package) | mistake))


@packages
def test_the_example_of_each_setting_is_valid(package: Package) -> None:
    own = {each.name: each.example for each in settings(package) if each.is_own}
    needed = [{name: own[name] for name in group} for group in required_groups(package)]

    assert [
        name
        for name, example in own.items()
        if not any(accepts(package, {**group, name: example}) for group in needed or [{}])
    ] == []


def test_each_line_of_the_example_environment_reads_as_the_value_it_shows() -> None:
    lines = re.findall(
        r"^# ([A-Z_]+=.*)$", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE
    )
    read = dotenv_values(stream=StringIO("\n".join(lines)))
    shown = {
        each.variable: each.example if each.default is None else each.default
        for package in PACKAGES
        for each in settings(package)
    }

    others = other_targets()
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in shown.items()
    }
    assert len(read) == len(lines) > 0
    ours = read.keys() & texts.keys() - RECIPES
    assert {name: read[name] for name in ours} == {name: texts[name] for name in ours}
    assert read.keys() - ours - RECIPES == set(others)
    assert {name: read[name] for name in others} == others


def test_the_others_of_the_example_environment_are_the_targets_of_the_project() -> None:
    assert {"TARGET_POSTGRES_PASSWORD", "TARGET_DUCKDB_PATH"} <= other_targets().keys()


def test_no_plugin_of_the_project_needs_the_hub() -> None:
    project = content_of(ROOT / "meltano.yml")
    plugins = [plugin for kind in project["plugins"].values() for plugin in kind]

    assert all({"namespace", "pip_url", "executable"} <= plugin.keys() for plugin in plugins)


@pytest.mark.slow
def test_meltano_select_changes_nothing_but_the_selection(tmp_path: Path) -> None:
    shutil.copy(ROOT / "meltano.yml", tmp_path)
    before = (tmp_path / "meltano.yml").read_text().splitlines()

    subprocess.run(
        [Path(sys.executable).with_name("meltano"), "select", "tap-sentry-audit", "projects", "*"],
        cwd=tmp_path,
        env={**os.environ, "MELTANO_HUB_URL": "http://127.0.0.1:9"},
        capture_output=True,
        check=True,
    )

    after = (tmp_path / "meltano.yml").read_text().splitlines()
    after.remove("    - projects.*")
    assert after == before
