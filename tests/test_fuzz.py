"""A few scenarios of `make fuzz`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import pytest

from fuzz.scenario import Scenario
from fuzz.tap import Tap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="tap", scope="module")
def _tap() -> Iterator[Tap]:
    with Tap(sys.executable) as tap:
        yield tap


# With ties, null rows (12, 14, 19) and rate limits (6, 7, 10).
@pytest.mark.parametrize("seed", [1, 2, 6, 7, 10, 12, 13, 14, 16, 17, 19])
def test_a_random_scenario_loses_and_repeats_nothing(seed: int, tap: Tap, tmp_path: Path) -> None:
    scenario = Scenario(seed, now=int(time.time() * 1_000_000))

    assert scenario.play(tap, tmp_path / "run") == []
