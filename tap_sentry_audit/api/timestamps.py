"""Times in UTC: as text, as milliseconds, and from HTTP headers."""

from __future__ import annotations

from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_milliseconds(time: datetime) -> int:
    """Return the whole milliseconds since 1970-01-01 UTC."""
    return (time - EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(milliseconds: int) -> datetime:
    """Return the UTC time of milliseconds since 1970-01-01."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def format_time(time: datetime) -> str:
    """Return a UTC time as text that sorts: always with six decimals and `Z`.

    Sentry itself omits a fraction of zero.
    """
    return f"{time.isoformat(timespec='microseconds')[:26]}Z"


def parse_time(text: str) -> datetime:
    """Parse an ISO 8601 time; without a zone it is UTC.

    Raises:
        ValueError: The text is not a time.

    """
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def parse_row_time(text: str) -> datetime:
    """Parse the time by which a row is read, as `parse_time` does.

    Raises:
        ValueError: The text is not a time, or lies at an end of the calendar, where one cannot
            look ahead or back.

    """
    try:
        time = parse_time(text)
    except OverflowError:
        time = EPOCH.min
    if not MINYEAR < time.year < MAXYEAR:
        message = "the year cannot be used"
        raise ValueError(message)
    return time


@lru_cache(maxsize=64)  # responses of the same second have the same text
def parse_http_date(text: str) -> datetime | None:
    """Return the UTC time in an HTTP header such as `Date`, or None if it has none.

    A time without a zone is UTC: RFC 9110 knows no other.
    """
    try:
        date = parsedate_to_datetime(text)
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (OverflowError, ValueError):
        return None


def server_time(headers: Mapping[str, str]) -> datetime:
    """Return the time in a response's `Date` header, in whole seconds, rounded up.

    Without that header (Sentry's own web server sends none), return this machine's time.
    """
    date = parse_http_date(headers.get("Date", ""))
    return datetime.now(UTC) if date is None else date + timedelta(seconds=1)
