"""Programs as processes of their own, forked from one that has imported them already.

To import the SDK takes longer than most runs; with hundreds of runs that were most of the suite's
time. How the commands start by themselves is tested with the installed ones.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from multiprocessing.process import BaseProcess

Message = dict[str, Any]

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(
    [
        "mapper_sentry_ocsf.__main__",
        "mapper_sentry_ocsf.command",
        "tap_captivateiq_audit.__main__",
        "tap_captivateiq_audit.command",
        "tap_sentry_audit.__main__",
        "tap_sentry_audit.command",
        "target_otlp.__main__",
        "target_otlp.command",
    ]
)


@dataclass(frozen=True)
class Run:
    """What a process left behind; its stdout as Singer messages, or, of a target, as states."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def messages(self) -> list[Message]:
        # Not splitlines(): a text may hold U+2028, which JSON does not escape.
        return [json.loads(line) for line in self.stdout.split("\n") if line]

    def of_type(self, kind: str) -> list[Message]:
        return [message for message in self.messages if message["type"] == kind]

    @property
    def records(self) -> list[Message]:
        return [message["record"] for message in self.of_type("RECORD")]

    @property
    def ids(self) -> list[str]:
        return [record["id"] for record in self.records]

    @property
    def state(self) -> Message | None:
        """The last STATE's value: what a target would give to the next run."""
        states = self.of_type("STATE")
        return states[-1]["value"] if states else None

    @property
    def errors(self) -> list[str]:
        """The texts of the errors; the last one may say again what went wrong."""
        return list(dict.fromkeys(self.log("ERROR")))

    def log(self, level: str) -> list[str]:
        """The texts of the log lines of a level."""
        lines = [line.split(" | ", 3) for line in self.stderr.splitlines()]
        return [line[3] for line in lines if len(line) == 4 and line[1].strip() == level]


def run(  # noqa: PLR0913, PLR0917  (all that a process is given)
    package: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    stdin: bytes | None = b"",
    timeout: float = 60,
    meanwhile: Callable[[int], None] | None = None,
) -> Run:
    """Run `python -m package` to its end, in an environment of these variables alone.

    A stdin of None stays open and empty. `meanwhile` is called with the id of the process as soon
    as it runs.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        if stdin is None:
            os.mkfifo(folder / "stdin")
            stack.callback(os.close, os.open(folder / "stdin", os.O_RDWR))
        else:
            (folder / "stdin").write_bytes(stdin)
        for output in ("stdout", "stderr"):
            (folder / output).touch()  # a signal can end the process before it opens them
        process = start(package, arguments, environment, folder)
        if meanwhile and process.pid:
            meanwhile(process.pid)
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            message = f"{package} ran for more than {timeout} seconds"
            raise TimeoutError(message)
        stdout, stderr = ((folder / of).read_text("utf-8") for of in ("stdout", "stderr"))
        return Run(process.exitcode, stdout, stderr)


def run_below(
    folder: Path,
    package: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    stdin: bytes = b"",
) -> Run:
    """Run `python -m package` with an SDK that lies below a folder, where it looks for `.env`."""
    packages = folder / "venv" / "site-packages"
    packages.mkdir(parents=True)
    spec = importlib.util.find_spec("singer_sdk")
    assert spec
    assert spec.origin
    (packages / "singer_sdk").symlink_to(Path(spec.origin).parent)
    variables = {**environment, "PYTHONPATH": str(packages)}
    return run_in(Path.cwd(), package, arguments, variables, stdin)


def run_in(
    folder: Path,
    package: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    stdin: bytes = b"",
) -> Run:
    """Run `python -m package` in a folder."""
    done = subprocess.run(
        [sys.executable, "-m", package, *arguments],
        cwd=folder,
        env=environment,
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Run(done.returncode, done.stdout.decode(), done.stderr.decode())


def start(
    package: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path
) -> BaseProcess:
    """Start `python -m package`; it reads `stdin` in a folder, and makes `stdout` and `stderr`."""
    process = _FORKING.Process(target=_become, args=(package, arguments, environment, folder))
    process.start()
    return process


def _become(
    package: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path
) -> None:
    for descriptor, name in enumerate(["stdout", "stderr"], start=1):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, descriptor)
        os.close(file)
    sys.stdin = (folder / "stdin").open(encoding="utf-8")
    # Buffered as users have it, whatever PYTHONUNBUFFERED was when this server started.
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  (it stays)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [package, *arguments]
    importlib.import_module(f"{package}.__main__").main()
