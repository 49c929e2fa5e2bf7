"""Measure how fast the tap is, and whether it meets its targets: python -m benchmarks --help."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.cases import CASES, MB
from benchmarks.measure import seconds_to_import, start_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.cases import Report

COLUMNS = "{:<18}{:>9}{:>9}{:>11}{:>10}{:>8}{:>6}{:>9}{:>11}{:>9}"
TITLES = (
    *("case", "wall", "at best", "entries/s", "requests", "a page", "429s", "at once"),
    *("CPU/entry", "memory"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run cases; the exit code is 1 if a criterion is not met."""
    options = _options().parse_args(arguments)
    if options.list:
        _say("\n".join(f"{name:<18}  {case.__doc__}" for name, case in CASES.items()))
        return 0
    load = os.getloadavg()[0]
    _say(f"Python {platform.python_version()}, {os.cpu_count()} cores, load before {load:.1f}\n")
    # Before the cases: its first run leaves the bytecode for them.
    costs = _start_up_costs()
    _say(COLUMNS.format(*TITLES))
    reports = {}
    for name in options.case or CASES:
        reports[name] = _measure(name, options.repeat)
        _say("\n".join(_lines(name, reports[name])))
    _say(_start_up_line(costs))
    if options.json:
        options.json.write_text(json.dumps(_values(reports, costs), indent=2))
    failed = [name for name, report in reports.items() if not report.is_met]
    _say(f"\nFAILED: {', '.join(failed)}" if failed else "\nAll criteria are met.")
    return 1 if failed else 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description="How fast is the tap?")
    add = parser.add_argument
    add("case", nargs="*", type=_case, metavar="CASE", help="default: all of them")
    add("--list", action="store_true", help="say what the cases are")
    add("--json", type=Path, metavar="FILE", help="write the numbers there too")
    add("--repeat", type=int, default=1, metavar="N", help="take the median of N runs")
    return parser


def _case(name: str) -> str:
    if name not in CASES:
        message = f"{name!r} is not one of {', '.join(CASES)}"
        raise argparse.ArgumentTypeError(message)
    return name


def _measure(name: str, times: int) -> Report:
    """Run a case so often, and return the median by wall time, or one that lost an entry."""
    reports = []
    for _ in range(times):
        with TemporaryDirectory(prefix="benchmark-") as folder:
            reports.append(CASES[name](Path(folder)))
    reports.sort(key=lambda report: (report.is_exact, report.usage.wall))
    return reports[times // 2 if reports[0].is_exact else 0]


def _lines(name: str, report: Report) -> list[str]:
    """Return a table row, and below it the criteria."""
    usage, asked, cpu = report.usage, report.asked, report.cpu_per_entry
    row = COLUMNS.format(
        name,
        f"{usage.wall:.2f} s",
        "-" if report.best is None else f"{report.best:.2f} s",
        f"{report.entries_per_second:,.0f}" if report.entries else "-",
        f"{asked.requests:,}",
        f"{report.requests_per_page:.2f}",
        asked.too_many,
        asked.at_once,
        "-" if cpu is None else f"{cpu:.1f} µs",
        f"{usage.memory / MB:.1f} MB",
    )
    lines = [row, f"  {CASES[name].__doc__}"]
    for check in report.checks:
        mark = "ok" if check.is_met else "FAILED"
        lines.append(f"    {mark:<8}{check.what:<34}{check.measured:>12}  {check.limit}")
    return [*lines, *([f"            {report.note}"] if report.note else []), ""]


def _start_up_costs() -> dict[str, float]:
    """Return seconds, with bytecode compiled."""
    usage = start_up()
    imports = seconds_to_import("tap_sentry_audit.tap")
    return {"empty_log_wall": usage.wall, "empty_log_cpu": usage.cpu, "import": imports}


def _start_up_line(costs: dict[str, float]) -> str:
    return (
        f"start-up: a run on an empty log takes {costs['empty_log_wall']:.2f} s "
        f"({costs['empty_log_cpu']:.2f} s CPU), {costs['import']:.2f} s of it "
        "to import the tap"
    )


def _values(reports: dict[str, Report], costs: dict[str, float]) -> dict[str, object]:
    cases = {
        name: asdict(report)
        | {
            "is_met": report.is_met,
            "entries_per_second": report.entries_per_second,
            "requests_per_page": report.requests_per_page,
            "cpu_per_entry": report.cpu_per_entry,
        }
        for name, report in reports.items()
    }
    return {"cases": cases, "start_up": costs}


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
