"""Runs of one version of the tap, forked from a process that has imported it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path
    from signal import Signals
    from types import TracebackType

RUNNER = """
import importlib, json, os, sys, time
for name in ("tap_sentry_audit.__main__", "tap_sentry_audit.command"):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError:  # an older version
        pass
main = importlib.import_module("tap_sentry_audit.__main__").main
for line in sys.stdin:
    order = json.loads(line)
    folder = order["folder"]
    pid = os.fork()
    if not pid:
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["tap-sentry-audit", "--config", f"{folder}/config.json"]
        if os.path.exists(f"{folder}/state.json"):
            sys.argv += ["--state", f"{folder}/state.json"]
        main()
    if order["signal"]:
        time.sleep(order["after"])
        os.kill(pid, order["signal"])
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Kill:
    """A signal so many seconds after the start."""

    after: float
    signal: Signals


@dataclass(frozen=True)
class Outcome:
    """What a run left behind; a message that was broken off is none."""

    returncode: int
    messages: list[dict[str, Any]]
    stderr: str


class Tap:
    """One version of the tap, named by the Python that has it."""

    def __init__(self, python: str) -> None:
        self.python = python
        self._runner = subprocess.Popen(
            [python, "-c", RUNNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._runner.communicate()

    def run(
        self, folder: Path, settings: dict[str, Any], state: object, kill: Kill | None
    ) -> Outcome:
        """Run the tap in an empty folder until it ends by itself, or by a signal."""
        (folder / "config.json").write_text(json.dumps(settings))
        if state is not None:
            (folder / "state.json").write_text(json.dumps(state))
        assert self._runner.stdin
        assert self._runner.stdout
        order = {"folder": str(folder), "after": 0.0, "signal": 0}
        if kill:
            order |= {"after": kill.after, "signal": int(kill.signal)}
        self._runner.stdin.write(f"{json.dumps(order)}\n")
        self._runner.stdin.flush()
        returncode = int(self._runner.stdout.readline())
        lines = (folder / "stdout").read_text().splitlines(keepends=True)
        return Outcome(
            returncode,
            [json.loads(line) for line in lines if line.endswith("\n")],
            (folder / "stderr").read_text(),
        )
