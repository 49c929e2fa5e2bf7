"""The packages, and what their code says of them."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from dataclasses import dataclass, fields
from functools import cache
from importlib import import_module
from io import StringIO
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from singer_sdk import Tap

from mapper_sentry_ocsf.mapper import MapperSentryOcsf
from tap_captivateiq_audit.tap import TapCaptivateiqAudit
from tap_sentry_audit.tap import TapSentryAudit
from target_otlp.target import TargetOtlp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from singer_sdk import Stream
    from singer_sdk.plugin_base import PluginBase

_MOST_REQUIRED = 3
"""The largest group of settings that a package may require."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as --about shows it, and what the package's table adds for documentation.

    `variable` is its environment variable, `kind` its JSON type. `range` is the least and the most
    of a number, `example` a JSON value; a setting of the SDK, not `is_own`, has neither.
    """

    name: str
    variable: str
    title: str
    kind: str
    is_secret: bool
    default: Any
    description: str
    is_own: bool
    example: Any
    range: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Package:
    """A package: its folder, its kind in Meltano's words (`extractors`, …), and its plugin class.

    The package's module `config` has the table `Settings` and `parse_settings`. `examples` are
    files whose settings, all of them objects, the Meltano project gives to the plugin together.
    """

    folder: Path
    kind: str
    plugin: type[PluginBase]
    examples: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The name of the package, and of its command."""
        return self.plugin.name

    @property
    def namespace(self) -> str:
        """The name of the Python package, and Meltano's namespace."""
        return self.name.replace("-", "_")

    @property
    def config(self) -> ModuleType:
        """The module with the table of settings."""
        return import_module(f"{self.namespace}.config")


ROOT = Path(__file__).resolve().parents[1]
_OTLP = ROOT / "plugins/target-otlp"
_OCSF = ROOT / "plugins/mapper-sentry-ocsf"

PACKAGES = (
    Package(ROOT, "extractors", TapSentryAudit),
    Package(
        _OTLP,
        "loaders",
        TargetOtlp,
        (_OTLP / "examples/sentry-audit.json", _OCSF / "examples/target-otlp.json"),
    ),
    Package(ROOT / "plugins/tap-captivateiq-audit", "extractors", TapCaptivateiqAudit),
    Package(_OCSF, "mappers", MapperSentryOcsf),
)


@cache
def about(package: Package) -> dict[str, Any]:
    """Return what `--about --format=json` shows."""
    with redirect_stdout(StringIO()) as shown:
        package.plugin.print_about("json")
    found: dict[str, Any] = json.loads(shown.getvalue())
    return found


def settings(package: Package) -> list[Setting]:
    """Return the settings of a package, its own before the SDK's."""
    table: dict[str, Mapping[str, Any]] = {
        row.name: row.metadata for row in fields(package.config.Settings)
    }
    return [
        Setting(
            name=name,
            variable=f"{package.namespace}_{name}".upper(),
            title=found["title"],
            kind=found["type"][0],
            is_secret=found.get("secret", False),
            default=found.get("default"),
            description=found["description"],
            is_own=name in table,
            example=table.get(name, {}).get("example"),
            range=table.get(name, {}).get("range"),
        )
        for name, found in about(package)["settings"]["properties"].items()
    ]


def streams(package: Package) -> list[Stream]:
    """Return the streams of a tap; other plugins have none."""
    if not issubclass(package.plugin, Tap):
        return []
    return list(package.plugin(config={}, validate_config=False).discover_streams())


def required_groups(package: Package) -> list[list[str]]:
    """Return each smallest group of settings with which the package runs, tried with examples."""
    examples = {each.name: each.example for each in settings(package) if each.is_own}
    groups: list[list[str]] = []
    for size in range(_MOST_REQUIRED + 1):
        for names in combinations(examples, size):
            if not any(set(group) <= set(names) for group in groups) and accepts(
                package, {name: examples[name] for name in names}
            ):
                groups.append(list(names))
    return [group for group in groups if group]


def accepts(package: Package, config: dict[str, Any]) -> bool:
    """Whether the package runs with these settings and with no environment."""
    try:
        package.config.parse_settings(config)
    except package.config.SettingsError:
        return False
    return True
