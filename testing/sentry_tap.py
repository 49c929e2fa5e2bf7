"""The tap as users run it: a process, its stdout read as Singer messages."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tap_sentry_audit.api.client import Client
from tap_sentry_audit.api.clock import Clock
from tap_sentry_audit.tap import TapSentryAudit
from testing import forked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testing.fake_sentry import FakeSentry
    from testing.forked import Message, Run

TOKEN = "token"  # noqa: S105  (the stand-in's)


def config(sentry: FakeSentry, **settings: object) -> dict[str, object]:
    """Settings for a run against the stand-in, at no pace of ours; None leaves one out."""
    given: dict[str, object] = {"auth_token": TOKEN, "organization": "acme", "host": sentry.url}
    given |= {"requests_per_second": 1000} | settings
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


class Hurry:
    """A clock on which a wait is over at once; it counts as if it had been waited for."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.clock = Clock(self._monotonic, self.waits.append, self._time)

    def _monotonic(self) -> float:
        return time.monotonic() + sum(self.waits)

    def _time(self) -> float:
        return time.time() + sum(self.waits)


def without_waits(settings: Mapping[str, object], catalog: Message | None = None) -> TapSentryAudit:
    """Make a tap whose client does not wait: not before a retry, and not for its turn."""
    tap = TapSentryAudit(config=dict(settings), catalog=catalog)
    tap.client = Client(tap.settings, tap.logger, Hurry().clock)
    return tap


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
        return forked.run(
            "tap_sentry_audit",
            [*options, *arguments],
            {**os.environ, **(environment or {})},
            timeout=timeout,
        )
