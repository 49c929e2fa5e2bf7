""".env.example: the environment variables of the plugins in the Meltano project."""

from __future__ import annotations

import json
import shlex
import textwrap
from typing import TYPE_CHECKING

from ruamel.yaml import YAML

from generate.packages import PACKAGES, ROOT, required_groups, settings

if TYPE_CHECKING:
    from generate.packages import Package, Setting

_HEAD = """\
# Copy to .env, which git does not see. Meltano reads it.
# Lines that start with # show the default or an example.
# Written by `make generate`.
"""
_WIDTH = 98
_RECIPES = """\
# --- recipes of the documentation ---

# Flatten entries: docs/targets/csv.md.
# TAP_SENTRY_AUDIT_FLATTENING_ENABLED=true
# TAP_SENTRY_AUDIT_FLATTENING_MAX_DEPTH=1

# What hashes are salted with: docs/privacy.md.
# AUDIT_SALT='a long random text'
"""


def example(*packages: Package) -> str:
    """Return an example with the settings of each package, and of the project's other targets.

    The first package's have to be filled in.

    What a run of that package needs is empty. All else is a comment with the default, if there is
    one, or with an example.
    """
    needed = required_groups(packages[0])[0]
    parts = [_HEAD]
    for package in packages:
        parts.append(f"# --- {package.name} ---\n")
        for setting in settings(package):
            if setting.is_own:
                is_needed = package is packages[0] and setting.name in needed
                parts.append(f"{_comment(setting.description)}\n{_line(setting, is_needed)}\n")
    return "\n".join([*parts, *_other_targets(), _RECIPES])


def _other_targets() -> list[str]:
    """Return the settings of targets that others wrote, as meltano.yml has them."""
    ours = {package.name for package in PACKAGES}
    project = YAML(typ="safe", pure=True).load(ROOT / "meltano.yml")
    parts = []
    for target in project["plugins"]["loaders"]:
        if target["name"] not in ours:
            parts.append(f"# --- {target['name']} ---\n")
            for setting in target["settings"]:
                name = f"{target['namespace']}_{setting['name']}".upper()
                value = setting.get("value", "")
                text = value if isinstance(value, str) else json.dumps(value)
                shown = shlex.quote(text) if text else ""
                parts.append(f"{_comment(setting['description'])}\n# {name}={shown}\n")
    return parts


def _comment(text: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )


def _line(setting: Setting, is_needed: bool) -> str:  # noqa: FBT001  (private)
    if is_needed:
        return f"{setting.variable}="
    value = setting.example if setting.default is None else setting.default
    text = value if isinstance(value, str) else json.dumps(value)
    return f"# {setting.variable}={shlex.quote(text)}"
