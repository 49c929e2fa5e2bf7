"""Fuzz for some minutes: see the package's docstring."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from testing.fuzz.scenario import Scenario, differences
from testing.fuzz.tap import Tap

if TYPE_CHECKING:
    from collections.abc import Iterator


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--against", help="the Python of another version of the tap")
    asked = parser.parse_args()
    begin = time.monotonic()
    findings: Counter[str] = Counter()
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        this = stack.enter_context(Tap(sys.executable))
        other = stack.enter_context(Tap(asked.against)) if asked.against else None
        for name, tap in (("this", this), ("other", other)):
            if tap:
                sys.stdout.write(f"{name} version: {tap.package}\n")
        for seed in count(asked.seed):
            for played, problem in _problems(seed, this, other, Path(folder, "run")):
                findings[played] += 1
                after = time.monotonic() - begin
                sys.stdout.write(f"seed {seed}, {played}, after {after:.0f} s: {problem}\n")
                sys.stdout.flush()
            if time.monotonic() - begin > 60 * asked.minutes:
                break
    in_other = findings.pop("other version", 0)
    sys.stdout.write(
        f"{seed - asked.seed + 1} scenarios in {time.monotonic() - begin:.0f} s, "
        f"{findings.total()} findings, {in_other} in the other version\n"
    )
    return int(findings.total() > 0)


def _problems(seed: int, this: Tap, other: Tap | None, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what went wrong with a seed, and which play of it went wrong."""
    now = int(time.time() * 1_000_000)
    alone = Scenario(seed, now)
    for problem in alone.play(this, folder):
        yield "this version", problem
    if other is None:
        return
    beside = Scenario(seed, now)
    for problem in beside.play(other, folder):
        yield "other version", problem
    if alone.is_calm:
        for problem in differences(alone, beside):
            yield "both versions", problem
    for problem in Scenario(seed, now).play(this, folder, first=other):
        yield "other version, then this", problem


if __name__ == "__main__":
    sys.exit(main())
