"""Definitions of plugins for Meltano: for its Hub, and in the project's meltano.yml."""

from __future__ import annotations

import json
import sys
from io import StringIO
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from generate.packages import PACKAGES, about, required_groups, settings, streams

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from generate.packages import Package, Setting

Definition = dict[str, Any]

_NOTE = "# Written by `make generate` from the code and from text.yaml.\n"


def hub_definition(package: Package) -> str:
    """Return a package's definition for Meltano Hub."""
    selected = [f"{stream.name}.*" for stream in streams(package) if stream.selected_by_default]
    definition = {
        "name": package.name,
        **YAML().load(package.folder / "hub" / "text.yaml"),
        "pip_url": package.name,
        "supported_python_versions": about(package)["supported_python_versions"],
        **({"select": selected} if selected else {}),
        **_from_code(package),
    }
    return _NOTE + _dumped(definition)


def project(present: str) -> str:
    """Return meltano.yml with what the code says of our plugins up to date.

    All else stays. Keys have the order, and lines the length, that Meltano gives them: otherwise
    `meltano select` would change more of the file than the selection.
    """
    content = YAML().load(present)
    for package in PACKAGES:
        for plugin in content["plugins"].get(package.kind, ()):
            if plugin["name"] == package.name:
                plugin.update(_from_code(package))
                if package.examples:
                    plugin["config"] = _together(package.examples)
    return _dumped(content)


def _together(paths: Iterable[Path]) -> Definition:
    found: Definition = {}
    for path in paths:
        for name, value in json.loads(path.read_text("utf-8")).items():
            found.setdefault(name, {}).update(value)
    return found


def _from_code(package: Package) -> Definition:
    capabilities = sorted(about(package)["capabilities"])
    groups = required_groups(package)
    return {
        "name": package.name,
        "namespace": package.namespace,
        "executable": package.name,
        "capabilities": capabilities,
        **({"settings_group_validation": groups} if groups else {}),
        "settings": [_setting(each) for each in settings(package)],
        **({"log_parser": "singer-sdk"} if "structured-logging" in capabilities else {}),
    }


def _setting(setting: Setting) -> Definition:
    """Return a setting with its keys in Meltano's order (meltano/core/setting_definition.py)."""
    return {
        "name": setting.name,
        "kind": setting.kind,
        **({} if setting.default is None else {"value": setting.default}),
        "label": setting.title,
        "description": setting.description,
        **({"sensitive": True} if setting.is_secret else {}),
    }


def _dumped(content: Definition) -> str:
    yaml = YAML()
    yaml.width = sys.maxsize
    stream = StringIO()
    yaml.dump(content, stream)
    return stream.getvalue()
