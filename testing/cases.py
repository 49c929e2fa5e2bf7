"""The entries that detections are tested on, from files with what is expected of each."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentry_audit_detections.catalog import Detection, detections
from sentry_audit_detections.findings import Period, find

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sentry_audit_detections.database import Database

CASES = Path(__file__).parents[1] / "detections" / "tests" / "cases"
ALWAYS = Period(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def cases(detection: Detection) -> list[dict[str, Any]]:
    """Return the lines of a detection's file, with ids that no other file has."""
    path = CASES / f"{detection.number}-{detection.name}.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for case in found:
        case["entry"]["id"] = detection.number + case["entry"]["id"]
    return found


def organization(detection: Detection) -> str:
    """Each has a log of its own, and all are in one table."""
    return f"case-{detection.number}"


def records() -> Iterator[dict[str, Any]]:
    """Yield the entries of all cases, each in the organization of its detection."""
    for detection in detections():
        for case in cases(detection):
            yield case["entry"] | {"organization": organization(detection)}


def found_by(database: Database, detection: Detection) -> list[str]:
    return [
        each.id
        for each in find(database, [detection], ALWAYS)
        if each.organization == organization(detection)
    ]


def expected(detection: Detection) -> list[str]:
    return [case["entry"]["id"] for case in cases(detection) if case["expect"] == "hit"]
