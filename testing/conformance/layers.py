"""Layers: a module imports only from its own and those below."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from testing.conformance.program import EveryProgram


class Layers(EveryProgram):
    @property
    def layers(self) -> list[str]:
        """The layers from the top down, as the docstring of the package lists them."""
        lines = (importlib.import_module(self.program.package).__doc__ or "").splitlines()
        return [line.split()[0] for line in lines if line.startswith("    ")]

    @property
    def modules(self) -> dict[str, Path]:
        """The package's modules by their names, without the package itself."""
        folder = Path(importlib.import_module(self.program.package).__file__ or "").parent
        found = {path.relative_to(folder).with_suffix(""): path for path in folder.rglob("*.py")}
        names = {".".join(name.parts).removesuffix(".__init__"): at for name, at in found.items()}
        return {name: at for name, at in names.items() if name != "__init__"}

    def test_every_module_has_one_layer(self) -> None:
        assert sorted(self.layers) == sorted({name.partition(".")[0] for name in self.modules})

    def test_modules_import_only_from_their_layer_and_those_below_and_in_no_circle(self) -> None:
        graph = {
            name: imported(path.read_text(), self.program.package) & self.modules.keys()
            for name, path in self.modules.items()
        }

        for name, imports in graph.items():
            layer = self.layers.index(name.partition(".")[0])
            upwards = {i for i in imports if self.layers.index(i.partition(".")[0]) < layer}
            assert upwards == set(), name
        TopologicalSorter(graph).prepare()

    @pytest.mark.parametrize(
        "line",
        [
            "import package.command",
            "from package import command",
            "from package.command import run",
            "if TYPE_CHECKING:\n    from package.command import run",
            "def function():\n    from package.command import run",
        ],
    )
    def test_every_form_of_import_counts(self, line: str) -> None:
        assert "command" in imported(line, "package")

    def test_the_lower_layers_import_without_the_sdk_and_no_others(self) -> None:
        script = (
            "import importlib, sys\n"
            "sys.modules['singer_sdk'] = None\n"
            "for name in sys.argv[2:]:\n"
            "    importlib.import_module(f'{sys.argv[1]}.{name}')\n"
            "try:\n"
            "    importlib.import_module(f'{sys.argv[1]}.command')\n"
            "except ImportError as error:\n"
            "    print(error)\n"
        )
        lower = [
            name for name in self.modules if name.partition(".")[0] in self.program.without_sdk
        ]
        done = subprocess.run(
            [sys.executable, "-c", script, self.program.package, *lower],
            capture_output=True,
            check=False,
            text=True,
        )

        assert done.stderr == ""
        assert "singer_sdk" in done.stdout
        assert len(lower) >= len(self.program.without_sdk)


def imported(source: str, package: str) -> set[str]:
    """Return what a source imports of a package, for type checking and in functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    inside = f"{package}."
    return {name.removeprefix(inside) for name in names if name.startswith(inside)}
