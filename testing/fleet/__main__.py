"""Prove that a fleet loses nothing, measure it, or let a person look around."""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from testing.fleet import __doc__ as description
from testing.fleet.orchestrators import DAGSTER, InAirflow, InDagster, UnderScheduler
from testing.fleet.proof import Proof, Size, proof

PR_SET_CHILD_SUBREAPER = 36


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _adopt_orphans() -> None:
    """Become the parent of what a killed worker leaves behind, so that its CPU time counts."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _cpu() -> float:
    """Return the seconds of CPU of all programs that have ended."""
    time.sleep(2)  # Dagster's fork server, whose children did the work, ends after Dagster
    with suppress(ChildProcessError):
        # While no program of a `Popen` can end: nobody else may wait for that.
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def prove(size: Size, kind: type[Proof]) -> bool:
    """Load the first backfill, hand over, live an hour, and say what came of it."""
    cpu = _cpu()
    with proof(size, kind) as fleet:
        proved = _prove(fleet, size)
    # Airflow's processes have ended only now.
    _say(f"{_cpu() - cpu:.0f} s CPU, without the stand-in's")
    return proved


def _prove(fleet: Proof, size: Size) -> bool:
    began = time.monotonic()
    # Late entries appear around the last border while the shards are being read.
    runs = 1
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(fleet.backfill)
        while not running.done():
            time.sleep(5)
            if time.monotonic() - began < size.steady_seconds * 0.7:
                fleet.add_late(1)
    codes = [running.result()]
    refused = fleet.hand_over() if codes[-1] else None
    while codes[-1] and runs < 5:
        runs += 1
        codes.append(fleet.backfill())
    took = time.monotonic() - began
    asked = fleet.sentry.stats()
    _say(
        f"first backfill: {fleet.starts()} attempts at {2 * size.organizations} shards,"
        f" {fleet.kills()} killed, {runs} run(s), {took:.0f} s,"
        f" {asked['requests']} requests ({asked['requests'] / took:.1f}/s of 40),"
        f" {asked['count_429']} 429s"
    )
    if refused is not None:
        _say(f"handover before it was complete: exit code {refused}")
    handed_over = fleet.hand_over()
    _say(f"handover: exit code {handed_over}")
    began = time.monotonic()
    attempts, results = fleet.starts(), []
    for number in range(size.passes):
        fleet.add_late(3)
        results += fleet.steady_pass()
        rest = (number + 1) * size.steady_seconds / size.passes - (time.monotonic() - began)
        time.sleep(max(0.0, rest))
    fleet.wrap(0)
    last = fleet.steady_pass()
    results += last
    _say(
        f"steady state: {len(results)} runs of groups, {results.count(0)} succeeded,"
        f" {fleet.starts() - attempts} attempts, {time.monotonic() - began:.0f} s;"
        f" killed altogether: {fleet.kills()}; {fleet.late} entries appeared meanwhile"
    )
    for remark in fleet.remarks():
        _say(remark)
    return _is_exact(fleet) and fleet.kept_apart() and handed_over == 0 and not any(last)


def _is_exact(fleet: Proof) -> bool:
    found = fleet.compare()
    _say(" ".join(f"{name}={count}" for name, count in found.items()))
    return not (found["missing"] or found["repeated"] or found["unknown"])


def serve(size: Size) -> None:
    """Let a person look around, until Ctrl-C."""
    command = ["dagster", "dev", "-m", "definitions", "--port", "3000"]
    unharmed = replace(size, kill_every=0, steady_seconds=3600)
    with (
        proof(unharmed, InDagster) as running,
        subprocess.Popen(command, cwd=DAGSTER, env=running.variables) as dagster,
        # Which reaches Dagster, too: it stops all that it has started.
        suppress(KeyboardInterrupt),
    ):
        dagster.wait()


def measure(size: Size) -> None:
    """Load a first backfill with 1, 2 and 4 workers, and say what each took."""
    for workers in (1, 2, 4):
        with proof(replace(size, workers=workers, kill_every=0), InDagster) as running:
            began, cpu = time.monotonic(), _cpu()
            code = running.backfill()
            took, used = time.monotonic() - began, _cpu() - cpu
            asked = running.sentry.stats()
        _say(
            f"{workers} worker(s): {len(running.logs) * len(running.borders)} shards of"
            f" {size.entries:,} entries in {took:.0f} s, {used:.0f} s CPU,"
            f" {asked['requests']} requests ({asked['requests'] / took:.1f}/s of 40),"
            f" {asked['count_429']} 429s, exit code {code}"
        )


def main() -> None:
    """Prove it, and exit with 1 if it could not be proved."""
    parser = argparse.ArgumentParser(prog="fleet", description=description)
    add = parser.add_argument
    add("--organizations", type=int, default=40)
    add("--entries", type=int, default=200_000)
    add("--workers", type=int, default=4)
    add("--seed", type=int, default=1)
    add("--kill-every", type=int, default=8, metavar="ATTEMPTS", help="0: nothing is killed")
    add("--hour", type=int, default=180, metavar="SECONDS", help="what an hour is compressed into")
    add("--passes", type=int, default=6, help="of the steady state in that hour")
    kinds: dict[str, type[Proof]] = {
        "dagster": InDagster,
        "airflow-dags-test": InAirflow,
        "airflow-scheduler": UnderScheduler,
    }
    add("--under", choices=kinds, default="dagster")
    add("--serve", action="store_true", help="Dagster's pages, to look around")
    add("--measure", action="store_true", help="1, 2 and 4 workers, a backfill each, no kills")
    asked = parser.parse_args()
    _adopt_orphans()
    size = Size(
        asked.organizations,
        asked.entries,
        asked.workers,
        kill_every=asked.kill_every,
        seed=asked.seed,
        steady_seconds=asked.hour,
        passes=asked.passes,
    )
    if asked.serve:
        serve(size)
        return
    if asked.measure:
        measure(size)
        return
    proved = prove(size, kinds[asked.under])
    _say("proved: every entry is there, once" if proved else "NOT PROVED")
    sys.exit(not proved)


if __name__ == "__main__":
    main()
