"""Each detection on its entries: those that it must find, and those that it must not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from sentry_audit_detections.catalog import SEVERITIES, Detection, detections
from sentry_audit_detections.database import Database, opened
from sentry_audit_detections.findings import find
from testing.cases import ALWAYS, CASES, cases, expected, found_by, records

if TYPE_CHECKING:
    from collections.abc import Iterator

each_detection = pytest.mark.parametrize("detection", detections(), ids=lambda each: each.name)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    path = tmp_path_factory.mktemp("log") / "audit_logs.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records()))
    with opened(str(path), "") as database:
        yield database


@each_detection
def test_a_detection_finds_its_hits_and_nothing_else_of_its_case(
    log: Database, detection: Detection
) -> None:
    assert sorted(found_by(log, detection)) == sorted(expected(detection)) != []


@each_detection
def test_a_detection_says_what_it_found(log: Database, detection: Detection) -> None:
    assert all(each.detail for each in find(log, [detection], ALWAYS))


@each_detection
def test_a_detection_has_a_near_miss_and_a_whole_header(detection: Detection) -> None:
    assert any(case["expect"] == "miss" for case in cases(detection))
    assert detection.severity in SEVERITIES
    assert all([detection.title, detection.meaning, detection.false_positives, detection.events])
    assert detection.link.startswith("https://docs.sentry.io/")


def test_there_is_a_file_of_cases_for_each_detection_and_no_other() -> None:
    names = {f"{each.number}-{each.name}" for each in detections()}
    assert {path.stem for path in CASES.glob("*.jsonl")} == names
    assert len(names) == len({each.number for each in detections()})
