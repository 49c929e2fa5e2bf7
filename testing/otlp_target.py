"""The target as users run it: a process that reads Singer messages and writes state."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from target_otlp.config import Settings, parse_settings
from testing import forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from testing.forked import Message, Run

PLUGIN = Path(__file__).parents[1] / "plugins" / "target-otlp"
COMMAND = [sys.executable, "-m", "target_otlp"]
EXAMPLE: Message = json.loads(PLUGIN.joinpath("examples", "sentry-audit.json").read_text())

# Without the settings of whoever runs the tests.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("OTEL_", "TARGET_OTLP_")) and not name.lower().endswith("_proxy")
}


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
    return run_target_in({}, messages, *arguments, meanwhile=None, **config)


def run_target_in(
    environment: Mapping[str, str],
    messages: Iterable[Message] | bytes,
    *arguments: str,
    meanwhile: Callable[[int], None] | None = None,
    **config: object,
) -> Run:
    """Run the target with environment variables; `meanwhile` is called with its process's id."""
    if not isinstance(messages, bytes):
        messages = "".join(f"{json.dumps(message)}\n" for message in messages).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.json")
        path.write_text(json.dumps(config))
        return forked.run(
            "target_otlp",
            [f"--config={path}", *arguments],
            {**ENVIRONMENT, **environment},
            messages,
            meanwhile=meanwhile,
        )
