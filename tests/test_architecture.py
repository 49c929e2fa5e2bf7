"""The floors of the house: imports point down only, and the lower floors know no Singer."""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.resources import files
from pathlib import Path

import pytest

PACKAGE = "tap_sentry_audit"
ROOT = Path(str(files(PACKAGE)))

FLOORS = ("__main__", "command", "tap", "streams", "audit_log", "api", "signals", "config")
"""From the top to the bottom; `signals` and `config` are for everybody."""

MODULES = sorted(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
)


def source(module: str) -> str:
    path = ROOT.parent.joinpath(*module.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


@cache
def imports(module: str) -> frozenset[str]:
    """Return the modules of the package that a module imports, for type checking included."""
    found = set()
    for node in ast.walk(ast.parse(source(module))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in names}
    return frozenset(found & set(MODULES))


def floor(module: str) -> str:
    return module.removeprefix(PACKAGE).strip(".").partition(".")[0]


def test_imports_point_down_and_the_lowest_floor_imports_nothing_of_ours() -> None:
    inner = [module for module in MODULES if floor(module)]

    assert {floor(module) for module in inner} == {*FLOORS}
    assert [
        f"{module} imports {imported}"
        for module in inner
        for imported in sorted(imports(module))
        if FLOORS.index(floor(imported)) < FLOORS.index(floor(module))
    ] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter({module: imports(module) for module in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


SDK = re.compile(r"^\s*(from|import) singer_sdk", re.MULTILINE)


def test_the_lower_floors_know_nothing_of_the_sdk() -> None:
    """They import nothing of the upper floors either, so they run without it."""
    lower = [name for name in MODULES if floor(name) in {"audit_log", "api", "signals", "config"}]

    assert len(lower) > 15
    assert [name for name in lower if SDK.search(source(name))] == []
