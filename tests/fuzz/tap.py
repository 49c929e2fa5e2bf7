"""Runs of one version of the tap, forked from a process that has imported it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path
    from signal import Signals
    from types import TracebackType

# All modules are imported by name, so that it does not matter how a version arranges them.
RUNNER = """
import importlib, os, pkgutil, sys
main = importlib.import_module("tap_sentry_audit.__main__").main
import tap_sentry_audit
for module in pkgutil.walk_packages(tap_sentry_audit.__path__, "tap_sentry_audit."):
    importlib.import_module(module.name)
print(os.path.dirname(tap_sentry_audit.__file__), flush=True)
for line in sys.stdin:
    folder = line.rstrip("\\n")
    pid = os.fork()
    if not pid:
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["tap-sentry-audit", "--config", f"{folder}/config.json"]
        if os.path.exists(f"{folder}/state.json"):
            sys.argv += ["--state", f"{folder}/state.json"]
        main()
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


LONGEST = 120.0
"""Seconds after which a run is killed that does not end."""


@dataclass(frozen=True)
class Kill:
    """A signal, so many requests and then so many seconds after the start."""

    signal: Signals
    requests: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a run left behind; a message that was broken off is none."""

    returncode: int
    messages: list[dict[str, Any]]
    stderr: str
    has_hung: bool
    """Whether it had to be killed after `LONGEST` seconds."""


class Tap:
    """One version of the tap, named by the Python that has it.

    `package` is the folder that the version was imported from.
    """

    def __init__(self, python: str) -> None:
        # With -P, the tap in the current folder does not take the place of the installed one.
        self._runner = subprocess.Popen(
            [python, "-P", "-c", RUNNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self.package = self._answer()

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
        self,
        folder: Path,
        settings: dict[str, Any],
        state: object,
        kill: Kill | None = None,
        is_due: threading.Event | None = None,
    ) -> Outcome:
        """Run the tap in an empty folder until it ends by itself, or by a signal.

        The seconds of the kill are counted from when `is_due` is set.
        """
        (folder / "config.json").write_text(json.dumps(settings))
        for name in ("stdout", "stderr"):
            (folder / name).touch()  # a signal can end the process before it opens them
        if state is not None:
            (folder / "state.json").write_text(json.dumps(state))
        assert self._runner.stdin
        self._runner.stdin.write(f"{folder}\n")
        self._runner.stdin.flush()
        pid, has_ended, is_due = int(self._answer()), threading.Event(), is_due or threading.Event()

        def send_signal(kill: Kill) -> None:
            is_due.wait()
            if not has_ended.wait(kill.seconds):
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(pid, kill.signal)

        def end_hung_run() -> None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, signal.SIGKILL)
            has_hung.set()

        has_hung = threading.Event()
        watching = threading.Timer(LONGEST, end_hung_run)
        watching.start()
        killing = [threading.Thread(target=send_signal, args=(kill,))] if kill else []
        for thread in killing:
            thread.start()
        returncode = int(self._answer())
        watching.cancel()
        has_ended.set()
        is_due.set()
        for thread in killing:
            thread.join()
        lines = (folder / "stdout").read_text("utf-8").split("\n")[:-1]
        return Outcome(
            returncode,
            [json.loads(line) for line in lines],
            (folder / "stderr").read_text("utf-8"),
            has_hung.is_set(),
        )

    def _answer(self) -> str:
        assert self._runner.stdout
        return self._runner.stdout.readline().rstrip("\n")
