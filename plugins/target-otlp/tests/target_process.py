"""The target as users run it: a process that reads Singer messages and writes state."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import forked
from target_otlp.config import Settings, parse_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Message = dict[str, Any]

COMMAND = [sys.executable, "-m", "target_otlp"]
EXAMPLE: Message = json.loads(
    Path(__file__).parents[1].joinpath("examples", "sentry-audit.json").read_text()
)

# Without the settings of whoever runs the tests.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("OTEL_", "TARGET_OTLP_")) and not name.lower().endswith("_proxy")
}


@dataclass(frozen=True)
class Run:
    """What a run left behind."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def states(self) -> list[Message]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    def log(self, level: str) -> list[str]:
        """The texts of the log lines of a level."""
        lines = [line.split(" | ", 3) for line in self.stderr.splitlines()]
        return [line[3] for line in lines if len(line) == 4 and line[1].strip() == level]


def schema(stream: str = "audit_logs", **properties: object) -> Message:
    return {
        "type": "SCHEMA",
        "stream": stream,
        "key_properties": [],
        "schema": {"type": "object", "properties": properties},
    }


def record(number: int, stream: str = "audit_logs") -> Message:
    return {"type": "RECORD", "stream": stream, "record": {"id": str(number)}}


def state(number: int) -> Message:
    return {"type": "STATE", "value": {"done": number}}


def settings(endpoint: str, **config: object) -> Settings:
    return parse_settings({"endpoint": endpoint, **config}, {})


def run_target(messages: Iterable[Message] | bytes, *arguments: str, **config: object) -> Run:
    """Give messages to the target and let it run to its end."""
    return run_target_in({}, messages, *arguments, **config)


def run_target_in(
    environment: Mapping[str, str],
    messages: Iterable[Message] | bytes,
    *arguments: str,
    **config: object,
) -> Run:
    """Run the target with environment variables."""
    if not isinstance(messages, bytes):
        messages = "".join(f"{json.dumps(message)}\n" for message in messages).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.json")
        path.write_text(json.dumps(config))
        done = forked.run(
            "target_otlp",
            [f"--config={path}", *arguments],
            {**ENVIRONMENT, **environment},
            messages,
        )
    return Run(done.returncode, done.stdout, done.stderr)
