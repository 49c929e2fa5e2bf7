"""Programs as processes of their own, forked from one that has imported them already.

To import the SDK takes longer than most runs; with hundreds of runs that were most of the suite's
time. How the commands start by themselves is tested with the installed ones.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from multiprocessing.process import BaseProcess

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(
    [
        "tap_captivateiq_audit.__main__",
        "tap_captivateiq_audit.command",
        "tap_sentry_audit.__main__",
        "tap_sentry_audit.command",
        "target_otlp.__main__",
        "target_otlp.command",
    ]
)


@dataclass(frozen=True)
class Done:
    """What a process left behind."""

    returncode: int
    stdout: str
    stderr: str


def run(  # noqa: PLR0913, PLR0917  (all that a process is given)
    package: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    stdin: bytes = b"",
    timeout: float = 60,
    meanwhile: Callable[[int], None] | None = None,
) -> Done:
    """Run `python -m package` to its end, in an environment of these variables alone.

    `meanwhile` is called with the id of the process as soon as it runs.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
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
        return Done(process.exitcode, stdout, stderr)


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
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [package, *arguments]
    importlib.import_module(f"{package}.__main__").main()
