"""Shows that groups and shards under an orchestrator lose nothing.

    python -m testing.fleet_proof --help

A stand-in for Sentry and a PostgreSQL of its own; the tap and the target as they are installed;
Dagster or Airflow in the environment of its example. One attempt in eight is killed with SIGKILL:
its tap, its target, or the worker that runs them.
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
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from testing import airflow
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
    """A fleet to be run: what its organizations' logs hold, and what came of it."""

    example: ClassVar[Path]
    """Of the orchestrator, with its environment in it."""
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
        path = [self.folder / "bin", self.example / ".venv/bin", os.environ["PATH"]]
        url = f"postgresql://postgres@/postgres?host={self.server.folder}"
        # Without what changes Python, such as PYTHONDONTWRITEBYTECODE, which compiles all anew.
        given = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
        return given | {
            "PATH": os.pathsep.join(map(str, path)),
            "FLEET": str(self.folder / "fleet.toml"),
            "FLEET_DATABASE_URL": url,
            **TOKENS,
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have what the orchestrator needs."""
        (self.folder / "fleet.toml").write_text(self._settings())
        self.wrap(self.size.kill_every)
        yield

    def backfill(self) -> int:
        """Load what is missing of the first backfill; return 0 if nothing is then."""
        raise NotImplementedError

    def steady_pass(self) -> list[int]:
        """Load what is new of all groups, at once as far as their pools let them.

        Return what came of each: 0 if it is loaded.
        """
        raise NotImplementedError

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

    def run(self, *command: str) -> int:
        """Run a command to its end, with what it says in a file; return its exit code."""
        with (self.folder / "log").open("ab") as log:
            done = subprocess.run(
                command, cwd=self.example, env=self.variables, stdout=log, stderr=log, check=False
            )
        return done.returncode

    def remarks(self) -> list[str]:
        """Return what else the orchestrator knows of its tasks."""
        return []

    def kept_apart(self) -> bool:
        """Return whether no two groups of one token ran at once, as far as this can be told."""
        return True

    def hand_over(self) -> int:
        return self.run("python", "-m", "sentry_fleet", "handover")

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


@dataclass
class InDagster(Proof):
    """Run by commands of Dagster, which has no daemon here."""

    example = DAGSTER

    @property
    def variables(self) -> dict[str, str]:
        return super().variables | {"DAGSTER_HOME": str(self.folder)}

    @contextmanager
    def running(self) -> Iterator[None]:
        with super().running():
            shutil.copy(DAGSTER / "dagster.yaml", self.folder)
            slots = ["dagster", "instance", "concurrency", "set", "backfill"]
            assert self.run(*slots, str(self.size.workers)) == 0
            yield

    def backfill(self) -> int:
        # In the order of the partitions: a range leaves out what stands before or after it.
        slugs = [slug for group in self.groups.values() for slug in group]
        cells = [f"{slug}|{name}" for slug in slugs for name in map(_named, self.borders)]
        tags = {
            "dagster/asset_partition_range_start": cells[0],
            "dagster/asset_partition_range_end": cells[-1],
        }
        command = ["dagster", "job", "execute", "-m", "definitions", "-j", "backfill"]
        return self.run(*command, "--tags", json.dumps(tags))

    def steady_pass(self) -> list[int]:
        def one(group: str) -> int:
            token = list(TOKENS)[list(self.groups).index(group) % 2]
            asset = f"audit_log_{token.lower()}"
            command = ["dagster", "asset", "materialize", "-m", "definitions"]
            return self.run(*command, "--select", asset, "--partition", group)

        with ThreadPoolExecutor() as pool:
            return list(pool.map(one, self.groups))


@dataclass
class InAirflow(Proof):
    """Run by `airflow dags test`, one task after another."""

    example = AIRFLOW

    @cached_property
    def airflow(self) -> airflow.Airflow:
        command = AIRFLOW / ".venv/bin/airflow"
        size = self.size.workers
        given = airflow.settings(self.folder, AIRFLOW / "dags", self.server, at_once=size)
        return airflow.Airflow(command, self.variables | given, self.server, self.folder)

    @contextmanager
    def running(self) -> Iterator[None]:
        slots = {**dict.fromkeys(map(str.lower, TOKENS), 1), "sentry_backfill": self.size.workers}
        with super().running():
            assert self.airflow.migrate() == 0
            for pool, count in slots.items():
                assert self.airflow.run("pools", "set", pool, str(count), "of the proof") == 0
            yield

    def backfill(self) -> int:
        return self.airflow.run("dags", "test", "audit_log_backfill")

    def steady_pass(self) -> list[int]:
        return [self.airflow.run("dags", "test", "audit_log")] * len(self.groups)


@dataclass
class UnderScheduler(InAirflow):
    """Run by Airflow's scheduler, its tasks in processes of their own."""

    runs: int = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        with super().running(), self.airflow.running():
            yield

    def backfill(self) -> int:
        return sum(self._codes("audit_log_backfill"))

    def steady_pass(self) -> list[int]:
        return self._codes("audit_log")

    def remarks(self) -> list[str]:
        tries, processes = self.airflow.processes()
        return [
            f"{tries} tries of tasks in {processes} processes",
            f"at once, at the most, in each pool: {self.airflow.at_once()}",
        ]

    def kept_apart(self) -> bool:
        at_once = self.airflow.at_once()
        return all(at_once[token.lower()] == 1 for token in TOKENS)

    def _codes(self, dag: str) -> list[int]:
        self.runs += 1
        states = self.airflow.trigger(dag, f"proof-{self.runs}")
        return [int(state != "success") for each in states.values() for state in each]


@contextmanager
def proof(size: Size, kind: type[Proof] = InDagster) -> Iterator[Proof]:
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
        made = kind(size, Path(name), sentry, server, logs, borders)
        made.chance.seed(size.seed)
        with made.running():
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
        proof(unharmed) as fleet,
        subprocess.Popen(command, cwd=DAGSTER, env=fleet.variables) as dagster,
        # Which reaches Dagster, too: it stops all that it has started.
        suppress(KeyboardInterrupt),
    ):
        dagster.wait()


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
