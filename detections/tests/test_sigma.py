"""The Sigma rules, on the same entries as the SQL that they stand for."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sigma.backends.sqlite.sqlite import sqliteBackend
from sigma.collection import SigmaCollection
from sigma.validation import SigmaValidator
from sigma.validators.core import validators
from sigma.validators.core.values import EscapedWildcardIssue

from sentry_audit_detections.catalog import Detection, detections
from testing.cases import cases, expected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sigma.rule import SigmaRule

RULES = Path(__file__).parents[1] / "sigma"
# What a search of several entries, or the time of day, is needed for.
MORE_THAN_ONE_ENTRY = {"03", "05", "06", "09", "10", "16", "19", "20", "22", "23"}

by_rule = pytest.mark.parametrize(
    "detection",
    [each for each in detections() if each.number not in MORE_THAN_ONE_ENTRY],
    ids=lambda each: each.name,
)


def rules(detection: Detection) -> SigmaCollection:
    path = RULES / f"{detection.number}-{detection.name}.yml"
    return SigmaCollection.from_yaml(path.read_text())


def rule(detection: Detection) -> SigmaRule:
    [found] = rules(detection).rules
    return found  # type: ignore[return-value]  # no correlation rules here


def flattened(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the fields as forwarders name them: with dots, and lists as JSON text."""
    for name, each in value.items():
        if isinstance(each, dict):
            yield from flattened(each, f"{prefix}{name}.")
        else:
            yield prefix + name, json.dumps(each) if isinstance(each, list) else each


@by_rule
def test_a_rule_finds_the_hits_of_its_case_and_nothing_else(detection: Detection) -> None:
    [query] = sqliteBackend().convert(rules(detection))  # type: ignore[no-untyped-call]  # it has no types
    rows = [dict(flattened(case["entry"])) for case in cases(detection)]
    # Fields that no entry of the case has are there, too.
    asked = {field for each in detections() for field in fields_of(each)}
    names = sorted({name for row in rows for name in row} | asked)
    with sqlite3.connect(":memory:") as connection:
        columns = ", ".join(f'"{name}"' for name in names)
        connection.execute(f"CREATE TABLE logs ({columns})")
        connection.executemany(
            f"INSERT INTO logs VALUES ({', '.join('?' * len(names))})",  # noqa: S608  (question marks)
            [[row.get(name) for name in names] for row in rows],
        )
        connection.row_factory = sqlite3.Row
        found = [row["id"] for row in connection.execute(query)]

    assert sorted(found) == sorted(expected(detection))


def fields_of(detection: Detection) -> set[str]:
    """Return the fields that a rule asks for, if there is one."""
    if detection.number in MORE_THAN_ONE_ENTRY:
        return set()
    items = [
        item
        for each in rule(detection).detection.detections.values()
        for item in each.detection_items
    ]
    flat = [deep for item in items for deep in getattr(item, "detection_items", [item])]
    return {item.field for item in flat if getattr(item, "field", None)}


@by_rule
def test_a_rule_passes_the_validators_of_sigma(detection: Detection) -> None:
    issues = SigmaValidator(validators.values()).validate_rules(iter([rule(detection)]))

    # The asterisk in Sentry's allowed domains is meant as one.
    assert [each for each in issues if not isinstance(each, EscapedWildcardIssue)] == []


@by_rule
def test_a_rule_says_what_its_detection_says(detection: Detection) -> None:
    found = rule(detection)

    assert (found.title, str(found.level)) == (detection.title, detection.severity)
    assert found.description == detection.meaning
    assert found.falsepositives == [detection.false_positives]
    assert found.references == [detection.link]
    assert (found.logsource.product, found.logsource.service) == ("sentry", "audit")


def test_each_rule_has_a_detection_and_an_id_of_its_own() -> None:
    single = [each for each in detections() if each.number not in MORE_THAN_ONE_ENTRY]

    assert {path.stem for path in RULES.glob("*.yml")} == {
        f"{each.number}-{each.name}" for each in single
    }
    assert len({rule(each).id for each in single}) == len(single)
