"""The places that a log can be loaded into: a DuckDB file, PostgreSQL, or JSON Lines files.

Targets disagree on the case of column names, and on types. `log` evens this out: a detection sees
text, JSON, and times in UTC without a zone, under names that need no quotes.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from sentry_audit_detections.exceptions import DetectionsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb
    import psycopg

Row = dict[str, Any]

REQUIRED = ("id", "organization", "event", "actor", "data", "dateCreated")
KEY = ("organization", "id")
TEXTS = ("id", "organization", "event", "ipAddress", "note", "targetObject", "targetUser")
JSONS = ("actor", "data", "targetUserDetail", "additionalFields")
POSTGRES = re.compile(r"^postgres(?:ql)?(?:\+\w+)?://")


class Database(Protocol):
    """A database that is open for reading."""

    def log(self) -> str:
        """Return a query for all entries of the log, with uniform names and types.

        Raises:
            DetectionsError: Its table is missing or lacks columns.

        """

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, in which `values` stand for $1, $2 and so on.

        Raises:
            DetectionsError: The database refuses it.

        """

    def table(self, name: str) -> list[Row]:
        """Return all rows of a table, with column names in lower case and JSON parsed.

        Raises:
            DetectionsError: The table does not exist.

        """


@contextmanager
def opened(place: str, schema: str) -> Iterator[Database]:
    """Open a PostgreSQL URL, a DuckDB file, or `audit_logs.jsonl`, for reading only.

    Raises:
        DetectionsError: It cannot be opened.

    """
    if POSTGRES.match(place):
        with _postgres(place) as connection:
            yield _Postgres(connection, schema)
        return
    path = Path(place)
    if not path.is_file() and re.search("[:=]", place):
        # It may hold a password, so it is not shown.
        message = "the database must be a DuckDB file, a .jsonl file, or a postgresql:// URL"
        raise DetectionsError(message)
    if not path.is_file():
        message = f"{place} is not a file: name a DuckDB file, a .jsonl file, or postgresql://…"
        raise DetectionsError(message)
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        with _duckdb(":memory:") as connection:
            yield _Jsonl(connection, path)
    else:
        with _duckdb(place) as connection:
            yield _Duckdb(connection, schema)


