"""Audit entries, pages of them, and the days that they are asked for by.

The facts are from CaptivateIQ's published description; nothing here was seen live.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, TypeAlias

from tap_captivateiq_audit.exceptions import ApiError

if TYPE_CHECKING:
    from decimal import Decimal

Json: TypeAlias = "str | int | Decimal | bool | list[Json] | dict[str, Json] | None"
Row: TypeAlias = "dict[str, Json]"


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
class Page:
    """A response. `total` is how many entries the server counts in what was asked for."""

    entries: list[Entry]
    total: int | None
    has_next: bool


def parse_page(body: object) -> Page:
    """Return the JSON body of a response as a page.

    Raises ApiError if an entry has no id or no time, TypeError if the body is no list of entries.
    """
    if not isinstance(body, dict) or not isinstance(body.get("data"), list):
        message = "not a list of entries"
        raise TypeError(message)
    total = body.get("total_count")
    is_count = isinstance(total, int) and not isinstance(total, bool) and total >= 0
    entries = [_parse_entry(row) for row in body["data"]]
    return Page(entries, total if is_count else None, has_next=bool(body.get("next")))


def _parse_entry(row: object) -> Entry:
    entry_id = row.get("id") if isinstance(row, dict) else None
    if not isinstance(row, dict) or not isinstance(entry_id, str | int) or entry_id == "":
        message = "the API sent an entry without an id, by which it could be told from others"
        raise ApiError(message)
    try:
        created = parse_time(str(row.get("created_at")))
    except (ValueError, OverflowError):
        message = f"the API sent an entry without a readable created_at: id {entry_id}"
        raise ApiError(message) from None
    return Entry(str(entry_id), created, row)


def parse_time(text: str) -> datetime:
    """Return the UTC time of an ISO 8601 text, which is in UTC if it has no zone.

    A text that is no time raises OverflowError or ValueError.
    """
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def time_text(time: datetime) -> str:
    """Return the one form of a UTC time that sorts as text: always six decimals and `Z`."""
    return f"{time.isoformat(timespec='microseconds')[:26]}Z"
