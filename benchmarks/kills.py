"""What a `kill -9` of target-otlp repeats: `python -m benchmarks.kills` shows it.

The tap's output is piped into the target; the target is killed at a random time, again and again,
and each run begins at the last state that the one before it let out. The last run may end.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from testing.fake_receiver import FakeReceiver
from testing.fake_sentry import FakeSentry, Log, entries
from testing.otlp_target import COMMAND, ENVIRONMENT, PLUGIN
from testing.sentry_tap import config

TAP = [sys.executable, "-m", "tap_sentry_audit"]
EXAMPLE = PLUGIN / "examples" / "sentry-audit.json"
_KILLED_WITHIN = (1.5, 4.0)
"""Seconds after the start of the two; start-up takes about one of them."""


@dataclass(frozen=True)
class Kills:
    """What the receiver got over all runs: `repeats` has a number for each run but the first."""

    entries: int
    lost: int
    without_headway: int
    repeats: tuple[int, ...]

    def __str__(self) -> str:
        """Return a line for the documentation."""
        each = sorted(self.repeats)
        return (
            f"{len(each)} kills, {self.entries:,} entries: {self.lost} lost, {sum(each):,} "
            f"repeated (after a kill {each[0]} to {each[-1]:,}, median {each[len(each) // 2]:,}); "
            f"{self.without_headway} runs sent records and let no state out"
        )


def kill(times: int, count: int, seed: int) -> Kills:
    """Deliver a log of `count` entries, and kill the target so many times at random."""
    moments = random.Random(seed)  # noqa: S311  (no secret)
    log = Log(entries.even(count))
    repeats, without_headway = [], 0
    with (
        TemporaryDirectory() as name,
        FakeSentry({"acme": log}) as sentry,
        FakeReceiver() as receiver,
    ):
        folder = Path(name)
        folder.joinpath("tap.json").write_text(json.dumps(config(sentry)))
        folder.joinpath("target.json").write_text(json.dumps({"endpoint": receiver.url}))
        folder.joinpath("state.json").write_text("{}")
        seen: set[object] = set()
        for number in range(times + 1):
            before = len(receiver.kept)
            moment = moments.uniform(*_KILLED_WITHIN) if number < times else None
            has_state = _run(folder, moment)
            arrived = receiver.ids[before:]
            without_headway += bool(arrived) and not has_state
            if number:
                repeats.append(len(arrived) - len(set(arrived) - seen))
            seen.update(arrived)
    missing = {f"acme/{row['id']}" for row in log.rows() if row} - seen
    return Kills(count, len(missing), without_headway, tuple(repeats))


def _run(folder: Path, moment: float | None) -> bool:
    """Run both from the last state, kill the target at a moment, and keep the last whole state."""
    states, state = folder / "states", folder / "state.json"
    with (
        states.open("wb") as stdout,
        subprocess.Popen(  # noqa: S603  (our own commands)
            [*TAP, f"--config={folder / 'tap.json'}", f"--state={state}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as tap,
        subprocess.Popen(  # noqa: S603  (our own commands)
            [*COMMAND, f"--config={EXAMPLE}", f"--config={folder / 'target.json'}"],
            stdin=tap.stdout,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
        ) as target,
    ):
        if tap.stdout:
            tap.stdout.close()
        with suppress(subprocess.TimeoutExpired):
            target.wait(moment)
        target.kill()
    whole = [line for line in states.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"]
    if whole:
        state.write_bytes(whole[-1])
    return bool(whole)


if __name__ == "__main__":
    sys.stdout.write(f"{kill(times=20, count=100_000, seed=1)}\n")
