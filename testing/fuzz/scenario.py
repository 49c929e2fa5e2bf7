"""One random scenario: logs, a server with faults, runs that are ended, and what must come."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from testing.fuzz.state import Run
from testing.fuzz.tap import SMALL_PIPE, Kill
from testing.sentry_model import FAULTS, Entry, Organization, RateLimit, SentryModel

if TYPE_CHECKING:
    from pathlib import Path

    from testing.fuzz.tap import Outcome, Tap

MINUTE = 60_000_000
LOOKBACK = 3600
LATEST = (LOOKBACK - 600) * 1_000_000
"""How late an entry can be, in microseconds: before the newest one, and before now."""

RECORD_BYTES = 400
"""About what a RECORD takes on stdout."""

PAGE = 100
"""Rows in a full page."""

EVENTS = ["org.edit", "member.invite", "member.edit", "project.create", "team.create"]
MOST_RUNS = 6

SECRET = "0123456789abcdef"  # noqa: S105  (it is nobody's)
"""What no byte of stdout or stderr may hold."""

ODD_ROWS: list[dict[str, Any]] = [
    {"note": "edited", "ipAddress": "203.0.113.9", "data": {"teams": [1, 2.5, None, {}]}},
    {"targetUser": {"id": "5", "name": "Çelik"}, "targetObject": 2**70},
    {"targetUser": 5, "data": []},
    {"targetUser": "user005@acme.example", "targetObject": "12", "ipAddress": 5},
    {"note": f"set key to {SECRET}", "data": {"secret_key": SECRET}},
    {"data": {"keys": [{"id": 1, "dsn": {"client_secret": [SECRET, {"of": SECRET}]}}]}},
    {"unknown": {"list": [[{"accessToken": SECRET}]]}},
    {"note": "\ud800 alone, \u2028 and \U0001f512"},
    {"unknown": {"deep": [1, "two"]}, "other": None},
]
"""What rows can have besides; a tie is asked for by event and actor, which stay as they are."""

NEW_FIELD = "additionalFields"
"""A field of records that only newer versions have; versions are compared without it."""

BUSY_RATE = 0.1
"""Part of the runs in which the server asks everybody to wait for a second."""

SLOW_RATE = 0.05
"""Part of the scenarios with long logs in which stdout is read slowly."""

SLOW_SECONDS = 14
"""How long it takes to read a whole log slowly: a STATE is due after ten seconds."""

LESS_OFTEN = "429"
"""The one fault that is waited for long: half a second to one and a half."""


@dataclass
class Target:
    """An append-only target that keeps what lies before the last STATE of a run."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    schemas: list[dict[str, Any]] = field(default_factory=list)
    state: object = None

    def take(self, outcome: Outcome) -> None:
        waiting: list[dict[str, Any]] = []
        for message in outcome.messages:
            if message["type"] == "RECORD":
                message["record"].pop(NEW_FIELD, None)
                waiting.append(message["record"])
            elif message["type"] == "SCHEMA":
                message["schema"]["properties"].pop(NEW_FIELD, None)
                if message not in self.schemas:
                    self.schemas.append(message)
            elif message["type"] == "STATE":
                self.rows += waiting
                waiting = []
                self.state = message["value"]


