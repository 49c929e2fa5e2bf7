"""One random scenario: logs, a server with faults, runs that are ended, and what must come."""

from __future__ import annotations

import shutil
import signal
import time
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from fuzz.tap import Kill
from sentry_model import Entry, Organization, SentryModel

if TYPE_CHECKING:
    from pathlib import Path

    from fuzz.tap import Outcome, Tap

MINUTE = 60_000_000
LOOKBACK = 3600
LATEST = (LOOKBACK - 600) * 1_000_000
"""How late an entry can be, in microseconds before the newest one."""

EVENTS = ["org.edit", "member.invite", "member.edit", "project.create", "team.create"]
MOST_RUNS = 6


@dataclass
class Target:
    """An append-only target that keeps what lies before the last STATE of a run."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    state: object = None

    def take(self, outcome: Outcome) -> None:
        waiting: list[dict[str, Any]] = []
        for message in outcome.messages:
            if message["type"] == "RECORD":
                waiting.append(message["record"])
            elif message["type"] == "STATE":
                self.rows += waiting
                waiting = []
                self.state = message["value"]


class Scenario:
    """What a seed makes: `play` lets a version of the tap read it, and returns what went wrong."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._random = Random(seed)  # noqa: S311
        # Requests come in any order, so what they cause must not change what follows.
        self._at_requests = Random(seed + 1)  # noqa: S311
        self._number = 0
        self._change_rate = 0.0
        self._now = int(time.time() * 1_000_000) - 5 * MINUTE
        slugs = ["acme", "beta", "gamma"][: self._random.choice([1, 1, 2, 3])]
        self.organizations = {slug: Organization() for slug in slugs}
        for organization in self.organizations.values():
            organization.add(self._log())
            organization.before_answer = partial(self._change, organization)

    def play(self, tap: Tap, folder: Path) -> list[str]:
        rng, target = self._random, Target()
        problems: list[str] = []
        with SentryModel(self.organizations, self.seed) as sentry:
            settings = {
                "auth_token": "token",
                "organizations": list(self.organizations),
                "host": sentry.url,
                "requests_per_second": 1000,
                "max_concurrent_requests": rng.choice([1, 2, 12]),
                "lookback_seconds": LOOKBACK,
            }
            runs = rng.randint(1, MOST_RUNS)
            for number in range(runs):
                is_last = number == runs - 1
                sentry.fault_rate = 0.0 if is_last else rng.choice([0.0, 0.0, 0.02, 0.1])
                self._change_rate = 0.0 if is_last else rng.choice([0.0, 0.05, 0.3])
                kill = None if is_last else self._kill()
                outcome = self._run(tap, folder, settings, target, kill)
                problems += _of_run(outcome, kill, is_last=is_last)
                target.take(outcome)
                if number < runs - 2:
                    self._live()
        return problems + self._missing(target)

    def _run(
        self, tap: Tap, folder: Path, settings: dict[str, Any], target: Target, kill: Kill | None
    ) -> Outcome:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return tap.run(folder, settings, target.state, kill)

    def _missing(self, target: Target) -> list[str]:
        """Compare what the target has to what the server has and had."""
        problems = []
        for slug, organization in self.organizations.items():
            ids = [row["id"] for row in target.rows if row["organization"] == slug]
            twice = len(ids) - len(set(ids))
            missing = organization.entries.keys() - set(ids)
            unknown = set(ids) - organization.known.keys()
            if twice:
                problems.append(f"{slug}: {twice} entries came twice")
            if missing:
                problems.append(f"{slug}: {len(missing)} of {len(organization.entries)} missing")
            wrong = [
                row["id"]
                for row in target.rows
                if row["organization"] == slug
                and row["id"] in organization.known
                and row["event"] != organization.known[row["id"]].event
            ]
            if wrong:
                problems.append(f"{slug}: {len(wrong)} entries are not as the server has them")
            if unknown:
                problems.append(f"{slug}: {len(unknown)} that the server never had")
        return problems

    def _log(self) -> list[Entry]:
        rng, at = self._random, self._now
        entries: list[Entry] = []
        for _ in range(rng.choice([0, 1, 3, 8, 20])):
            width = rng.choice([1, 1, 2, 3, 30, 99, 100, 101, 150, 260])
            within = rng.choice([1, 1, 1_000, 5_000, 10 * MINUTE])
            entries += [self._entry(at - rng.randrange(within)) for _ in range(width)]
            at -= rng.choice([1, 500, 1_000, 1_001, MINUTE, 90 * MINUTE, 5_000 * MINUTE])
        return entries

    def _entry(self, at: int, rng: Random | None = None) -> Entry:
        self._number += 1
        rng = rng or self._random
        return Entry(at, str(self._number), rng.choice(EVENTS), rng.choice([None, 1, 2, 3]))

    def _live(self) -> None:
        """Let time go by between two runs: new entries, and late ones within the lookback."""
        rng = self._random
        for organization in self.organizations.values():
            newest = max((e.at for e in organization.entries.values()), default=self._now)
            new = min(newest + rng.choice([0, 1, MINUTE]), int(time.time() * 1_000_000))
            late = [newest - rng.randrange(LATEST) for _ in range(3)]
            organization.add(self._entry(at) for at in late[: rng.randint(0, 3)])
            organization.add(self._entry(new) for _ in range(rng.choice([0, 1, 5, 130])))

    def _change(self, organization: Organization, _: dict[str, str]) -> None:
        """Let entries come and go while the log is read."""
        rng, entries = self._at_requests, organization.entries
        if not entries or rng.random() >= self._change_rate:
            return
        newest = max(entry.at for entry in entries.values())
        match rng.choice(["new", "late", "tied", "gone"]):
            case "new":
                at = min(newest + rng.choice([0, 1, 1000]), int(time.time() * 1_000_000))
            case "late":
                at = newest - rng.randrange(LATEST)
            case "tied":
                at = rng.choice([e.at for e in entries.values() if e.at > newest - LATEST])
            case _:
                del entries[rng.choice(list(entries))]
                return
        organization.add(self._entry(at, rng) for _ in range(rng.choice([1, 1, 40])))

    def _kill(self) -> Kill | None:
        rng = self._random
        ending = rng.choice([None, signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
        return Kill(rng.choice([0.05, 0.3, 1.0]) * rng.random(), ending) if ending else None


def _of_run(outcome: Outcome, kill: Kill | None, *, is_last: bool) -> list[str]:
    problems = []
    if "Traceback" in outcome.stderr:
        problems.append(f"a traceback: {outcome.stderr[-400:]}")
    if is_last and outcome.returncode != 0:
        problems.append(f"the last run ended with {outcome.returncode}: {outcome.stderr[-400:]}")
    times: dict[str, str] = {}
    for message in outcome.messages:
        if message["type"] == "RECORD":
            record = message["record"]
            slug, created = record["organization"], record["dateCreated"]
            if created < times.get(slug, ""):
                problems.append(f"{slug}: {created} comes after {times[slug]}")
            times[slug] = created
    stopped = kill and kill.signal is not signal.SIGKILL
    kinds = [message["type"] for message in outcome.messages]
    if stopped and "RECORD" in kinds and kinds[-1] != "STATE":
        problems.append("a run that was asked to stop did not end with a STATE")
    return problems
