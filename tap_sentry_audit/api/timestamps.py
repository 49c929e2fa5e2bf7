"""Sentry's times: UTC, as text, as milliseconds, and the server's own clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
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
    """Return the UTC time that many milliseconds after 1970-01-01."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def format_time(time: datetime) -> str:
    """Return the one form of a time that sorts as text: always six decimals and `Z`.

    Sentry leaves the fraction out where it is zero.
    """
    return f"{time.isoformat(timespec='microseconds')[:26]}Z"


def parse_time(text: str) -> datetime:
    """Return the UTC time of an ISO 8601 text; one without a zone is taken as UTC.

    Raises:
        ValueError: The text is not a time.

    """
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


@lru_cache(maxsize=64)  # answers of the same second carry the same text
def parse_http_date(text: str) -> datetime | None:
    """Return the UTC time of an HTTP header such as `Date`, or None if it is not one."""
    try:
        return parsedate_to_datetime(text).astimezone(UTC)
    except (OverflowError, ValueError):
        return None


def server_time(headers: Mapping[str, str]) -> datetime:
    """Return the time in an answer's `Date` header, in whole seconds, rounded up.

    Without one (Sentry's own web server sends none), return this machine's time.
    """
    date = parse_http_date(headers.get("Date", ""))
    return datetime.now(UTC) if date is None else date + timedelta(seconds=1)
