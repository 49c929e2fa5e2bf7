"""Audit entries, pages of them, and the days that they are asked for by.

The facts are from CaptivateIQ's published description; nothing here was seen live.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from decimal import Decimal

Json: TypeAlias = "str | int | Decimal | bool | list[Json] | dict[str, Json] | None"
Row: TypeAlias = "dict[str, Json]"

_LEAP_SECOND = re.compile(r"(T\d\d:\d\d):60", re.ASCII)
EARLIEST = 1970
"""The year before which no entry can be."""


@dataclass(frozen=True, slots=True)
class Days:
    """Days as the API is asked for them; None is an open end. `end` may be inclusive or not."""

    start: date | None
    end: date | None

    def __str__(self) -> str:
        """Return the days as text for a user."""
        return f"{self.start or 'the beginning'} to {self.end or 'now'}"


@dataclass(frozen=True, slots=True)
class Entry:
    """An audit entry: its id, its time in UTC, and the whole row that the API sent."""

    id: str
    created: datetime
    row: Row


@dataclass(frozen=True, slots=True)
class OddRow:
    """A row that is not an entry: it has no usable id (then `id` is None), or no usable time.

    `content` is equal for equal rows.
    """

    id: str | None
    content: int


@dataclass(frozen=True, slots=True)
class Page:
    """A response. `total` is how many rows the server counts in what was asked for.

    `asked` is how many it was asked for; no entry in it is dated after `until`, if it is dated by
    the server's clock.
    """

    rows: list[Entry | OddRow]
    total: int | None
    has_next: bool
    asked: int = 100
    until: datetime | None = None

    @property
    def entries(self) -> list[Entry]:
        """The rows without the odd ones."""
        return [row for row in self.rows if isinstance(row, Entry)]


def parse_page(body: object) -> Page:
    """Return the JSON body of a response as a page; TypeError means it is not a list of rows."""
    if not isinstance(body, dict) or not isinstance(body.get("data"), list):
        message = "not a list of entries"
        raise TypeError(message)
    total = body.get("total_count")
    is_count = isinstance(total, int) and not isinstance(total, bool) and total >= 0
    rows = [_parse_row(row) for row in body["data"]]
    return Page(rows, total if is_count else None, has_next=bool(body.get("next")))


def _parse_row(row: object) -> Entry | OddRow:
    if not isinstance(row, dict):
        return OddRow(None, hash(repr(row)))
    number = row.get("id")
    is_usable = isinstance(number, str | int) and not isinstance(number, bool) and number != ""
    row_id = str(number) if is_usable else None
    created = _parse_created(row.get("created_at"))
    if row_id is None or created is None:
        return OddRow(row_id, hash(repr(row)))
    return Entry(row_id, created, row)


def _parse_created(value: object) -> datetime | None:
    """Return the time of an entry, or None if days cannot be asked for around it."""
    try:
        created = parse_time(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None
    return created if created and EARLIEST <= created.year < MAXYEAR else None


def parse_time(text: str) -> datetime:
    """Return the UTC time of an ISO 8601 text, which is in UTC if it has no zone.

    A leap second is the second after it. Other text raises OverflowError or ValueError.
    """
    # RFC 3339 allows small letters, and a second 60.
    text = text.upper()
    usual = _LEAP_SECOND.sub(r"\g<1>:59", text)
    time = datetime.fromisoformat(usual)
    if usual != text:
        time += timedelta(seconds=1)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def time_text(time: datetime) -> str:
    """Return the one form of a UTC time that sorts as text: always six decimals and `Z`."""
    return f"{time.isoformat(timespec='microseconds')[:26]}Z"
