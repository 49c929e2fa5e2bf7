"""Runs of the tap, kept as the lines of a golden file."""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testing import forked

if TYPE_CHECKING:
    from signal import Signals

    from testing.fake_sentry import FakeSentry, Request
    from testing.fake_sentry.faults import Fault

VARYING = [
    (re.compile(r'"time_extracted":\s*"[^"]*"'), '"time_extracted":"TIME"'),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r'"((?:sdk_)?version)":\s*"\d+\.[^"]*"'), r'"\1":"VERSION"'),
]
"""What differs from one run to the next, or from one release to the next."""

SECONDS = 30
"""How long a run may take to come to the request at which it is to be stopped."""


class Player:
    """Plays the runs of one case; `lines` is what its golden file holds."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def run(
        self,
        settings: dict[str, Any],
        *arguments: str,
        catalog: object = None,
        state: object = None,
        stop: Stop | None = None,
    ) -> Any:  # noqa: ANN401  (a state, for the next run)
        """Run the tap, keep what it wrote, and return the last state."""
        with tempfile.TemporaryDirectory() as folder:
            options = []
            for name, content in {"config": settings, "state": state, "catalog": catalog}.items():
                if content is not None:
                    path = Path(folder, f"{name}.json")
                    path.write_text(json.dumps(content))
                    options += [f"--{name}", str(path)]
            done = forked.run(
                "tap_sentry_audit",
                [*options, *arguments],
                dict(os.environ),
                meanwhile=stop.send if stop else None,
            )
        lines = _normalized(done.stdout)
        self.lines += [*lines, json.dumps({"exit code": done.returncode})]
        states = [line for line in lines if line.startswith('{"type":"STATE"')]
        return json.loads(states[-1])["value"] if states else None


class Stop:
    """A signal at the first request that fits: the server holds its answer back for ever.

    `nth` counts the requests that the server gets for a resource, from 1. Organizations are read
    ahead of what is written, so the tap may need `settling` seconds to write the ones before.
    """

    def __init__(
        self,
        sentry: FakeSentry,
        signal: Signals,
        nth: int,
        resource: str = "audit-logs",
        *,
        settling: float = 0,
    ) -> None:
        self._signal = signal
        self._settling = settling
        self._nth = nth
        self._resource = resource
        self._seen = 0
        self._is_reached = threading.Event()
        sentry.faults = self._fault

    def send(self, pid: int) -> None:
        """Send the signal as soon as the request is there."""
        if not self._is_reached.wait(SECONDS):
            message = f"no request number {self._nth} for {self._resource} came"
            raise TimeoutError(message)
        time.sleep(self._settling)
        os.kill(pid, self._signal)

    def _fault(self, _: int, request: Request) -> Fault | None:
        self._seen += request.resource == self._resource
        if self._seen < self._nth:
            return None
        self._is_reached.set()
        return "hang"


def _normalized(stdout: str) -> list[str]:
    for pattern, constant in VARYING:
        stdout = pattern.sub(constant, stdout)
    if stdout.startswith("{\n"):
        # A catalog or --about: one value, laid out for people.
        return [json.dumps(json.loads(stdout), ensure_ascii=False, separators=(",", ":"))]
    # Not splitlines(): a text may hold U+2028, which JSON does not escape. A message that a kill
    # broke off is none.
    return stdout.split("\n")[:-1]
