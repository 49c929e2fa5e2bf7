"""The commands of CONTRIBUTING.md, taken from it and followed to the letter."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from testing.fake_sentry import FakeSentry, Log, entries
from testing.recipes import block

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def follow(recipe: str, folder: Path, **variables: str) -> str:
    """Run a recipe that must succeed, and return what it wrote."""
    return subprocess.check_output(
        ["/bin/bash", "-e", "-c", recipe],
        cwd=folder,
        env={**os.environ, **variables},
        encoding="utf-8",
    )


@pytest.mark.parametrize("name", ["one test", "a plugin"])
def test_some_tests_run_by_themselves(name: str) -> None:
    assert re.search(r"\d+ passed", follow(block(name, TEXT), ROOT))


def test_golden_files_are_written_anew() -> None:
    assert ", 0 of them differ" in follow(block("golden", TEXT), ROOT)


def test_an_answer_is_recorded_with_its_headers(tmp_path: Path) -> None:
    folder = tmp_path / "testing" / "recorded_data" / "sentry-23.7.1"
    folder.mkdir(parents=True)
    with FakeSentry({"acme": Log(entries.even(50))}) as sentry:
        follow(block("record", TEXT), tmp_path, SENTRY_URL=sentry.url, SENTRY_TOKEN="token")  # noqa: S106  (the stand-in's)

    [headers] = folder.glob("*.headers")
    assert headers.read_text().startswith("HTTP/1.1 200 OK")
    assert headers.with_suffix(".json").read_text().startswith('{"rows":')


def test_every_path_that_is_named_exists() -> None:
    named = re.findall(r"`((?:tests|testing|docs|plugins|tap_sentry_audit)/[\w./-]*)`", TEXT)

    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []
