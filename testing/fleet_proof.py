"""Shows that groups and shards under Dagster lose nothing: python -m testing.fleet_proof --help.

A stand-in for Sentry and a PostgreSQL of its own; the tap and the target as they are installed;
Dagster in the environment of examples/dagster. One attempt in eight is killed with SIGKILL: its
tap, its target, or the worker that runs them.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from testing.fake_sentry import FakeSentry, Log, entries
from testing.fake_sentry.log import FIRST_ID, IDS
from testing.postgres import Postgres, postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.fake_sentry.server import Access

ROOT = Path(__file__).parents[1]
DAGSTER = ROOT / "examples/dagster"
AIRFLOW = ROOT / "examples/airflow"
PROGRAMS = {
    "tap-sentry-audit": Path(sys.executable).parent / "tap-sentry-audit",
    "target-postgres": ROOT / ".meltano/loaders/target-postgres/venv/bin/target-postgres",
}
TOKENS = {"TOKEN_A": "token-a", "TOKEN_B": "token-b"}
PR_SET_CHILD_SUBREAPER = 36
LIMITS: dict[str, Any] = {"rate_limit": 40, "latency": 0.05}
SECOND = 1_000_000
DAY = 86_400 * SECOND
TIES = [1, 1, 1, 1, 1, 1, 2, 3, 30]
WIDE = 120
"""A tie that does not fit into a page, once in each log: it takes many requests."""
DAYS = 120

# Stands in for a program: every so many starts, it lets a process kill one that belongs to its
# task a moment later, and then becomes the program. Half of them come too late to kill anything,
# so that of both programs together one start in `every` is killed.
WRAPPER = """#!{python} -IS
import fcntl, os, random, select, signal, sys, time
program, folder, every, longest = {program!r}, {folder!r}, {every}, {longest}
with open(folder + "/starts-" + os.path.basename(program), "a+") as starts:
    fcntl.flock(starts, fcntl.LOCK_EX)
    starts.write(".")
    starts.flush()
    number = starts.tell()
chance = random.Random(f"{seed} {{program}} {{number}}")
# One start in `every` of each program; a tap takes its worker with it half of the time.
if every and number % every == every // 2:
    victim, whose = os.getpid(), os.path.basename(program)
    if "tap" in program and chance.random() < 0.5:
        victim, whose = os.getppid(), "worker"
    process = os.pidfd_open(victim)
    if os.fork() == 0:
        time.sleep(chance.uniform(0, longest))
        # It can be read from once the process has ended.
        if not select.select([process], [], [], 0)[0]:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            with open(folder + "/kills", "a") as kills:
                kills.write(whose + "\\n")
        os._exit(0)
os.execv(program, [program, *sys.argv[1:]])
"""


@dataclass(frozen=True)
class Size:
    """How much there is to load, and what stands in the way."""

    organizations: int
    entries: int
    workers: int
    kill_every: int = 8
    steady_seconds: int = 180
    """What an hour is compressed into; also the lookback."""
    passes: int = 6
    seed: int = 1


@dataclass
class Proof:
    """A fleet that runs: what its organizations' logs hold, and how to run Dagster on it."""

    size: Size
    folder: Path
    sentry: FakeSentry
    server: Postgres
    logs: dict[str, Log]
    borders: list[datetime]
    late: int = 0
    chance: random.Random = field(default_factory=random.Random)

    @property
    def groups(self) -> dict[str, list[str]]:
        """Four groups; two share a token."""
        slugs = list(self.logs)
        return {f"group-{number}": slugs[number::4] for number in range(4) if slugs[number::4]}

    @property
    def variables(self) -> dict[str, str]:
        path = [self.folder / "bin", DAGSTER / ".venv/bin", os.environ["PATH"]]
        url = f"postgresql://postgres@/postgres?host={self.server.folder}"
        # Without what changes Python, such as PYTHONDONTWRITEBYTECODE, which compiles all anew.
        given = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
        return given | {
            "PATH": os.pathsep.join(map(str, path)),
            "DAGSTER_HOME": str(self.folder),
            "FLEET": str(self.folder / "fleet.toml"),
            "FLEET_DATABASE_URL": url,
            **TOKENS,
        }

    def prepare(self) -> None:
        (self.folder / "fleet.toml").write_text(self._settings())
        shutil.copy(DAGSTER / "dagster.yaml", self.folder)
        self.wrap(self.size.kill_every)

    def wrap(self, every: int) -> None:
        (self.folder / "bin").mkdir(exist_ok=True)
        for name, program in PROGRAMS.items():
            text = WRAPPER.format(
                python=sys.executable,
                program=str(program),
                folder=str(self.folder),
                every=every,
                longest=5.0,
                seed=self.size.seed,
            )
            wrapper = self.folder / "bin" / name
            wrapper.write_text(text)
            wrapper.chmod(0o755)

    def run(self, *command: str, cwd: Path = DAGSTER, **variables: str) -> int:
        """Run a command to its end, with what it says in a file; return its exit code."""
        given = self.variables | variables
        with (self.folder / "log").open("ab") as log:
            done = subprocess.run(command, cwd=cwd, env=given, stdout=log, stderr=log, check=False)
        return done.returncode

    def backfill(self) -> int:
        self.run("dagster", "instance", "concurrency", "set", "backfill", str(self.size.workers))
        # In the order of the partitions: a range leaves out what stands before or after it.
        slugs = [slug for group in self.groups.values() for slug in group]
        cells = [f"{slug}|{name}" for slug in slugs for name in map(_named, self.borders)]
        tags = {
            "dagster/asset_partition_range_start": cells[0],
            "dagster/asset_partition_range_end": cells[-1],
        }
        command = ["dagster", "job", "execute", "-m", "definitions", "-j", "backfill"]
        return self.run(*command, "--tags", json.dumps(tags))

    def hand_over(self) -> int:
        return self.run("python", "-m", "sentry_fleet", "handover")

    def steady_pass(self) -> list[int]:
        """Run all groups, at once as far as their pools let them, each until it succeeds."""

        def one(group: str) -> int:
            token = list(TOKENS)[list(self.groups).index(group) % 2]
            asset = f"audit_log_{token.lower()}"
            command = ["dagster", "asset", "materialize", "-m", "definitions"]
            return self.run(*command, "--select", asset, "--partition", group)

        with ThreadPoolExecutor() as pool:
            return list(pool.map(one, self.groups))

    def add_late(self, each: int) -> None:
        """Let entries turn up in every log: new ones, and late ones by up to the lookback."""
        now = entries.micros(datetime.now(UTC))
        # A pass takes a moment: what is late by all but the whole lookback could be too late.
        longest = int(self.size.steady_seconds * 0.75) * SECOND
        for log in self.logs.values():
            times = [now - self.chance.randrange(longest) for _ in range(each)]
            log.add([*times, now])
            self.late += each + 1

    def kills(self) -> dict[str, int]:
        path = self.folder / "kills"
        found = path.read_text().split() if path.exists() else []
        return {whose: found.count(whose) for whose in sorted(set(found))}

    def starts(self) -> int:
        path = self.folder / "starts-tap-sentry-audit"
        return path.stat().st_size if path.exists() else 0

    def compare(self) -> dict[str, int]:
        """Compare the table with the logs."""
        rows = self.server.rows("SELECT id, organization FROM sentry.audit_logs")
        found = [(row["organization"], row["id"]) for row in rows]
        given = {(slug, row["id"]) for slug, log in self.logs.items() for row in log.rows() if row}
        return {
            "given": len(given),
            "rows": len(found),
            "missing": len(given - set(found)),
            "repeated": len(found) - len(set(found)),
            "unknown": len(set(found) - given),
        }

    def _settings(self) -> str:
        lines = [
            f'host = "{self.sentry.url}"',
            f"lookback_seconds = {self.size.steady_seconds}",
            "[backfill]",
            f"borders = [{', '.join(map(_named, self.borders))}]",
            f"at_once = {self.size.workers}",
        ]
        for number, (name, slugs) in enumerate(self.groups.items()):
            token = list(TOKENS)[number % 2]
            lines += ["[[groups]]", f'name = "{name}"', f'token = "{token}"']
            lines.append(f"organizations = {json.dumps(slugs)}")
        return "\n".join(lines)


@contextmanager
def proof(size: Size) -> Iterator[Proof]:
    """Serve a fleet while the context lasts."""
    until = datetime.now(UTC).replace(microsecond=0)
    borders = [until - timedelta(days=DAYS / 2), until]
    each = size.entries // size.organizations
    logs = {}
    for number in range(size.organizations):
        times = _times(each, borders, seed=size.seed * 1000 + number)
        first_id = FIRST_ID + number * IDS
        logs[f"org-{number:02}"] = Log(times, ties="shuffled", seed=number, first_id=first_id)
    tokens: dict[str, Access] = dict.fromkeys(TOKENS.values(), "ok")
    with (
        TemporaryDirectory(prefix="fleet-", dir="/tmp") as name,
        FakeSentry(logs, tokens=tokens, **LIMITS) as sentry,
        postgres() as server,
    ):
        made = Proof(size, Path(name), sentry, server, logs, borders)
        made.chance.seed(size.seed)
        made.prepare()
        yield made


def _times(count: int, borders: list[datetime], seed: int) -> list[int]:
    """Make moments: two thirds in ties, some of them on a border and beside it, one wide."""
    chance = random.Random(seed)  # noqa: S311
    middle, end = map(entries.micros, borders)
    on_borders = [edge + step for edge in (middle, end) for step in (-1000, -1, 0, 0, 0, 1)]
    # Not even the stand-in may hold what is still to come.
    times = [at for at in on_borders if at <= end][:count]
    while len(times) < count:
        at = end - chance.randrange(DAYS * DAY)
        width = chance.choice(TIES) if len(times) > WIDE else WIDE
        times += [at] * min(width, count - len(times))
    return sorted(times)


def _named(border: datetime) -> str:
    return f"{border:%Y-%m-%dT%H:%M:%SZ}"


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


def prove(size: Size) -> bool:
    """Load the first backfill, hand over, live an hour, and say what came of it."""
    with proof(size) as fleet:
        began, cpu = time.monotonic(), _cpu()
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
        took, used = time.monotonic() - began, _cpu() - cpu
        asked = fleet.sentry.stats()
        _say(
            f"first backfill: {fleet.starts()} attempts at {2 * size.organizations} shards,"
            f" {fleet.kills()} killed, {runs} run(s), {took:.0f} s, {used:.0f} s CPU,"
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
        results += fleet.steady_pass()
        _say(
            f"steady state: {len(results)} runs of groups, {results.count(0)} succeeded,"
            f" {fleet.starts() - attempts} attempts, {time.monotonic() - began:.0f} s;"
            f" killed altogether: {fleet.kills()}; {fleet.late} entries appeared meanwhile"
        )
        return _is_exact(fleet) and handed_over == 0 and not any(results[-len(fleet.groups) :])


def _is_exact(fleet: Proof) -> bool:
    found = fleet.compare()
    _say(" ".join(f"{name}={count}" for name, count in found.items()))
    return not (found["missing"] or found["repeated"] or found["unknown"])


def prove_in_airflow(size: Size) -> bool:
    """Run the DAGs as `airflow dags test` does, one task after another, and compare."""
    with proof(replace(size, kill_every=0)) as fleet:
        path = f"{AIRFLOW / '.venv/bin'}{os.pathsep}{fleet.variables['PATH']}"
        variables = {
            "AIRFLOW_HOME": str(fleet.folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(AIRFLOW / "dags"),
            "PATH": path,
        }
        airflow = AIRFLOW / ".venv/bin/airflow"
        pools = [*map(str.lower, TOKENS), "sentry_backfill"]
        commands = [
            ["db", "migrate"],
            *(["pools", "set", pool, "1", "of examples/airflow"] for pool in pools),
            ["dags", "test", "audit_log_backfill"],
            ["dags", "test", "audit_log"],
        ]
        codes = []
        for command in commands:
            if command[-1] == "audit_log":
                fleet.add_late(3)
            began = time.monotonic()
            codes.append(fleet.run(str(airflow), *command, cwd=fleet.folder, **variables))
            _say(f"airflow {' '.join(command)}: {codes[-1]}, {time.monotonic() - began:.0f} s")
        return _is_exact(fleet) and not any(codes)


def serve(size: Size) -> None:
    """Let a person look around, until Ctrl-C."""
    unharmed = replace(size, kill_every=0, steady_seconds=3600)
    with proof(unharmed) as fleet, suppress(KeyboardInterrupt):
        command = ["dagster", "dev", "-m", "definitions", "--port", "3000"]
        subprocess.run(command, cwd=DAGSTER, env=fleet.variables, check=False)


def measure(size: Size) -> None:
    """Load a first backfill with 1, 2 and 4 workers, and say what each took."""
    for workers in (1, 2, 4):
        with proof(replace(size, workers=workers, kill_every=0)) as fleet:
            began, cpu = time.monotonic(), _cpu()
            code = fleet.backfill()
            took, used = time.monotonic() - began, _cpu() - cpu
            asked = fleet.sentry.stats()
        _say(
            f"{workers} worker(s): {len(fleet.logs) * len(fleet.borders)} shards of"
            f" {size.entries:,} entries in {took:.0f} s, {used:.0f} s CPU,"
            f" {asked['requests']} requests ({asked['requests'] / took:.1f}/s of 40),"
            f" {asked['count_429']} 429s, exit code {code}"
        )


def main() -> None:
    """Prove it, and exit with 1 if it could not be proved."""
    parser = argparse.ArgumentParser(prog="fleet_proof", description=__doc__)
    add = parser.add_argument
    add("--organizations", type=int, default=40)
    add("--entries", type=int, default=200_000)
    add("--workers", type=int, default=4)
    add("--seed", type=int, default=1)
    add("--hour", type=int, default=180, metavar="SECONDS", help="what an hour is compressed into")
    add("--passes", type=int, default=6, help="of the steady state in that hour")
    add("--airflow", action="store_true", help="Airflow's dags test instead of Dagster")
    add("--serve", action="store_true", help="Dagster's pages, to look around")
    add("--measure", action="store_true", help="1, 2 and 4 workers, a backfill each, no kills")
    asked = parser.parse_args()
    _adopt_orphans()
    size = Size(
        asked.organizations,
        asked.entries,
        asked.workers,
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
    proved = prove_in_airflow(size) if asked.airflow else prove(size)
    _say("proved: every entry is there, once" if proved else "NOT PROVED")
    sys.exit(not proved)


if __name__ == "__main__":
    main()
