"""Which organizations were not read for a while: what `--unread-for` prints."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from tap_sentry_audit.api.timestamps import parse_time
from tap_sentry_audit.streams.bookmark import LAST_READ

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from typing import Any

_STREAM = "audit_logs"

_MOST_MINUTES = 10 * 366 * 24 * 60

_CLOCKS_DIFFER = timedelta(minutes=10)
"""By how much the server's clock may be ahead of this machine's."""


def unread_option() -> click.Option:
    """Return the option `--unread-for` of the tap's command."""
    return click.Option(
        ["--unread-for"],
        type=click.IntRange(1, _MOST_MINUTES),
        metavar="MINUTES",
        help="Read nothing; list the organizations whose audit log has not been read to its end "
        "for that long, according to --state, and exit with 3 if there are any. With --config, "
        "only those in it count.",
    )


@dataclass(frozen=True, slots=True)
class Report:
    """How many organizations there are, and a line about each that was not read in time."""

    organizations: int
    unread: list[str]
    minutes: int

    def __str__(self) -> str:
        """Return the lines, and a last one that sums them up."""
        span = f"the last {self.minutes} minutes"
        if not self.organizations:
            return "The state has no organization: nothing has ever been read with it"
        if not self.unread:
            return f"Organizations: {self.organizations}, all read to their end in {span}"
        summary = (
            f"Organizations: {self.organizations}, {len(self.unread)} of them not read to their "
            f"end in {span}"
        )
        return "\n".join([*self.unread, summary])

    @property
    def is_alarm(self) -> bool:
        """Whether somebody should look after it."""
        return bool(self.unread) or not self.organizations


def report_unread(
    state: Mapping[str, Any], slugs: Collection[str] | None, minutes: int, now: datetime
) -> Report:
    """Compare when the audit logs were last read to their end with `now`.

    `state` is as `usable_state` returns it; without `slugs`, all of its organizations count.
    """
    stream = state.get("bookmarks", {}).get(_STREAM, {})
    last_read = {
        partition["context"]["organization"]: _time(partition.get(LAST_READ))
        for partition in stream.get("partitions", ())
    }
    slugs = last_read.keys() if slugs is None else slugs
    unread = []
    for slug in slugs:
        at = last_read.get(slug)
        if at is None:
            unread.append(f"{slug}: never read to its end, as far as this state knows")
        elif at > now + _CLOCKS_DIFFER:
            when = f"{at:%Y-%m-%d %H:%M} UTC"
            unread.append(f"{slug}: last read at {when}, ahead of this machine's clock: check both")
        elif now - at > timedelta(minutes=minutes):
            ago = (now - at) // timedelta(minutes=1)
            unread.append(f"{slug}: last read to its end at {at:%Y-%m-%d %H:%M} UTC, {ago} min ago")
    return Report(len(slugs), unread, minutes)


def _time(value: object) -> datetime | None:
    with suppress(OverflowError, ValueError):
        return parse_time(value) if isinstance(value, str) else None
    return None
