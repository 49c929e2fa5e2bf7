"""Logs of a few entries, in tables as target-duckdb and target-postgres make them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Record = dict[str, Any]

NOON = datetime(2026, 11, 20, 12)  # noqa: DTZ001  (UTC, without a zone as in the tables)
COLUMNS = {
    "id": "VARCHAR PRIMARY KEY",
    "organization": "VARCHAR",
    "actor": "JSON",
    "event": "VARCHAR",
    "ipAddress": "VARCHAR",
    "note": "VARCHAR",
    "targetObject": "BIGINT",
    "targetUser": "VARCHAR",
    "targetUserDetail": "JSON",
    "data": "JSON",
    "dateCreated": "TIMESTAMP",
    "additionalFields": "JSON",
}


def user(number: int, address: str) -> Record:
    return {"id": str(number), "name": f"User {number}", "email": address}


def entry(key: str, minutes: float = 0, **changes: object) -> Record:
    """An entry so many minutes after noon."""
    return dict.fromkeys(COLUMNS) | {
        "id": key,
        "organization": "acme",
        "actor": user(1, "ada@acme.example"),
        "event": "member.edit",
        "data": {},
        "dateCreated": NOON + timedelta(minutes=minutes),
        **changes,
    }


def load_duckdb(path: Path, records: Sequence[Record]) -> str:
    """Return the path of a file with these entries."""
    columns = ", ".join(f"{name.lower()} {kind}" for name, kind in COLUMNS.items())
    with duckdb.connect(path) as connection:
        connection.execute(f"CREATE SCHEMA sentry; CREATE TABLE sentry.audit_logs ({columns})")
        marks = ", ".join("?" * len(COLUMNS))
        for record in records:
            connection.execute(f"INSERT INTO sentry.audit_logs VALUES ({marks})", _values(record))  # noqa: S608
    return str(path)


def load_postgres(url: str, records: Sequence[Record]) -> str:
    """Return the URL of a database with these entries and no others."""
    columns = ", ".join(
        f'"{name}" {kind.replace("JSON", "JSONB")}' for name, kind in COLUMNS.items()
    )
    with psycopg.connect(url) as connection:
        connection.execute("DROP SCHEMA IF EXISTS sentry CASCADE; CREATE SCHEMA sentry")
        connection.execute(f"CREATE TABLE sentry.audit_logs ({columns})".encode())
        marks = ", ".join(["%s"] * len(COLUMNS))
        connection.cursor().executemany(
            f"INSERT INTO sentry.audit_logs VALUES ({marks})".encode(),  # noqa: S608
            [_values(record) for record in records],
        )
    return url


def _values(record: Record) -> list[Any]:
    """Values as the targets write them: target-duckdb's JSON is ASCII."""
    return [
        json.dumps(record[name]) if kind == "JSON" and record[name] is not None else record[name]
        for name, kind in COLUMNS.items()
    ]
