"""What two runs brought, in a few lines for a person."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

Record = dict[str, Any]

BAR = 24
SHOWN_EVENTS = 8
SHOWN_PEOPLE = 3
SHOWN_NEW = 3


@dataclass(frozen=True, slots=True)
class Run:
    """The records that one run added to the file, and how long it took."""

    records: list[Record]
    seconds: float


def summary(
    first: Run, second: Run, held: Collection[str], members: Iterable[Record]
) -> tuple[list[str], bool]:
    """Return the lines, and whether the file has each entry that the server holds, once.

    `members` say which role the actors of entries have.
    """
    roles = {member["user"]["id"]: member["role"] for member in members if member["user"]}
    records = first.records + second.records
    found = Counter(record["id"] for record in records)
    missing, double = len(set(held) - found.keys()), len(records) - len(found)
    lines = [
        f"  {len(records):,} entries, {_day(records[0])} to {_day(records[-1])}, oldest first",
        "",
        "  What happened most",
        *_bars((record["event"] for record in records), SHOWN_EVENTS),
        "",
        "  Who did most, and as what",
        *_bars((_actor(record, roles) for record in records if _name(record)), SHOWN_PEOPLE),
        "",
        f"  The first run brought {len(first.records):,} entries in {first.seconds:.1f} s",
        f"  The second run added {len(second.records)} in {second.seconds:.1f} s, the latest",
        *(_told(record, roles) for record in second.records[: -SHOWN_NEW - 1 : -1]),
        "",
        f"  Of {len(held):,} entries on the server {missing or 'none'} are missing in the file,",
        f"  and {double or 'none'} came twice.",
    ]
    return lines, found == Counter(held)


def _bars(values: Iterable[str], shown: int) -> list[str]:
    counts = Counter(values).most_common(shown)
    most = counts[0][1]
    return [
        f"    {count:5,}  {'█' * max(1, round(BAR * count / most)):<{BAR}}  {value}"
        for value, count in counts
    ]


def _actor(record: Record, roles: Mapping[str, str]) -> str:
    """Return who did it: by name and role, if it was a member."""
    role = roles.get(str((record["actor"] or {}).get("id")))
    return f"{_name(record) or 'somebody'} ({role or 'no member'})"


def _name(record: Record) -> str | None:
    name: str | None = (record["actor"] or {}).get("name")
    return name


def _told(record: Record, roles: Mapping[str, str]) -> str:
    what = record["note"] or record["event"]
    return f"    {_when(record):%H:%M:%S}  {_actor(record, roles)}: {what}"


def _day(record: Record) -> str:
    when = _when(record)
    return f"{when.day} {when:%B %Y}"


def _when(record: Record) -> datetime:
    return datetime.fromisoformat(record["dateCreated"])
