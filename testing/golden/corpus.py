"""The golden files, and what a run differs from them in."""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path

from testing.golden.cases import CASES
from testing.golden.player import Player

FILES = Path(__file__).parent / "files"

SHOWN = 300
"""How many characters of a line that differs to show."""


def path(name: str) -> Path:
    """Return the file of a case."""
    return FILES / f"{name}.jsonl"


def played(name: str) -> list[str]:
    """Play a case."""
    player = Player()
    CASES[name](player)
    return player.lines


def difference(name: str, lines: list[str]) -> str | None:
    """Return the first line in which a run differs from the case's file, or None."""
    kept = path(name).read_text("utf-8").split("\n")[:-1] if path(name).exists() else []
    for number, (was, now) in enumerate(zip_longest(kept, lines, fillvalue=""), start=1):
        if was != now and _exact(was) != _exact(now):
            at = next(n for n in range(len(was) + len(now)) if was[n : n + 1] != now[n : n + 1])
            begin = max(0, at - SHOWN // 3)
            return (
                f"line {number} differs from character {at} on\n"
                f"  was: {was[begin : begin + SHOWN]}\n  now: {now[begin : begin + SHOWN]}"
            )
    return None


def _exact(line: str) -> object:
    """Return a line's JSON with the order of its keys and its numbers as they are written."""
    return (
        json.dumps(json.loads(line, parse_float=str, parse_int="int {}".format)) if line else None
    )