class Scenario:
    """What a seed makes: `play` lets a version of the tap read it, and returns what went wrong.

    `now` is in microseconds since 1970. With the same `now`, the same seed makes the same
    scenario. It can be played once.
    """

    def __init__(self, seed: int, now: int) -> None:
        self.seed = seed
        self._random = Random(seed)  # noqa: S311
        # Requests come in any order, so what they cause must not change what follows.
        self._at_requests = Random(seed + 1)  # noqa: S311
        self._number = 0
        self._change_rate = 0.0
        self._now = now - 5 * MINUTE
        self._newest = now - MINUTE
        self.is_calm = self._random.random() < 0.3
        self.is_long = self._random.random() < 0.25
        self._null_rate = self._random.choice([0.0] * 8 + [0.02, 0.5])
        self._rate_limit = self._random.choice([None] * 6 + [RateLimit(60, 3), RateLimit(200, 8)])
        if self._null_rate:
            self._rate_limit = None
        if self.is_long:
            self._null_rate, self._rate_limit = 0.0, None
        # A tie wider than a page takes tens of requests, hundreds with null rows in it.
        self._is_slow = self._null_rate > 0 or self._rate_limit is not None
        count = self._random.choice([1, 1, 2, 3, 12])
        slugs = ["acme", "beta", "gamma", *(f"org-{number}" for number in range(9))][:count]
        self.organizations = {slug: Organization() for slug in slugs}
        for organization in self.organizations.values():
            organization.add(self._long_log() if self.is_long else self._log())
            organization.before_answer = partial(self._change, organization)
        self._pause = 0.0
        if self.is_long and self._random.random() < SLOW_RATE:
            self._pause = SLOW_SECONDS * SMALL_PIPE / self._output()
        # A run that was stopped in a backfill looks for nothing that is older.
        self._earliest_late = now - LATEST
        self.target = Target()

    def play(self, tap: Tap, folder: Path, first: Tap | None = None) -> list[str]:
        """Let a version of the tap read it all, the first half of the runs another one."""
        rng, target = self._random, self.target
        problems: list[str] = []
        with SentryModel(self.organizations, self.seed) as sentry:
            sentry.faults = rng.sample([*FAULTS] * 4, 9)
            sentry.faults = [
                name for name in sentry.faults if name != LESS_OFTEN or rng.random() < 0.3
            ]
            sentry.rate_limit = self._rate_limit
            settings: dict[str, Any] = {
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
                is_peaceful = is_last or self.is_calm
                sentry.fault_rate = 0.0 if is_last else rng.choice([0.0, 0.02, 0.15])
                self._change_rate = 0.0 if is_peaceful else rng.choice([0.0, 0.05, 0.3])
                kill = None if is_peaceful else self._kill()
                sentry.impatient = 0
                is_busy = self._rate_limit is None and rng.random() < BUSY_RATE
                sentry.busy_at = sentry.requests + rng.randint(1, 25) if is_busy else None
                version = first if first and number < (runs + 1) // 2 else tap
                before = {slug: one.shown for slug, one in self.organizations.items()}
                outcome = self._run(version, folder, settings, sentry, kill)
                problems += _of_run(outcome, kill, must_succeed=is_peaceful)
                problems += self._of_states(outcome, before)
                problems += _of_state_bytes(outcome) if version.is_this else []
                # Those that were on their way when it was asked to wait.
                if sentry.impatient >= settings["max_concurrent_requests"]:
                    problems.append(f"{sentry.impatient} requests came instead of a wait")
                target.take(outcome)
                if number < runs - 2:
                    self._live()
        return problems + self._missing(target)

    def _run(
        self,
        tap: Tap,
        folder: Path,
        settings: dict[str, Any],
        sentry: SentryModel,
        kill: Kill | None,
    ) -> Outcome:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        before = sentry.requests

        def on_request(number: int) -> None:
            if kill and not kill.written and number >= before + kill.requests:
                kill.is_due.set()

        sentry.on_request = on_request
        on_request(before)
        return tap.run(folder, settings, self.target.state, kill, self._pause)

    def _of_states(self, outcome: Outcome, before: dict[str, dict[str, Entry]]) -> list[str]:
        """Check each STATE of a run; `before` is what each organization showed before it."""
        problems = []
        for slug, organization in self.organizations.items():
            sent = frozenset(row["id"] for row in self.target.rows if row["organization"] == slug)
            standing = [entry for key, entry in before[slug].items() if key in organization.entries]
            # A tie that changes while it is read may be given up, which the tap says.
            if f"{slug}: entries may be missing" in outcome.stderr:
                standing = []
            run = Run(slug, self.target.state, sent, standing, organization.known)
            problems += run.broken_promises(outcome.messages)
        return problems

    def _missing(self, target: Target) -> list[str]:
        """Compare what the target has to what the server has and had."""
        problems = []
        for slug, organization in self.organizations.items():
            ids = [row["id"] for row in target.rows if row["organization"] == slug]
            twice = len(ids) - len(set(ids))
            missing = organization.shown.keys() - set(ids)
            unknown = set(ids) - {e.id for e in organization.known.values() if not e.is_null}
            if twice:
                problems.append(f"{slug}: {twice} entries came twice")
            if missing:
                problems.append(f"{slug}: {len(missing)} of {len(organization.shown)} missing")
            wrong = [
                row["id"]
                for row in target.rows
                if row["organization"] == slug
                and row["id"] in organization.known
                and not _is_of(row, organization.known[row["id"]])
            ]
            if wrong:
                problems.append(f"{slug}: {len(wrong)} entries are not as the server has them")
            if unknown:
                problems.append(f"{slug}: {len(unknown)} that the server never had")
        return problems

    def _log(self) -> list[Entry]:
        rng, at = self._random, self._now
        entries: list[Entry] = []
        widths = [1, 1, 2, 3, 30, 99, 100, 101, 150, 260]
        for _ in range(rng.choice([0, 1, 2, 4, 8, 16])):
            width = rng.choice(widths)
            if self._is_slow and width > PAGE:
                widths = [width for width in widths if width < PAGE]
            within = rng.choice([1, 1, 1_000, 5_000, 10 * MINUTE])
            entries += [self._entry(at - rng.randrange(within)) for _ in range(width)]
            steps = [1, 500, 1_000, 1_001, MINUTE, 90 * MINUTE, 5_000 * MINUTE]
            at -= rng.choice(steps[3:] if self._is_slow else steps)
        return entries

    def _long_log(self) -> list[Entry]:
        """Return more entries than lie between two STATE messages, often of several lookbacks."""
        rng, at = self._random, self._now
        entries: list[Entry] = []
        steps = rng.choice([[200], [7_000], [MINUTE], [90 * MINUTE], [200, 7_000, 90 * MINUTE]])
        for _ in range(rng.randint(500, 2500)):
            entries.append(self._entry(at))
            at -= round(rng.choice(steps) * rng.uniform(0.5, 1.5))
        return entries

    def _entry(self, at: int, rng: Random | None = None) -> Entry:
        self._number += 1
        rng = rng or self._random
        return Entry(
            at,
            str(self._number),
            rng.choice(EVENTS),
            rng.choice([None, 1, 2, 3]),
            rng.choice(ODD_ROWS) if rng.random() < 0.2 else {},
            rng.random() < self._null_rate,
        )

    def _live(self) -> None:
        """Let time go by between two runs: new entries, and late ones within the lookback."""
        rng = self._random
        for organization in self.organizations.values():
            newest = max((e.at for e in organization.known.values()), default=self._now)
            new = min(newest + rng.choice([0, 1, MINUTE]), self._newest)
            late = [newest - rng.randrange(LATEST) for _ in range(rng.randint(0, 3))]
            organization.add(self._entry(at) for at in late if at > self._earliest_late)
            organization.add(
                self._entry(new) for _ in range(rng.choice([0, 1, 5, 5 if self._is_slow else 130]))
            )

    def _change(self, organization: Organization, _: dict[str, str]) -> None:
        """Let entries come and go while the log is read."""
        rng, entries = self._at_requests, organization.entries
        if not entries or rng.random() >= self._change_rate:
            return
        # Of all that there ever were: the bookmark does not go back when an entry is deleted.
        newest = max(entry.at for entry in organization.known.values())
        earliest = max(newest - LATEST, self._earliest_late)
        tied = [entry.at for entry in entries.values() if entry.at > earliest]
        match rng.choice(["new", "late", "tied", "gone"]):
            case "new":
                at = min(newest + rng.choice([0, 1, 1000]), self._newest)
            case "late":
                at = max(newest - rng.randrange(LATEST), min(newest, self._earliest_late))
            case "tied":
                at = rng.choice(tied or [newest])
            case _:
                del entries[rng.choice(list(entries))]
                return
        organization.add(
            self._entry(at, rng) for _ in range(rng.choice([1, 1, 1 if self._is_slow else 40]))
        )

    def _output(self) -> int:
        """Estimate the bytes of stdout for all of the logs."""
        return RECORD_BYTES * (1 + sum(len(one.entries) for one in self.organizations.values()))

    def _kill(self) -> Kill | None:
        rng = self._random
        ending = rng.choice([None, signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
        if ending is None:
            return None
        soon = rng.choice([0, 0.005, 0.02]) * rng.random()
        match rng.choice(["requests", "output", "output" if self.is_long else "time"]):
            case "time":
                return Kill(ending, rng.choice([0.05, 0.3, 1.0]) * rng.random())
            case "requests":
                return Kill(ending, soon, requests=rng.randint(1, 25))
            case _:
                return Kill(ending, soon, written=rng.randint(1, self._output()))


def differences(one: Scenario, other: Scenario) -> list[str]:
    """Return in what the targets of two versions differ that read the same scenario."""
    found = []
    for slug in one.organizations:
        rows, others = (
            {row["id"]: row for row in each.target.rows if row["organization"] == slug}
            for each in (one, other)
        )
        if rows.keys() != others.keys():
            differ = sorted(rows.keys() ^ others.keys())
            found.append(f"{slug}: only one version sent {differ[:5]} and {len(differ)} in all")
        unlike = [key for key in rows.keys() & others.keys() if rows[key] != others[key]]
        if unlike:
            key = min(unlike)
            found.append(f"{slug}: {len(unlike)} records differ: {rows[key]} and {others[key]}")
        elif list(rows) != list(others):
            found.append(f"{slug}: the records come in another order")
    if one.target.schemas != other.target.schemas:
        found.append("the SCHEMA messages differ")
    return found


def _is_of(record: dict[str, Any], entry: Entry) -> bool:
    created, wanted = map(datetime.fromisoformat, (record["dateCreated"], entry.date_created))
    return created == wanted and record["event"] == entry.event


def _of_state_bytes(outcome: Outcome) -> list[str]:
    lines = outcome.stdout.encode().split(b"\n")
    sizes = [len(line) for line in lines if line.startswith(b'{"type":"STATE"')]
    records = sum(message["type"] == "RECORD" for message in outcome.messages)
    if sum(sizes[:-1]) > 100 * records + 10_000:
        return [f"{sum(sizes[:-1])} bytes of STATE before the last, for {records} records"]
    return []


def _of_run(outcome: Outcome, kill: Kill | None, *, must_succeed: bool) -> list[str]:
    problems = []
    if outcome.has_hung:
        problems.append("a run did not end")
    if "Traceback" in outcome.stderr:
        problems.append(f"a traceback: {outcome.stderr[-400:]}")
    # Seven tries of a request outlast these faults; where the log changes, a tie may be unproved.
    if must_succeed and outcome.returncode != 0:
        problems.append(f"a run in peace ended with {outcome.returncode}: {outcome.stderr[-400:]}")
    if SECRET in outcome.stdout or SECRET in outcome.stderr:
        problems.append("a secret came out")
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
