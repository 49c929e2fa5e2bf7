"""The modules are layers: each imports only from layers below it, as `__init__` lists them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import target_otlp

PACKAGE = "target_otlp"
FOLDER = Path(target_otlp.__file__).parent
LAYERS = [
    line.split()[0] for line in (target_otlp.__doc__ or "").splitlines() if line.startswith("    ")
]
"""The modules from the top down, as the docstring of the package lists them."""

BLOCK_THE_SDK = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "singer_sdk":
            raise ImportError(name)


sys.meta_path.insert(0, Blocker())
"""


def imported(source: str) -> set[str]:
    """The package's modules that a source imports, for type checking or within functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            names.add(PACKAGE)  # no layer: relative imports are not used
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            names |= {f"{PACKAGE}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.removeprefix(f"{PACKAGE}.") for name in names if name.startswith(PACKAGE)}


def test_every_module_has_one_layer() -> None:
    modules = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}

    assert sorted(LAYERS) == sorted(modules)


@pytest.mark.parametrize("module", LAYERS)
def test_a_module_imports_only_from_the_layers_below(module: str) -> None:
    below = LAYERS[LAYERS.index(module) + 1 :]

    assert imported((FOLDER / f"{module}.py").read_text()) <= set(below)


@pytest.mark.parametrize(
    "line",
    [
        f"import {PACKAGE}.command",
        f"from {PACKAGE} import command",
        f"from {PACKAGE}.command import run",
        f"if TYPE_CHECKING:\n    from {PACKAGE}.command import run",
        f"def function():\n    from {PACKAGE}.command import run",
    ],
)
def test_every_form_of_import_counts(line: str) -> None:
    assert imported(line) == {"command"}


@pytest.mark.parametrize(
    "module",
    ["config", "signals", "values", "mapping", "responses", "transport", "receiver", "delivery"],
)
def test_what_knows_no_singer_imports_without_the_sdk(module: str) -> None:
    script = f"{BLOCK_THE_SDK}\nimport {PACKAGE}.{module}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr.decode()


def test_without_the_sdk_there_is_no_command() -> None:
    script = f"{BLOCK_THE_SDK}\nimport {PACKAGE}.command"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)

    assert b"ImportError: singer_sdk" in done.stderr
