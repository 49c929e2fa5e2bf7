"""The tap as users run it: a process, its stdout read as Singer messages."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from tap_captivateiq_audit.entries import parse_page
from tap_captivateiq_audit.flaws import Flaws
from testing import forked
from testing.fake_captivateiq import TOKEN, row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tap_captivateiq_audit.entries import Days, Page
    from testing.fake_captivateiq import FakeCaptivateIQ, Log, Row
    from testing.forked import Message, Run

# Without the settings of whoever runs the tests.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith("TAP_CAPTIVATEIQ_") and not name.lower().endswith("_proxy")
}

NOW = datetime.now(UTC).replace(microsecond=0)


def hours(count: int, first: int = 1) -> list[Row]:
    """One entry for each of the last hours, the latest an hour ago."""
    return [row(first + number, NOW - timedelta(hours=count - number)) for number in range(count)]


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
        return forked.run(
            "tap_captivateiq_audit",
            [*options, *arguments],
            {**ENVIRONMENT, **(environment or {})},
            meanwhile=meanwhile,
        )


class Api:
    """A log that can be fetched from, as the reader wants it; `until` is the server's time."""

    def __init__(self, log: Log, until: datetime | None = None) -> None:
        self.log = log
        self.until = until
        self.spans: list[Days] = []
        """The days of each request for a first page."""
        self.requests = 0
        self.flaws = Flaws(logging.getLogger("flaws"))

    def __call__(self, span: Days, offset: int) -> Page:
        self.requests += 1
        assert self.requests < 3000, "it does not end"
        if offset == 0:
            self.spans.append(span)
        days = {"start_date": span.start, "end_date": span.end}
        parameters = {name: str(day) for name, day in days.items() if day}
        body = self.log.answer(parameters | {"offset": str(offset), "limit": "100"})
        return replace(parse_page(body), until=self.until)


SERVERS = {
    "order": st.sampled_from(["ascending", "descending", "arbitrary"]),
    "is_inclusive": st.booleans(),
    "zone": st.sampled_from([-12, -9.5, -8, 0, 2, 5.5, 14]),
    "most": st.sampled_from([1, 7, 10, 100]),
    "next": st.sampled_from(["url", "never", "always"]),
    "counts": st.sampled_from(["all", "nothing"]),
}
