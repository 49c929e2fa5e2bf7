"""A few scenarios of `make fuzz`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

from testing.fuzz.scenario import MINUTE, Scenario
from testing.fuzz.state import Run
from testing.fuzz.tap import Tap
from testing.sentry_model import Entry, Organization, SentryModel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="tap", scope="module")
def _tap() -> Iterator[Tap]:
    with Tap(sys.executable) as tap:
        yield tap


@pytest.mark.parametrize(
    "seed",
    [1, 3, 14, 16, 29, 34, *(pytest.param(s, marks=pytest.mark.slow) for s in (7, 11, 12, 22, 33))],
)
def test_a_random_scenario_loses_and_repeats_nothing(seed: int, tap: Tap, tmp_path: Path) -> None:
    scenario = Scenario(seed, now=int(time.time() * 1_000_000))

    assert scenario.play(tap, tmp_path / "run") == []


def test_the_fuzzer_sees_a_state_that_does_not_fit_the_records_before_it(
    tap: Tap, tmp_path: Path
) -> None:
    start = int(time.time() * 1_000_000) - 60 * MINUTE
    entries = [Entry(start + number * MINUTE, str(number)) for number in range(30)]
    organization = Organization()
    organization.add(entries)
    with SentryModel({"acme": organization}) as sentry:
        settings = {"auth_token": "token", "organizations": ["acme"], "host": sentry.url}
        messages = tap.run(tmp_path, settings, state=None).messages
    run = Run("acme", None, frozenset(), entries, organization.known)
    records = [message for message in messages if message["type"] == "RECORD"]
    state = messages[-1]

    assert run.broken_promises(messages) == []
    assert run.broken_promises([*records[:-1], state]) == [
        "acme: a STATE knows 1 entries that were not sent before it",
        "acme: a STATE's bookmark is ahead of all records before it",
    ]
    assert run.broken_promises([*records[5:], state]) == [
        "acme: a STATE knows 5 entries that were not sent before it",
        "acme: a STATE's bookmark skips 5 entries",
    ]
