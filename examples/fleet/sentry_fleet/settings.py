"""The fleet: which organizations there are, in which groups, and what is backfilled first."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from itertools import pairwise
from pathlib import Path
from typing import Any

SERVER_LIMIT = 40
"""Requests per second that sentry.io allows a caller."""


class FleetError(Exception):
    """Something is not as it must be; the message says what, and what to do."""


@dataclass(frozen=True)
class Group:
    """Organizations that one process reads; `token` is the variable that holds their token."""

    name: str
    token: str
    organizations: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """A range of time, `end` excluded; without a start it begins with the first entry."""

    start: datetime | None
    end: datetime

    @property
    def name(self) -> str:
        """What a partition is called: the end, as a range has only one."""
        return f"{self.end:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Fleet:
    """What `fleet.toml` says, and where PostgreSQL is."""

    database: str
    host: str
    lookback_seconds: int
    groups: tuple[Group, ...]
    ranges: tuple[Range, ...]
    """Of the first backfill, oldest first; none where nothing is backfilled in shards."""
    shards_at_once: int

    def group(self, name: str) -> Group:
        """Return a group by its name."""
        for group in self.groups:
            if group.name == name:
                return group
        message = f"there is no group {name!r}: fleet.toml has {_listed(self.groups)}"
        raise FleetError(message)

    def group_of(self, organization: str) -> Group:
        """Return the group that an organization is in."""
        for group in self.groups:
            if organization in group.organizations:
                return group
        message = f"no group of fleet.toml has the organization {organization!r}"
        raise FleetError(message)

    def range(self, name: str) -> Range:
        """Return a range of the backfill by its name."""
        for each in self.ranges:
            if each.name == name:
                return each
        message = f"the backfill of fleet.toml has no range that ends at {name}"
        raise FleetError(message)

    @property
    def tokens(self) -> tuple[str, ...]:
        """The variables that hold a token, each once."""
        return tuple(dict.fromkeys(group.token for group in self.groups))


def read_fleet() -> Fleet:
    """Return the fleet in the file that FLEET names, or in fleet.toml.

    Raises:
        FleetError: It cannot be used.

    """
    database = os.environ.get("FLEET_DATABASE_URL", "")
    if not database.startswith("postgresql://"):
        message = "set FLEET_DATABASE_URL to a URL such as postgresql://loader:…@db/sentry"
        raise FleetError(message)
    path = Path(os.environ.get("FLEET", "fleet.toml"))
    try:
        return _parse(tomllib.loads(path.read_text("utf-8")), database)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{path} cannot be used: {type(error).__name__}: {error}"
        raise FleetError(message) from None


def _parse(given: dict[str, Any], database: str) -> Fleet:
    groups = tuple(
        Group(each["name"], each["token"], tuple(each["organizations"])) for each in given["groups"]
    )
    slugs = [slug for group in groups for slug in group.organizations]
    for names in slugs, [group.name for group in groups]:
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            message = f"{', '.join(sorted(twice))} is there more than once"
            raise ValueError(message)
    backfill = given.get("backfill", {})
    borders = [_moment(border) for border in backfill.get("borders", ())]
    if any(end <= start for start, end in pairwise(borders)):
        message = "the borders of the backfill must rise"
        raise ValueError(message)
    starts = [_moment(backfill["since"]) if "since" in backfill else None, *borders]
    return Fleet(
        database=database,
        host=given.get("host", "https://sentry.io"),
        lookback_seconds=given.get("lookback_seconds", 3600),
        groups=groups,
        ranges=tuple(Range(start, end) for start, end in zip(starts, borders, strict=False)),
        shards_at_once=backfill.get("at_once", 4),
    )


def _moment(given: date | datetime) -> datetime:
    """Return a date or time of TOML, which is in UTC unless it names a zone, in whole seconds."""
    moment = given if isinstance(given, datetime) else datetime.combine(given, time())
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment.microsecond:
        message = f"{given} is no whole second"
        raise ValueError(message)
    return moment


def _listed(groups: tuple[Group, ...]) -> str:
    return ", ".join(group.name for group in groups)
