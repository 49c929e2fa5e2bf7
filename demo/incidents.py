"""A few incidents, and what the detections make of them."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from sentry_audit_detections.catalog import SEVERITIES, detections
from sentry_audit_detections.database import opened
from sentry_audit_detections.findings import Period, find
from testing.fake_sentry import entries

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from testing.fake_sentry.entries import Row

SHOWN_FROM = SEVERITIES.index("high")
WIDTH = 55  # in a terminal of 80 columns

MEMBER: dict[str, object] = {
    "email": "helper@mail.example",
    "teams_slugs": [],
    "invite_status": "approved",
}
STORY: tuple[tuple[str, dict[str, object], int | None], ...] = (
    ("org.edit", {"require_2fa": "to False"}, 1),
    ("member.invite", MEMBER | {"role": "member"}, 4711),
    ("member.edit", MEMBER | {"role": "owner"}, 4711),
    ("api-key.create", {"label": "backup", "scopes": ["org:read", "project:write"]}, 12),
    ("org.edit", {"dataScrubber": "from True to False"}, 1),
    ("project.remove", {"slug": "checkout", "name": "checkout", "public": False}, 31),
)
"""What somebody does in a stolen session: events, data, and the ids of their objects."""

HAPPENED = timedelta(seconds=60)
"""How long before the run the story starts; one entry per second."""


def incidents(now: datetime) -> list[Row]:
    """Return the entries of the story, as Sentry's API shows them."""
    at = entries.micros(now - HAPPENED)
    thief = entries.user(3)
    return [
        entries.row(
            f"90{number}",
            at + number * 1_000_000,
            actor=thief,
            event=event,
            data=data,
            targetObject=target,
            targetUser=None,
            note="",
            ipAddress="198.51.100.200",
        )
        for number, (event, data, target) in enumerate(STORY)
    ]


def found(file: Path, now: datetime) -> list[str]:
    """Return lines about what the detections find in a file since the story started."""
    period = Period(now - HAPPENED, now + timedelta(minutes=1))
    with opened(str(file), "") as database:
        findings = list(find(database, detections(), period))
    severe = [each for each in findings if _rank(each.detection.severity) >= SHOWN_FROM]
    severe.sort(key=lambda each: (-_rank(each.detection.severity), each.at))
    rest = Counter(each.detection.severity for each in findings if each not in severe)
    lines = [
        f"    {each.at:%H:%M:%S}  {each.detection.severity:8}  {each.detection.title}:\n"
        f"                        {_cut(each.detail)}"
        for each in severe
    ]
    others = ", ".join(f"{number} {severity}" for severity, number in rest.items())
    return [
        "  What the detections find in the last minute",
        *lines,
        f"    and {others or 'nothing else'}",
    ]


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity)


def _cut(detail: str) -> str:
    return detail if len(detail) <= WIDTH else f"{detail[: WIDTH - 1].rstrip()}…"
