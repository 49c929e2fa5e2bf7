"""The detections: one SQL file each, with a header that says what it finds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from sentry_audit_detections.exceptions import DetectionsError

if TYPE_CHECKING:
    from collections.abc import Iterable

SEVERITIES = ("low", "medium", "high", "critical")
"""From the mildest to the worst."""

_FIELD = re.compile(r"^-- (\S[^:]*): (.*)$")
_CONTINUED = re.compile(r"^--   (.*)$")


@dataclass(frozen=True, slots=True)
class Detection:
    """A detection.

    `sql` selects from `audit_logs` and `period`, and returns the columns organization, id,
    dateCreated, event, actorName, ipAddress and detail.
    """

    number: str
    name: str
    title: str
    severity: str
    meaning: str
    false_positives: str
    events: str
    link: str
    note: str
    sql: str


@cache
def detections() -> tuple[Detection, ...]:
    """Return all detections by number."""
    folder = files("sentry_audit_detections") / "sql"
    found = [
        _parse(file.name.removesuffix(".sql"), file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    ]
    return tuple(sorted(found, key=lambda each: each.number))


def chosen(words: Iterable[str]) -> tuple[Detection, ...]:
    """Return the detections with these numbers (`3` or `03`) or names; all if none is given.

    Raises:
        DetectionsError: A word is neither.

    """
    wanted = [word for word in words if word]
    if not wanted:
        return detections()
    known = {key: each for each in detections() for key in (each.number, each.name)}
    if unknown := [word for word in wanted if word.zfill(2) not in known and word not in known]:
        message = f"there is no detection {', '.join(unknown)}: --list shows all of them"
        raise DetectionsError(message)
    found = {known[word] if word in known else known[word.zfill(2)] for word in wanted}
    return tuple(sorted(found, key=lambda each: each.number))


def _parse(stem: str, text: str) -> Detection:
    fields: dict[str, str] = {}
    name = ""
    lines = iter(text.splitlines(keepends=True))
    for line in lines:
        if started := _FIELD.match(line):
            name, fields[started[1]] = started[1], started[2]
        elif continued := _CONTINUED.match(line):
            fields[name] += f" {continued[1]}"
        else:
            break
    number, _, slug = stem.partition("-")
    return Detection(
        number=number,
        name=slug,
        title=fields["title"],
        severity=fields["severity"],
        meaning=fields["meaning"],
        false_positives=fields["false positives"],
        events=fields["events"],
        link=fields["link"],
        note=fields.get("note", ""),
        sql="".join([line, *lines]),
    )
