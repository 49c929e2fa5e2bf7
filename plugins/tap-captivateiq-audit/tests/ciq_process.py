"""The tap as users run it: a process, its stdout read as Singer messages."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import forked
from fake_captivateiq import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fake_captivateiq import FakeCaptivateIQ

Message = dict[str, Any]

# Without the settings of whoever runs the tests.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith("TAP_CAPTIVATEIQ_") and not name.lower().endswith("_proxy")
}


@dataclass(frozen=True)
class Run:
    """What a run left behind."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def messages(self) -> list[Message]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def records(self) -> list[Message]:
        return [one["record"] for one in self.messages if one["type"] == "RECORD"]

    @property
    def ids(self) -> list[str]:
        return [record["id"] for record in self.records]

    @property
    def state(self) -> Message | None:
        """The last STATE's value: what a target would give to the next run."""
        states = [one["value"] for one in self.messages if one["type"] == "STATE"]
        return states[-1] if states else None

    def log(self, level: str) -> list[str]:
        """The texts of the log lines of a level."""
        lines = [line.split(" | ", 3) for line in self.stderr.splitlines()]
        return [line[3] for line in lines if len(line) == 4 and line[1].strip() == level]


def config(server: FakeCaptivateIQ, **settings: object) -> Message:
    """Settings for a run against the stand-in, as fast as it goes; None leaves one out."""
    fast = {"requests_per_second": 100}
    given = {"api_token": TOKEN, "api_url": server.url} | fast | settings
    return {name: value for name, value in given.items() if value is not None}


def run_tap(
    settings: Message,
    *arguments: str,
    state: object = None,
    environment: Mapping[str, str] | None = None,
    meanwhile: Callable[[int], None] | None = None,
) -> Run:
    """Run the tap to its end; `meanwhile` is called with the id of its process.

    A state that is bytes is the state file as it is.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = []
        for name, content in {"config": settings, "state": state}.items():
            if content is not None:
                path = Path(folder, f"{name}.json")
                whole = content if isinstance(content, bytes) else json.dumps(content).encode()
                path.write_bytes(whole)
                options += [f"--{name}", str(path)]
        done = forked.run(
            "tap_captivateiq_audit",
            [*options, *arguments],
            {**ENVIRONMENT, **(environment or {})},
            meanwhile=meanwhile,
        )
    return Run(done.returncode, done.stdout, done.stderr)
