"""The benchmarks count and judge truly. How fast the tap is, they tell themselves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchmarks import __main__, cases
from benchmarks.measure import Written, read_written

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.slow


def tiny(folder: Path) -> cases.Report:
    """350 entries."""
    return cases.read(folder, 350)


def test_a_case_runs_and_its_report_is_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cases.CASES, "tiny", tiny)
    numbers = tmp_path / "numbers.json"

    code = __main__.main(["tiny", "--json", str(numbers)])

    case = json.loads(numbers.read_text())["cases"]["tiny"]
    asked = case["asked"]
    said = capsys.readouterr().out
    assert code == 0
    assert "ok      entries, each once, in order               350  = 350" in said
    assert "All criteria are met." in said
    assert 4 <= asked["requests"] <= 20
    assert case["requests_per_page"] == asked["requests"] / 4
    assert asked["too_many"] == 0
    assert 1 <= asked["at_once"] <= asked["requests"]
    assert case["usage"]["cpu"] > 0


def test_a_criterion_that_is_not_met_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cases.CASES, "tiny", lambda folder: tiny(folder).takes_at_most(0))

    code = __main__.main(["tiny"])

    assert code == 1
    assert "FAILED  wall time" in capsys.readouterr().out


def test_what_is_lost_or_repeated_or_out_of_order_is_found(tmp_path: Path) -> None:
    ids = [1_000_001, 1_000_003, 1_000_003, 1_000_002, 1_000_009]
    records = [{"id": str(n), "dateCreated": f"2026-01-01T00:00:{n % 60:02}Z"} for n in ids]
    messages = [{"type": "SCHEMA"}, *({"type": "RECORD", "record": one} for one in records)]
    (tmp_path / "stdout").write_text("".join(f"{json.dumps(one)}\n" for one in messages))

    written = read_written(tmp_path, 4)

    assert written == Written(records=5, missing=1, repeated=1, unknown=1, misplaced=1)
    assert not written.is_exact
