"""`tap-sentry-audit | target-postgres`, with both exit codes looked at."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from sentry_fleet.settings import FleetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sentry_fleet.settings import Fleet

State = dict[str, Any]

TAP, TARGET = "tap-sentry-audit", "target-postgres"
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
        codes = {TAP: self.tap, TARGET: self.target}
        failed = [f"{name} ended with {code}" for name, code in codes.items() if code]
        return f"{' and '.join(failed)}: its last lines above say why" if failed else None


def run_pipe(fleet: Fleet, settings: Mapping[str, object], state: State | None = None) -> Loaded:
    """Run the tap into the target, from a state or as a first run.

    Settings, token and state are in files without a name, which go with their processes, however
    these end. Both programs end if this is interrupted.

    Raises:
        FleetError: One of the programs is not there.

    """
    for program in TAP, TARGET:
        if not shutil.which(program):
            message = f"{program} is not on the PATH of this worker: install it, or name it there"
            raise FleetError(message)
    shared: dict[str, object] = {"host": fleet.host, "lookback_seconds": fleet.lookback_seconds}
    # target-postgres stores times in the zone of its session, without saying which.
    variables = os.environ | {"PGTZ": "UTC"}
    with (
        _files(config=shared | dict(settings), state=state) as for_tap,
        _files(config=_target(fleet)) as for_target,
        _started(TAP, for_tap, subprocess.DEVNULL, os.environ) as source,
        _started(TARGET, for_target, source.stdout, variables) as sink,
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


@contextmanager
def _files(**contents: object) -> Iterator[dict[str, int]]:
    """Write what there is as JSON, each into a file that only its descriptor leads to."""
    with ExitStack() as files:
        given = {}
        for option, content in contents.items():
            if content is not None:
                file = files.enter_context(TemporaryFile())
                file.write(json.dumps(content).encode())
                file.seek(0)
                given[option] = file.fileno()
        yield given


def _started(
    program: str,
    files: Mapping[str, int],
    stdin: IO[bytes] | int | None,
    variables: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    options = [f"--{option}=/dev/fd/{number}" for option, number in files.items()]
    return subprocess.Popen(  # noqa: S603  (our own commands)
        [program, *options],
        stdin=stdin,
        stdout=subprocess.PIPE,
        pass_fds=files.values(),
        env=variables,
    )


def _target(fleet: Fleet) -> dict[str, object]:
    return {
        "sqlalchemy_url": fleet.database.replace("postgresql://", "postgresql+psycopg://", 1),
        "default_target_schema": SCHEMA,
        "load_method": "upsert",
        "sanitize_null_text_characters": True,
    }
