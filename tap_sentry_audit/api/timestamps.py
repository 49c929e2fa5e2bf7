"""Sentry's times: UTC, as text, as milliseconds, and the server's own clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def milliseconds(time: datetime) -> int:
    """Return the whole milliseconds since 1970-01-01 UTC."""
    return (time - EPOCH) // timedelta(milliseconds=1)


def moment(milliseconds: int) -> datetime:
    """Return the time that is so many milliseconds after 1970-01-01 UTC."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def time_text(time: datetime) -> str:
    """Return the one form of a time that sorts as text: always six decimals and `Z`.

    Sentry leaves the fraction out where it is zero.
    """
    return f"{time.isoformat(timespec='microseconds')[:26]}Z"


def read_time(text: str) -> datetime:
    """Return the UTC time of an ISO 8601 text; one without a zone is taken as UTC.

    Raises:
        ValueError: It is none.

    """
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def server_time(headers: Mapping[str, str]) -> datetime:
    """Return an answer's `Date` header, in whole seconds, rounded up.

    Where there is none (Sentry's own web server sends none), our own clock.
    """
    try:
        return parsedate_to_datetime(headers.get("Date", "")).astimezone(UTC) + timedelta(seconds=1)
    except ValueError:
        return datetime.now(UTC)
