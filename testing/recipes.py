"""The code blocks of the documentation, and how its reader would run them.

Each block follows a comment: `<!-- test: name -->` if a test follows it to the letter, or
`<!-- not run: reason -->`. Tests replace only what a reader has to fill in: the token, a path,
where Sentry and PostgreSQL are. HOME is empty, and our own packages come from this checkout.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dotenv import set_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testing.fake_sentry import FakeSentry, Log

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
LOADERS = ROOT / ".meltano" / "loaders"

NEEDS_A_WHEEL = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="DuckDB 1.2.2 has no wheel for Python 3.14"
)

_BLOCK = re.compile(r"^([^\n]*)\n```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- (test|not run): (.+) -->")
_OUR_VARIABLES = ("MELTANO", "OTEL", "PIPX", "TAP_", "TARGET_", "VIRTUAL_ENV", "XDG_")
_DUCKDB_ROWS = """
import duckdb, sys
path, query = sys.argv[1:]
asked = f"SELECT to_json(asked) FROM ({query}) AS asked"
for (row,) in duckdb.connect(path, read_only=path != ":memory:").execute(asked).fetchall():
    print(row)
"""


@dataclass(frozen=True)
class Block:
    """A code block: the name of its test, or the reason why there is none, or neither."""

    name: str
    reason: str
    language: str
    text: str


def blocks(text: str) -> list[Block]:
    """Return the code blocks of a Markdown text."""
    found = []
    for before, language, content in _BLOCK.findall(text):
        comment = _COMMENT.fullmatch(before)
        kind, said = comment.groups() if comment else ("", "")
        found.append(Block(said * (kind == "test"), said * (kind == "not run"), language, content))
    return found


def block(name: str, text: str) -> str:
    """Return the one block with this name in a Markdown text."""
    [found] = [each for each in blocks(text) if each.name == name]
    return found.text


def recipes(page: str) -> dict[str, str]:
    """Return the blocks of a page that have names, by name."""
    named = [each for each in blocks((ROOT / page).read_text("utf-8")) if each.name]
    assert len({each.name for each in named}) == len(named)
    return {each.name: each.text for each in named}


def filled_in(recipe: str, **values: object) -> str:
    """Replace what a reader has to fill in, all of which must be there."""
    for placeholder, value in values.items():
        assert placeholder in recipe
        recipe = recipe.replace(placeholder, str(value))
    return recipe


def environment(home: Path, *programs: Path, **variables: str) -> dict[str, str]:
    """An environment with an empty HOME, these programs first, and no settings of our programs.

    How this machine reaches PyPI stays, also where it is written in the real HOME.
    """
    home.mkdir(exist_ok=True)
    given = {n: value for n, value in os.environ.items() if not n.startswith(_OUR_VARIABLES)}
    for name, file in ("PIP_CONFIG_FILE", "pip/pip.conf"), ("UV_CONFIG_FILE", "uv/uv.toml"):
        if (settings := Path.home() / ".config" / file).exists():
            given.setdefault(name, str(settings))
    path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
    return given | {"HOME": str(home), "PATH": path} | variables


def finding(wheels: Path) -> dict[str, str]:
    """Variables with which pip and uv take our packages from wheels of this checkout."""
    if not list(wheels.glob("*.whl")):
        for package in ROOT, *ROOT.glob("plugins/*/"):
            build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
            subprocess.run(build, cwd=package, check=True, capture_output=True)
    found = {"PIP_FIND_LINKS": " ", "UV_FIND_LINKS": ","}
    return {
        name: separator.join(filter(None, [str(wheels), os.environ.get(name)]))
        for name, separator in found.items()
    }


def ended(
    recipe: str, folder: Path, variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a recipe to its end, in bash, which stops at the first command that fails."""
    return subprocess.run(
        ["/bin/bash", "-e", "-c", recipe],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def follow(recipe: str, folder: Path, variables: Mapping[str, str]) -> str:
    """Run a recipe that must succeed, and return what it wrote."""
    done = ended(recipe, folder, variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@dataclass(frozen=True)
class Project:
    """The Meltano project of a checkout, as `make demo` and `--connect` leave it.

    Its plugins are those that `make` has installed.
    """

    folder: Path
    variables: Mapping[str, str]

    @classmethod
    def made(cls, folder: Path, sentry: FakeSentry, **variables: str) -> Project:
        folder.mkdir(exist_ok=True)
        shutil.copy(ROOT / "meltano.yml", folder)
        (folder / ".meltano").mkdir()
        for kind in ("extractors", "loaders", "mappers"):
            (folder / ".meltano" / kind).symlink_to(ROOT / ".meltano" / kind)
        (folder / ".venv").symlink_to(BIN.parent)
        (folder / "output").mkdir()
        for name, value in connected(sentry).items():
            set_key(folder / ".env", name, value)
        offline = {"MELTANO_AUTO_INSTALL": "false", "MELTANO_HUB_URL": "http://127.0.0.1:9"}
        return cls(folder, environment(folder / "home", **offline, **variables))

    def follow(self, recipe: str) -> str:
        return follow(recipe, self.folder, self.variables)

    def ended(self, recipe: str) -> subprocess.CompletedProcess[str]:
        return ended(recipe, self.folder, self.variables)


def connected(sentry: FakeSentry) -> dict[str, str]:
    """The settings that `--connect` writes."""
    return {
        "TAP_SENTRY_AUDIT_HOST": sentry.url,
        "TAP_SENTRY_AUDIT_AUTH_TOKEN": "token",
        "TAP_SENTRY_AUDIT_ORGANIZATION": "acme",
    }


def ids_of(log: Log) -> list[str]:
    return sorted(row["id"] for row in log.rows() if row)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def ids_in(path: Path) -> list[str]:
    return sorted(row["id"] for row in lines(path))


def duckdb_rows(path: Path, query: str, python: Path | None = None) -> list[dict[str, Any]]:
    """Ask DuckDB for rows, as somebody whose clock is far from UTC."""
    query = query.strip().rstrip(";")
    found = subprocess.check_output(
        [python or LOADERS / "target-duckdb/venv/bin/python", "-c", _DUCKDB_ROWS, path, query],
        env={**os.environ, "TZ": "Pacific/Kiritimati"},
        encoding="utf-8",
    )
    return [json.loads(line) for line in found.splitlines()]
