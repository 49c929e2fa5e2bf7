"""The golden files hold what the tap writes: see `golden` for how to regenerate them."""

from __future__ import annotations

import pytest

from testing.golden.cases import CASES
from testing.golden.corpus import FILES, difference, played


@pytest.mark.parametrize("name", CASES)
def test_the_tap_writes_what_the_golden_file_holds(name: str) -> None:
    problem = difference(name, played(name))

    assert problem is None, problem


def test_every_golden_file_belongs_to_a_case() -> None:
    assert {path.stem for path in FILES.glob("*.jsonl")} == set(CASES)
