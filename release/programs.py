"""Other programs, run to their end."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from release import ROOT
from release.packages import ReleaseError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

UV = ROOT / ".uv" / "bin" / "uv"
TOOLS = ROOT / ".release" / "bin"
"""Where `make` installs the dependency group `release`."""


def run(
    *command: str | Path, folder: Path = ROOT, environment: Mapping[str, str] | None = None
) -> str:
    """Return what a command wrote to stdout.

    Raises:
        ReleaseError: It failed; the text holds all that it wrote.

    """
    done = subprocess.run(  # noqa: S603  (the commands are ours)
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        told = " ".join(map(str, command))
        message = f"{done.stdout}{done.stderr}{told} ended with exit code {done.returncode}"
        raise ReleaseError(message)
    return done.stdout
