"""What tasks share, in PostgreSQL: the state of each group, and which shards have been loaded."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
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

# CREATE … IF NOT EXISTS takes the right to create even where nothing is missing.
_MISSING = f"""
SELECT to_regnamespace('{SCHEMA}') IS NULL
OR to_regclass('fleet.states') IS NULL OR to_regclass('fleet.shards') IS NULL
"""
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


def connect(url: str, *, autocommit: bool = True) -> psycopg.Connection:
    """Connect, for statements that each commit by themselves.

    Raises:
        FleetError: It could not be done.

    """
    try:
        known = make_conninfo(url, **conninfo_to_dict(_ALIVE))
        return psycopg.connect(known, autocommit=autocommit)
    except psycopg.OperationalError as error:
        message = f"PostgreSQL cannot be used: {one_line(error)}"
    raise FleetError(message)


def one_line(error: Exception) -> str:
    """Return the text of an error, which libpq writes in several lines."""
    return " ".join(str(error).split())


def prepare(url: str) -> None:
    """Make the schemas and tables that are missing, one task at a time.

    Two pipes that make the target's schema at the same time fail, so it is made here, too.

    Raises:
        FleetError: The role may not make them.

    """
    with connect(url) as database, database.transaction():
        database.execute("SELECT pg_advisory_xact_lock(hashtextextended('fleet', 0))")
        if database.execute(_MISSING).fetchone() == (False,):
            return
        try:
            database.execute(_TABLES)
        except psycopg.errors.InsufficientPrivilege as error:
            message = (
                f"the schemas {SCHEMA} and fleet cannot be made: {one_line(error)}. Grant the role"
                f" {database.info.user} CREATE on the database until the first task has run"
            )
            raise FleetError(message) from None


class SavedState:
    """A state in PostgreSQL, which this task alone may change."""

    def __init__(self, url: str, name: str) -> None:
        """Read it."""
        self._url = url
        self._name = name
        with connect(url) as database:
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
        # Not through the connection of the lock, which may have been cut.
        with connect(self._url) as database:
            saved = database.execute(
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

    The lock is a transaction's: a pooler in transaction mode keeps the connection of a transaction
    for it, and would give a session's lock to whoever comes next.

    Raises:
        FleetError: Another task holds it.

    """
    database = connect(url, autocommit=False)
    try:
        # A transaction that waits must hold no snapshot: vacuum would stand still.
        database.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        held = database.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended('fleet.states ' || %s, 0))", (name,)
        ).fetchone()
        if held != (True,):
            message = f"another run of {name} is under way: try again when it has ended"
            raise FleetError(message)
        # After the query, whose portal would hold a snapshot for as long as it is the last.
        database.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield SavedState(url, name)
    finally:
        with suppress(psycopg.Error):
            database.rollback()
        database.close()


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
