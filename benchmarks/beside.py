"""Measure this version and another one, in turns: python -m benchmarks.beside PYTHON.

PYTHON is the interpreter of an environment that has the other version.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.measure import Usage, read_written, run_tap_of, stand_in

if TYPE_CHECKING:
    from collections.abc import Callable

BACKFILL = 20_000
LOG = 100_000
FAST = {"requests_per_second": 1000}


def backfill(python: str, folder: Path) -> Usage:
    """Take 20,000 entries, 200 ms a request, 40 requests a second: wall."""
    with stand_in(BACKFILL, latency=0.2, rate_limit=40) as server:
        usage = run_tap_of(python, server, folder)
    return _whole(usage, folder, BACKFILL)


def idle(python: str, folder: Path) -> Usage:
    """Poll an organization that is up to date, start-up included: wall."""
    with stand_in(1000) as server:
        run_tap_of(python, server, folder, **FAST)
        state = (folder / "stdout").read_text().splitlines()[-1]
        (folder / "state.json").write_text(state)
        return run_tap_of(python, server, folder, **FAST)


def cpu(python: str, folder: Path) -> Usage:
    """Take 100,000 entries without latency: CPU."""
    with stand_in(LOG) as server:
        usage = run_tap_of(python, server, folder, **FAST)
    return _whole(usage, folder, LOG)


CASES: dict[str, tuple[Callable[[str, Path], Usage], Callable[[Usage], float]]] = {
    "backfill": (backfill, lambda usage: usage.wall),
    "idle": (idle, lambda usage: usage.wall),
    "cpu": (cpu, lambda usage: usage.cpu),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.beside", description=__doc__)
    parser.add_argument("python", help="the interpreter of the other version")
    parser.add_argument("case", nargs="*", choices=[*CASES, []], default=[])
    parser.add_argument("--repeat", type=int, default=5)
    asked = parser.parse_args()
    for name in asked.case or CASES:
        case, value = CASES[name]
        seconds: dict[str, list[float]] = {asked.python: [], sys.executable: []}
        for _ in range(asked.repeat):
            for python, measured in seconds.items():
                with TemporaryDirectory(prefix="benchmark-") as folder:
                    measured.append(value(case(python, Path(folder))))
        other, this = median(seconds[asked.python]), median(seconds[sys.executable])
        sys.stdout.write(
            f"{case.__doc__} Before {other:.3f} s, now {this:.3f} s ({this / other:.2f})\n"
        )


def _whole(usage: Usage, folder: Path, count: int) -> Usage:
    written = read_written(folder, count)
    if usage.exit_code or not written.is_exact:
        message = f"exit code {usage.exit_code}, {written}"
        raise RuntimeError(message)
    return usage


if __name__ == "__main__":
    main()
