"""Runs of one version of the tap, forked from a process that has imported it."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
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


SMALL_PIPE = 4096
"""Bytes that a pipe holds at least: the tap can be no further ahead of who reads it."""


@dataclass(frozen=True)
class Kill:
    """A signal, and when it comes: so many seconds after the run made or wrote so much.

    `is_due` has to be set once so many requests were made; where `written` is not zero, it is set
    once so many bytes of stdout were read. Then the run can write no more than fills the pipe
    before the signal comes.
    """

    signal: Signals
    seconds: float = 0.0
    requests: int = 0
    written: int = 0
    is_due: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Outcome:
    """What a run left behind, without a message that was broken off."""

    returncode: int
    stdout: str
    messages: list[dict[str, Any]]
    stderr: str
    has_hung: bool
    """Whether it had to be killed after `LONGEST` seconds."""


class Tap:
    """One version of the tap, named by the Python that has it.

    `package` is the folder that the version was imported from; `is_this` tells whether that is
    the version of these tests.
    """

    def __init__(self, python: str) -> None:
        # With -P, the tap in the current folder does not take the place of the installed one.
        self._runner = subprocess.Popen(
            [python, "-P", "-c", RUNNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            # As users run it, with a buffer between the tap and the pipe.
            env={name: os.environ[name] for name in os.environ if name != "PYTHONUNBUFFERED"},
        )
        self.package = self._answer()
        self.is_this = python == sys.executable

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
        pause: float = 0.0,
    ) -> Outcome:
        """Run the tap in an empty folder until it ends by itself, or by a signal.

        With a pause, stdout is read slowly: so many seconds go by after every few kilobytes.
        """
        (folder / "config.json").write_text(json.dumps(settings))
        (folder / "stderr").touch()  # a signal can end the process before it opens it
        if state is not None:
            (folder / "state.json").write_text(json.dumps(state))
        is_slow = pause > 0 or (kill is not None and kill.written > 0)
        pipe = _pipe(folder / "stdout", is_small=is_slow)
        assert self._runner.stdin
        self._runner.stdin.write(f"{folder}\n")
        self._runner.stdin.flush()
        pid = int(self._answer())
        has_ended, has_hung, is_sent = threading.Event(), threading.Event(), threading.Event()

        def send_signal(kill: Kill) -> None:
            kill.is_due.wait()
            if not has_ended.wait(kill.seconds):
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(pid, kill.signal)
            is_sent.set()

        def end_hung_run() -> None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, signal.SIGKILL)
            has_hung.set()

        def on_read(size: int) -> None:
            if kill and kill.written and size >= kill.written:
                kill.is_due.set()
                is_sent.wait()
            has_ended.wait(pause)

        stdout = bytearray()
        watching = threading.Timer(LONGEST, end_hung_run)
        watching.start()
        threads = [threading.Thread(target=_read, args=(pipe, stdout, is_slow, has_ended, on_read))]
        threads += [threading.Thread(target=send_signal, args=(kill,))] if kill else []
        for thread in threads:
            thread.start()
        returncode = int(self._answer())
        watching.cancel()
        has_ended.set()
        if kill:
            kill.is_due.set()
        for thread in threads:
            thread.join()
        os.close(pipe)
        text = stdout[: stdout.rfind(b"\n") + 1].decode()
        return Outcome(
            returncode,
            text,
            [json.loads(line) for line in text.split("\n")[:-1]],
            (folder / "stderr").read_text("utf-8"),
            has_hung.is_set(),
        )

    def _answer(self) -> str:
        assert self._runner.stdout
        return self._runner.stdout.readline().rstrip("\n")


def _pipe(path: Path, *, is_small: bool) -> int:
    """Make a pipe with a name, and open the end that is read."""
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if is_small and sys.platform == "linux":
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, SMALL_PIPE)
    return pipe


def _read(
    pipe: int,
    into: bytearray,
    is_slow: bool,  # noqa: FBT001  (a thread's argument)
    has_ended: threading.Event,
    on_read: Callable[[int], None],
) -> None:
    """Read a pipe that does not block until its writer has ended."""
    size = SMALL_PIPE if is_slow else 1 << 16
    while True:
        is_last = has_ended.is_set()
        # Before the writer has opened it, nothing is ready; once it has closed it, the end is.
        piece = os.read(pipe, size) if select.select([pipe], [], [], 0.02)[0] else b""
        if piece:
            into += piece
            on_read(len(into))
        elif is_last:
            return
        else:
            has_ended.wait(0.005)
