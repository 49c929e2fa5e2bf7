"""The tap as users run it: a process, its stdout read as Singer messages."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import forked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fake_sentry import FakeSentry

Message = dict[str, Any]

TOKEN = "token"  # noqa: S105  (the stand-in's)


@dataclass(frozen=True)
class Run:
    """What a run left behind."""

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
    def records(self) -> list[dict[str, Any]]:
        return [message["record"] for message in self.of_type("RECORD")]

    @property
    def ids(self) -> list[str]:
        return [record["id"] for record in self.records]

    @property
    def state(self) -> Message | None:
        """The last STATE's value: what a target would give to the next run."""
        states = self.of_type("STATE")
        return states[-1]["value"] if states else None

    def log(self, level: str) -> list[str]:
        """The texts of the log lines of a level."""
        lines = [line.split(" | ", 3) for line in self.stderr.splitlines()]
        return [line[3] for line in lines if len(line) == 4 and line[1].strip() == level]


def config(sentry: FakeSentry, **settings: object) -> dict[str, object]:
    """Settings for a run against the stand-in; None leaves one out."""
    given = {"auth_token": TOKEN, "organization": "acme", "host": sentry.url} | settings
    return {name: value for name, value in given.items() if value is not None}


@cache
def discovered() -> str:
    """The catalog that the tap shows."""
    return run_tap({}, "--discover").stdout


def selecting(*streams: str) -> Message:
    """A catalog in which these streams are selected and no others."""
    catalog: Message = json.loads(discovered())
    for stream in catalog["streams"]:
        for metadata in stream["metadata"]:
            if not metadata["breadcrumb"]:
                metadata["metadata"]["selected"] = stream["stream"] in streams
    return catalog


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tap_sentry_audit", *arguments]


def run_tap(
    settings: Mapping[str, object],
    *arguments: str,
    state: object = None,
    catalog: object = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 60,
) -> Run:
    """Run the tap to its end."""
    with tempfile.TemporaryDirectory() as folder:
        files = {"config": settings, "state": state, "catalog": catalog}
        options = []
        for name, content in files.items():
            if content is not None:
                path = Path(folder, f"{name}.json")
                path.write_text(json.dumps(content))
                options += [f"--{name}", str(path)]
        done = forked.run(
            "tap_sentry_audit",
            [*options, *arguments],
            {**os.environ, **(environment or {})},
            timeout=timeout,
        )
    return Run(done.returncode, done.stdout, done.stderr)
