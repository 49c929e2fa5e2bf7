"""The generated files."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from generate import definitions, environment, tables
from generate.packages import PACKAGES, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from generate.packages import Package

_TAP, _TARGET, _CAPTIVATEIQ, _MAPPER = PACKAGES


def _definition(package: Package) -> Callable[[str], str]:
    return lambda _: definitions.hub_definition(package)


FILES: dict[Path, Callable[[str], str]] = {
    ROOT / "meltano.yml": definitions.project,
    ROOT / ".env.example": lambda _: environment.example(_TAP, _TARGET),
    ROOT / "docs/events.md": partial(tables.filled, _TAP),
    ROOT / "docs/fleet.md": partial(tables.filled, _TAP),
    ROOT / "docs/settings.md": partial(tables.filled, _TAP),
    ROOT / "docs/streams.md": partial(tables.filled, _TAP),
    ROOT / "README.md": partial(tables.filled, _TAP),
    ROOT / "detections/docs/list.md": partial(tables.filled, _TAP),
    **{
        each.folder / "docs/settings.md": partial(tables.filled, each)
        for each in (_TARGET, _CAPTIVATEIQ, _MAPPER)
    },
    **{each.folder / "hub" / f"{each.name}.yml": _definition(each) for each in PACKAGES},
}
"""For each file a function that turns its present text into the one that it should have."""
