"""`tap-sentry-audit | target-postgres`, with both exit codes looked at."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sentry_fleet.settings import Fleet

State = dict[str, Any]

SCHEMA = "sentry"
"""Where target-postgres loads into."""


@dataclass(frozen=True)
class Loaded:
    """What a pipe did: the last state that the target has stored all records of, and how it ended.

    A state counts even if the pipe failed: everything before it is in the database.
    """

    state: State | None
    tap: int
    target: int

    @property
    def problem(self) -> str | None:
        """What went wrong, if anything did."""
        codes = {"tap-sentry-audit": self.tap, "target-postgres": self.target}
        failed = [f"{name} ended with {code}" for name, code in codes.items() if code]
        return f"{' and '.join(failed)}: its last lines above say why" if failed else None


def run_pipe(fleet: Fleet, settings: Mapping[str, object], state: State | None = None) -> Loaded:
    """Run the tap into the target, from a state or as a first run.

    Settings, token and state lie in a folder of this pipe's own, which only its user can read, and
    which goes with it. Both programs end if this is interrupted.
    """
    with TemporaryDirectory(prefix="sentry-fleet-") as name:
        folder = Path(name)
        shared: dict[str, object] = {"host": fleet.host, "lookback_seconds": fleet.lookback_seconds}
        tap = ["tap-sentry-audit", *_given(folder, "config", shared | dict(settings))]
        target = ["target-postgres", *_given(folder, "config", _target(fleet), "target.json")]
        if state is not None:
            tap += _given(folder, "state", state)
        # target-postgres stores times in the zone of its session, without saying which.
        variables = os.environ | {"PGTZ": "UTC"}
        with (
            subprocess.Popen(  # noqa: S603  (our own commands)
                tap, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=folder
            ) as source,
            subprocess.Popen(  # noqa: S603  (our own commands)
                target, stdin=source.stdout, stdout=subprocess.PIPE, cwd=folder, env=variables
            ) as sink,
        ):
            try:
                if source.stdout and sink.stdout:
                    # Only the target may hold the end to read from: the tap ends with it.
                    source.stdout.close()
                    stored = [line for line in sink.stdout if line.endswith(b"\n")][-1:]
                codes = source.wait(), sink.wait()
            except BaseException:
                source.kill()
                sink.kill()
                raise
        return Loaded(json.loads(stored[0]) if stored else None, *codes)


def _target(fleet: Fleet) -> dict[str, object]:
    return {
        "sqlalchemy_url": fleet.database.replace("postgresql://", "postgresql+psycopg://", 1),
        "default_target_schema": SCHEMA,
        "load_method": "upsert",
        "sanitize_null_text_characters": True,
    }


def _given(folder: Path, option: str, content: object, file: str = "") -> list[str]:
    path = folder / (file or f"{option}.json")
    path.write_text(json.dumps(content))
    return [f"--{option}", str(path)]
