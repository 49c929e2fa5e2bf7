"""Fuzz for some minutes: see the package's docstring."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from fuzz.scenario import Scenario
from fuzz.tap import Tap


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--against", help="the Python of another version of the tap")
    asked = parser.parse_args()
    end = time.monotonic() + 60 * asked.minutes
    seed, findings = asked.seed, 0
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        taps = {"this": stack.enter_context(Tap(sys.executable))}
        if asked.against:
            taps["other"] = stack.enter_context(Tap(asked.against))
        while time.monotonic() < end:
            for name, tap in taps.items():
                for problem in Scenario(seed).play(tap, Path(folder, "run")):
                    findings += name == "this"
                    sys.stdout.write(f"seed {seed}, {name} version: {problem}\n")
            seed += 1
    sys.stdout.write(f"{seed - asked.seed} scenarios, {findings} findings\n")
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
