"""What tasks share, in PostgreSQL: the state of each group, and which shards have been loaded."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sentry_fleet.pipe import SCHEMA
from sentry_fleet.settings import FleetError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sentry_fleet.pipe import State
    from sentry_fleet.settings import Range

_TABLES = f"""
CREATE SCHEMA IF NOT EXISTS {SCHEMA};
CREATE SCHEMA IF NOT EXISTS fleet;
CREATE TABLE IF NOT EXISTS fleet.states (
  name text PRIMARY KEY, state json NOT NULL, version bigint NOT NULL, saved timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS fleet.shards (
  organization text, range_start timestamptz, range_end timestamptz,
  began timestamptz NOT NULL, ended timestamptz NOT NULL,
  UNIQUE NULLS NOT DISTINCT (organization, range_start, range_end)
);
"""

# A connection that a pipe of an hour leaves idle must not be forgotten by a router.
_ALIVE = "keepalives_idle=30 keepalives_interval=10 keepalives_count=3"


@dataclass(frozen=True)
class Shard:
    """A range of an organization that was loaded whole, by a pipe that began at a time."""

    range: Range
    began: datetime


def connect(url: str) -> psycopg.Connection:
    """Connect, for statements that each commit by themselves."""
    return psycopg.connect(make_conninfo(url, **conninfo_to_dict(_ALIVE)), autocommit=True)


def prepare(url: str) -> None:
    """Make the schemas and tables that are missing, one task at a time.

    Two pipes that make the target's schema at the same time fail, so it is made here, too.
    """
    with connect(url) as database, database.transaction():
        database.execute("SELECT pg_advisory_xact_lock(hashtextextended('fleet', 0))")
        database.execute(_TABLES)


class SavedState:
    """A state in PostgreSQL, which this task alone may change."""

    def __init__(self, database: psycopg.Connection, name: str) -> None:
        """Read it."""
        self._database = database
        self._name = name
        found = database.execute(
            "SELECT state::text, version FROM fleet.states WHERE name = %s", (name,)
        ).fetchone()
        text, self._version = found or (None, 0)
        self.state: State | None = json.loads(text) if text else None

    def save(self, state: State) -> None:
        """Save the state, unless another task has done so since this one read it.

        Raises:
            FleetError: It has.

        """
        saved = self._database.execute(
            "INSERT INTO fleet.states AS known VALUES (%s, %s, %s, now())"
            " ON CONFLICT (name) DO UPDATE SET"
            " state = excluded.state, version = excluded.version, saved = excluded.saved"
            " WHERE known.version = excluded.version - 1",
            (self._name, json.dumps(state), self._version + 1),
        )
        if saved.rowcount != 1:
            message = f"another run has saved the state {self._name} meanwhile: this one's is not"
            raise FleetError(message)
        self._version += 1
        self.state = state


@contextmanager
def saved_state(url: str, name: str) -> Iterator[SavedState]:
    """Hold a state, so that no other task runs from it; it is let go when this process dies.

    Raises:
        FleetError: Another task holds it.

    """
    with connect(url) as database:
        held = database.execute(
            "SELECT pg_try_advisory_lock(hashtextextended('fleet.states ' || %s, 0))", (name,)
        ).fetchone()
        if held != (True,):
            message = f"another run of {name} is under way"
            raise FleetError(message)
        yield SavedState(database, name)


def now(url: str) -> datetime:
    """Return the database's time: one clock for all workers."""
    with connect(url) as database:
        row = database.execute("SELECT clock_timestamp()").fetchone()
    assert row  # noqa: S101  (a query without FROM has one row)
    time: datetime = row[0]
    return time


def shard_loaded(url: str, organization: str, shard: Shard) -> None:
    """Record that a shard was loaded whole."""
    with connect(url) as database:
        database.execute(
            "INSERT INTO fleet.shards VALUES (%s, %s, %s, %s, clock_timestamp())"
            " ON CONFLICT (organization, range_start, range_end) DO UPDATE SET"
            " began = excluded.began, ended = excluded.ended",
            (organization, shard.range.start, shard.range.end, shard.began),
        )


def shards_loaded(url: str) -> dict[tuple[str, datetime | None, datetime], datetime]:
    """Return when the reading of each loaded shard began: by organization, start and end."""
    with connect(url) as database:
        rows = database.execute(
            "SELECT organization, range_start, range_end, began FROM fleet.shards"
        )
        return {(slug, start, end): began for slug, start, end, began in rows}
