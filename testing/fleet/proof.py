"""Logs that a fleet has to load, what stands in its way, and what came of it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from testing.fake_sentry import FakeSentry, Log, entries
from testing.fake_sentry.log import FIRST_ID, IDS
from testing.postgres import Postgres, postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.fake_sentry.server import Access

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    "tap-sentry-audit": Path(sys.executable).parent / "tap-sentry-audit",
    "target-postgres": ROOT / ".meltano/loaders/target-postgres/venv/bin/target-postgres",
}
TOKENS = {"TOKEN_A": "token-a", "TOKEN_B": "token-b"}
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
            f"borders = [{', '.join(map(named, self.borders))}]",
            f"at_once = {self.size.workers}",
        ]
        for number, (name, slugs) in enumerate(self.groups.items()):
            token = list(TOKENS)[number % 2]
            lines += ["[[groups]]", f'name = "{name}"', f'token = "{token}"']
            lines.append(f"organizations = {json.dumps(slugs)}")
        return "\n".join(lines)


@contextmanager
def proof(size: Size, kind: type[Proof]) -> Iterator[Proof]:
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


def named(border: datetime) -> str:
    return f"{border:%Y-%m-%dT%H:%M:%SZ}"
