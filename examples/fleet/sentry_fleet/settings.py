"""The fleet: which organizations there are, in which groups, and what is backfilled first."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVER_LIMIT = 40
"""Requests per second that sentry.io allows a caller."""

# The keys of fleet.toml: above the first table, in [[groups]], and in [backfill].
_FILE = ("host", "lookback_seconds", "groups", "backfill")
_GROUP = ("name", "token", "organizations")
_BACKFILL = ("since", "borders", "at_once")
_VARIABLE = re.compile("[A-Z_][A-Z0-9_]*")


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
    database = _database(os.environ.get("FLEET_DATABASE_URL", ""))
    path = Path(os.environ.get("FLEET", "fleet.toml"))
    try:
        # An editor may have put a byte order mark in front.
        return _parse(tomllib.loads(path.read_text("utf-8-sig")), database)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}; set FLEET to where fleet.toml is"
    except UnicodeDecodeError:
        message = f"{path} cannot be used: it is not UTF-8"
    except ValueError as error:
        message = f"{path} cannot be used: {error}"
    raise FleetError(message)


def _database(url: str) -> str:
    """Return a URL that both programs read alike; a message about another one shows no part of it.

    What libpq says of a URL, or of a host in it, may hold a part of the password.
    """
    if not url.startswith("postgresql://"):
        message = (
            "set FLEET_DATABASE_URL to a URL that begins with postgresql://,"
            " such as postgresql://loader:…@db/sentry"
        )
        raise FleetError(message)
    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError:
        parts = {"host": "@"}
    names = f"{parts.get('host', '')}{parts.get('dbname', '')}"
    port = str(parts.get("port", ""))
    if "@" in names or port.strip("0123456789,") or url.split() != [url]:
        message = (
            "FLEET_DATABASE_URL is no URL that PostgreSQL understands:"
            " percent-encode what is special in it, such as %40 for @ in a password"
        )
        raise FleetError(message)
    return url


def _parse(given: dict[str, Any], database: str) -> Fleet:
    _check(given, "the file", _FILE)
    tables = given.get("groups")
    if not isinstance(tables, list) or not tables:
        message = "it needs one [[groups]] or more"
        raise ValueError(message)
    groups = tuple(_group(_check(each, "[[groups]]", _GROUP)) for each in tables)
    slugs = [slug for group in groups for slug in group.organizations]
    for names in slugs, [group.name for group in groups]:
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            message = f"{', '.join(sorted(twice))} is there more than once"
            raise ValueError(message)
    backfill = _check(given.get("backfill", {}), "[backfill]", _BACKFILL)
    return Fleet(
        database=database,
        host=_text(given.get("host", "https://sentry.io"), "host"),
        lookback_seconds=_number(given, "lookback_seconds", 3600, range(2_678_401)),
        groups=groups,
        ranges=_ranges(backfill) if "backfill" in given else (),
        shards_at_once=_number(backfill, "at_once", 4, range(1, SERVER_LIMIT + 1)),
    )


def _check(table: object, name: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return a table that has no other keys.

    One that is misspelt, or below the header of another table, would be ignored: a token could go
    to another server.
    """
    if not isinstance(table, dict):
        message = f"{name} must be a table"
        raise ValueError(message)  # noqa: TRY004  (what is wrong is in the file)
    for key in table:
        if key not in keys:
            cure = "write it above the first table" if key in _FILE else f"it has {', '.join(keys)}"
            message = f"{key!r} is no key of {name}: {cure}"
            raise ValueError(message)
    return table


def _group(given: dict[str, Any]) -> Group:
    name = _text(given.get("name"), "name in [[groups]]")
    token = given.get("token")
    if not isinstance(token, str) or not _VARIABLE.fullmatch(token):
        # Not shown: it may be the token itself.
        message = (
            f"token of the group {name} must name the environment variable that holds the token,"
            " in capitals, such as SENTRY_TOKEN"
        )
        raise ValueError(message)
    slugs = given.get("organizations")
    if not isinstance(slugs, list) or not slugs or not all(isinstance(s, str) for s in slugs):
        message = f"organizations of the group {name} must be a list of strings, with one or more"
        raise ValueError(message)
    return Group(name, token, tuple(slugs))


def _ranges(backfill: dict[str, Any]) -> tuple[Range, ...]:
    given = backfill.get("borders")
    if not isinstance(given, list) or not given:
        message = "borders of [backfill] must be a list of dates, such as [2025-01-01, 2026-01-01]"
        raise ValueError(message)
    borders = [_moment(border) for border in given]
    since = _moment(backfill["since"]) if "since" in backfill else None
    if any(end <= start for start, end in pairwise([since, *borders] if since else borders)):
        message = "the borders of [backfill] must rise, and since must lie before them"
        raise ValueError(message)
    return tuple(Range(start, end) for start, end in zip([since, *borders], borders, strict=False))


def _text(given: object, name: str) -> str:
    if not isinstance(given, str) or not given:
        message = f"{name} must be a string"
        raise ValueError(message)
    return given


def _number(table: dict[str, Any], key: str, default: int, allowed: Sequence[int]) -> int:
    given = table.get(key, default)
    if type(given) is not int or given not in allowed:
        message = f"{key} must be a whole number from {allowed[0]} to {allowed[-1]:,}"
        raise ValueError(message)
    return given


def _moment(given: object) -> datetime:
    """Return a date or time of TOML, which is in UTC unless it names a zone, in whole seconds."""
    if not isinstance(given, date):
        message = f"{given!r} is no date: write it without quotes, such as 2026-01-01"
        raise ValueError(message)  # noqa: TRY004  (what is wrong is in the file)
    moment = given if isinstance(given, datetime) else datetime.combine(given, time())
    try:
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        message = f"{given} is too early or too late"
        raise ValueError(message) from None
    if moment.microsecond:
        message = f"{given} is no whole second"
        raise ValueError(message)
    return moment


def _listed(groups: tuple[Group, ...]) -> str:
    return ", ".join(group.name for group in groups)