class _Duckdb:
    def __init__(self, connection: duckdb.DuckDBPyConnection, schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self.log = cache(self._log)

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        import duckdb  # noqa: PLC0415  (an extra, and slow to import)

        try:
            return self._connection.execute(sql, list(values)).fetchall()
        except duckdb.Error as error:
            raise DetectionsError(_first_line(error)) from error
        except RuntimeError as error:
            # This is how DuckDB reports Ctrl-C.
            raise KeyboardInterrupt from error

    def _log(self) -> str:
        table = _Table("audit_logs", self._schema, self._types("audit_logs"))
        keys = self.query(_DUCKDB_KEYS, [self._schema, "audit_logs"])
        twice = not table.has_key(keys) and bool(self.query(table.entries_twice()))
        return table.select(json_type="JSON", time=_duckdb_time, once=twice)

    def table(self, name: str) -> list[Row]:
        types = self._types(name)
        rows = self.query(f"SELECT * FROM {_quoted(self._schema)}.{_quoted(name)}")  # noqa: S608  (quoted)
        names = [column.lower() for column in types]
        return [
            {
                column: json.loads(value) if kind == "JSON" and value is not None else value
                for column, kind, value in zip(names, types.values(), row, strict=True)
            }
            for row in rows
        ]

    def _types(self, table: str) -> dict[str, str]:
        rows = self.query(_columns_of(self._schema, table))
        if not rows:
            raise DetectionsError(_no_table(self._schema, table))
        return dict(rows)


class _Jsonl(_Duckdb):
    """Files as target-jsonl writes them, in one folder; the last line with a key counts."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        super().__init__(connection, "main")
        self._path = path

    def _log(self) -> str:
        types = dict.fromkeys(TEXTS, "VARCHAR") | dict.fromkeys(JSONS, "JSON")
        types["dateCreated"] = "VARCHAR"
        path = str(self._path).replace("'", "''")
        self.query(
            "CREATE OR REPLACE TEMP TABLE audit_logs_read AS "  # noqa: S608  (escaped)
            "SELECT * EXCLUDE (line) FROM (SELECT *, row_number() OVER () AS line FROM read_json("
            f"'{path}', format = 'newline_delimited', columns = {types})) "
            "QUALIFY row_number() OVER (PARTITION BY organization, id ORDER BY line DESC) = 1"
        )
        [(rows, entries)] = self.query("SELECT count(*), count(event) FROM audit_logs_read")
        if rows and not entries:
            message = f"{self._path} holds no entries of the audit log: name audit_logs.jsonl"
            raise DetectionsError(message)
        table = _Table("audit_logs_read", None, types)
        return table.select(json_type="JSON", time=_duckdb_time)

    def table(self, name: str) -> list[Row]:
        path = self._path.with_name(f"{name}.jsonl")
        if not path.is_file():
            message = f"{path} is missing: select the stream {name} in the tap"
            raise DetectionsError(message)
        with path.open(encoding="utf-8") as file:
            try:
                rows = [json.loads(line) for line in file]
            except ValueError as error:
                message = f"{path} does not hold one JSON object per line: {error}"
                raise DetectionsError(message) from error
        last = {(row.get("organization"), row.get("id")): row for row in rows}
        return [{key.lower(): value for key, value in row.items()} for row in last.values()]


class _Postgres:
    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self.log = cache(self._log)

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        import psycopg  # noqa: PLC0415  (an extra)

        try:
            with psycopg.RawCursor(self._connection) as cursor:
                return cursor.execute(sql.encode(), values).fetchall()
        except psycopg.Error as error:
            raise DetectionsError(_first_line(error)) from error

    def _log(self) -> str:
        table = _Table("audit_logs", self._schema, self._types("audit_logs"))
        keys = self.query(_POSTGRES_KEYS, [self._schema, "audit_logs"])
        twice = not table.has_key(keys) and bool(self.query(table.entries_twice()))
        return table.select(json_type="jsonb", time=_postgres_time, once=twice)

    def table(self, name: str) -> list[Row]:
        names = [column.lower() for column in self._types(name)]
        rows = self.query(f"SELECT * FROM {_quoted(self._schema)}.{_quoted(name)}")  # noqa: S608  (quoted)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _types(self, table: str) -> dict[str, str]:
        rows = self.query(_columns_of(self._schema, table))
        if not rows:
            raise DetectionsError(_no_table(self._schema, table))
        return dict(rows)


class _Table:
    """A table of the log with the columns that a target gave it, and their types."""

    def __init__(self, name: str, schema: str | None, types: dict[str, str]) -> None:
        self._name = _quoted(name) if schema is None else f"{_quoted(schema)}.{_quoted(name)}"
        self._types = {column.lower(): (column, kind) for column, kind in types.items()}
        self._require(REQUIRED)

    def has_key(self, keys: Sequence[tuple[Any, ...]]) -> bool:
        """Return whether one of these keys, each a list of columns, keeps entries from doubling."""
        return any({column.lower() for column in columns} <= set(KEY) for (columns,) in keys)

    def entries_twice(self) -> str:
        """Return a query that finds an entry that a target without upsert has written twice."""
        key = ", ".join(_quoted(self._types[name][0]) for name in KEY)
        return f"SELECT 1 FROM {self._name} GROUP BY {key} HAVING count(*) > 1 LIMIT 1"  # noqa: S608  (quoted)

    def select(self, json_type: str, time: dict[str, str], *, once: bool = False) -> str:
        """Return the query that levels names and types; `time` has an expression by type.

        With `once`, of each entry one row.
        """
        columns = [self._cast(name, "text") for name in TEXTS]
        columns += [self._cast(name, json_type) for name in JSONS]
        column, kind = self._types["datecreated"]
        expression = time.get(kind.lower(), time[""]).format(_quoted(column))
        columns.append(f"{expression} AS dateCreated")
        distinct = f"DISTINCT ON ({', '.join(KEY)}) " if once else ""
        return (
            f"SELECT {distinct}*, actor->>'id' AS actorId, "  # noqa: S608  (quoted)
            "coalesce(nullif(actor->>'email', ''), actor->>'name') AS actorName "
            f"FROM (SELECT {', '.join(columns)} FROM {self._name}) AS levelled"
        )

    def _cast(self, name: str, kind: str) -> str:
        column = self._types.get(name.lower())
        return f"CAST({_quoted(column[0]) if column else 'NULL'} AS {kind}) AS {name}"

    def _require(self, names: Sequence[str]) -> None:
        if missing := [name for name in names if name.lower() not in self._types]:
            columns = ", ".join(missing)
            message = f"{self._name} lacks {columns}: load audit_logs in full, and not flattened"
            raise DetectionsError(message)


# The columns of each primary key; information_schema hides them from those who may only read.
_DUCKDB_KEYS = (
    "SELECT constraint_column_names FROM duckdb_constraints() WHERE database_name = "
    "current_database() AND schema_name = $1 AND table_name = $2 "
    "AND constraint_type = 'PRIMARY KEY'"
)
_POSTGRES_KEYS = (
    "SELECT ARRAY(SELECT CAST(attname AS text) FROM pg_attribute "
    "WHERE attrelid = indrelid AND attnum = ANY(indkey)) "
    "FROM pg_index JOIN pg_class ON pg_class.oid = indrelid "
    "JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "WHERE indisprimary AND nspname = $1 AND relname = $2"
)

# By column type; the last entry is for text.
_duckdb_time = {
    "timestamp": "{0}",
    "timestamp with time zone": "({0} AT TIME ZONE 'UTC')",
    "": "CAST({0} AS timestamp)",
}
_postgres_time = {
    "timestamp without time zone": "{0}",
    "timestamp with time zone": "({0} AT TIME ZONE 'UTC')",
    "": "(CAST({0} AS timestamptz) AT TIME ZONE 'UTC')",
}


@contextmanager
def _duckdb(place: str) -> Iterator[duckdb.DuckDBPyConnection]:
    try:
        import duckdb  # noqa: PLC0415  (an extra)
    except ImportError as error:
        message = "DuckDB is not installed: pip install 'sentry-audit-detections[duckdb]'"
        raise DetectionsError(message) from error
    try:
        connection = duckdb.connect(place, read_only=place != ":memory:")
    except duckdb.Error as error:
        message = f"{place} cannot be read: {_first_line(error)}"
        raise DetectionsError(message) from error
    with connection:
        yield connection


@contextmanager
def _postgres(url: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    try:
        import psycopg  # noqa: PLC0415  (an extra)
    except ImportError as error:
        message = "psycopg is not installed: pip install 'sentry-audit-detections[postgres]'"
        raise DetectionsError(message) from error
    try:
        connection = psycopg.connect(POSTGRES.sub("postgresql://", url))
    except psycopg.ProgrammingError as error:
        # Its text would quote the URL.
        message = "the PostgreSQL URL cannot be parsed: write it like postgresql://user@host:5432/database"
        raise DetectionsError(message) from error
    except psycopg.Error as error:
        message = f"PostgreSQL: {_without_password(url, _first_line(error))}"
        raise DetectionsError(message) from error
    connection.read_only = True
    with connection:
        # To compile a query takes longer here than to run it, and so does sorting on disk.
        connection.execute("SET jit = off")
        connection.execute("SET work_mem = '64MB'")
        yield connection


def _columns_of(schema: str, table: str) -> str:
    where = " AND ".join(
        f"{column} = '{value.replace(chr(39), chr(39) * 2)}'"
        for column, value in (("table_schema", schema), ("table_name", table))
    )
    return (
        f"SELECT column_name, data_type FROM information_schema.columns WHERE {where} "  # noqa: S608  (escaped)
        "ORDER BY ordinal_position"
    )


def _no_table(schema: str, table: str) -> str:
    return (
        f"the schema {schema} has no table {table}: name its schema with --schema, "
        f"or let the tap select the stream {table}"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _without_password(url: str, text: str) -> str:
    """Mask the password, and its parts, because for libpq an unescaped `@`, `/`, or `?` ends it."""
    login, _, _ = url.partition("://")[2].rpartition("@")
    password = login.partition(":")[2]
    secrets = {password, unquote(password), *re.split("[@/?#:]", password)} - {""}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
