"""A plain pipe into real targets, and what files and tables then hold."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tap_sentry_audit.tap import STREAMS
from testing import ocsf_mapper
from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.ocsf_mapper import SCHEMA, run_mapper
from testing.postgres import Postgres, postgres
from testing.recipes import recipes
from testing.recorded import audit_rows
from testing.sentry_tap import config, run_tap, selecting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testing.forked import Run

pytestmark = pytest.mark.slow

Row = dict[str, Any]

LOAD = recipes("plugins/mapper-sentry-ocsf/docs/load.md")
LOADERS = Path(__file__).parents[1] / ".meltano" / "loaders"
MINUTE = 60_000_000

NEEDS_A_WHEEL = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="DuckDB 1.2.2 has no wheel for Python 3.14"
)
READ_DUCKDB = """
import duckdb, sys
path, query = sys.argv[1:]
for (row,) in duckdb.connect(path, read_only=True).execute(query).fetchall():
    print(row)
"""

TYPES = {
    "id": {"target-postgres": "text", "target-duckdb": "VARCHAR"},
    "event": {"target-postgres": "text", "target-duckdb": "VARCHAR"},
    "actor": {"target-postgres": "jsonb", "target-duckdb": "JSON"},
    "data": {"target-postgres": "jsonb", "target-duckdb": "JSON"},
    "targetObject": {"target-postgres": "bigint", "target-duckdb": "HUGEINT"},
    "dateCreated": {
        "target-postgres": "timestamp without time zone",
        "target-duckdb": "TIMESTAMP",
    },
}

NESTED = {
    "actor": {"id": "7", "name": "Ada", "emails": [{"id": "7", "is_verified": True}], "to": {}},
    "data": {"old": [1, 2.5, [None, {"q": "ü \"\\' \n\t,{}"}]], "new": None, "id": 2**53 + 1},
    "targetObject": 2**62,
    "targetUser": None,
    "note": "tab\t, \"quote\", 'quote', \\N and\nanother line",
}


def pipe(run: Run, target: str, settings: object, folder: Path) -> object:
    """Give a run's output to a target and return the last state that it gives back."""
    path = folder / "target.json"
    path.write_text(json.dumps(settings))
    done = subprocess.run(
        [LOADERS / target / "venv/bin" / target, "--config", path],
        input=run.stdout,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@dataclass(frozen=True)
class Database:
    """A target with its settings, and a way to ask for rows of what it has loaded into."""

    target: str
    settings: dict[str, object]
    rows: Callable[[str], list[Row]]
    column: Callable[[str], str]
    """What the target calls the column of a property."""

    @property
    def schema(self) -> object:
        return self.settings["default_target_schema"]

    def load(self, run: Run, folder: Path) -> object:
        """Load a run's output, and return the last state that the target gives back."""
        return pipe(run, self.target, self.settings, folder)

    def table(self, stream: str) -> list[Row]:
        """Return the rows of a stream without the columns that the target adds."""
        found = self.rows(f"SELECT * FROM {self.schema}.{stream}")  # noqa: S608
        return [
            {name: value for name, value in row.items() if not name.startswith("_sdc_")}
            for row in found
        ]

    def types(self, stream: str) -> dict[str, str]:
        found = self.rows(
            f"SELECT column_name, data_type FROM information_schema.columns "  # noqa: S608
            f"WHERE table_schema = '{self.schema}' AND table_name = '{stream}'"
        )
        return {row["column_name"]: row["data_type"] for row in found}

    def keys(self, stream: str, names: list[str]) -> list[list[object]]:
        """Return the primary keys in a table, sorted, those that are there twice twice."""
        return sorted([row[self.column(name)] for name in names] for row in self.table(stream))


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


def into_postgres(server: Postgres) -> Database:
    settings: dict[str, object] = {
        "sqlalchemy_url": server.url,
        "default_target_schema": f"sentry_{uuid4().hex}",
        "load_method": "upsert",
        "sanitize_null_text_characters": True,
    }
    return Database("target-postgres", settings, server.rows, str)


def into_duckdb(folder: Path) -> Database:
    path, python = folder / "audit.duckdb", LOADERS / "target-duckdb/venv/bin/python"

    def rows(query: str) -> list[Row]:
        asked = f"SELECT to_json(asked) FROM ({query}) AS asked"  # noqa: S608
        read = subprocess.check_output([python, "-c", READ_DUCKDB, path, asked], encoding="utf-8")
        return [json.loads(line) for line in read.split("\n") if line]

    settings: dict[str, object] = {
        "path": str(path),
        "default_target_schema": "sentry",
        "temp_dir": str(folder),
    }
    return Database("target-duckdb", settings, rows, str.lower)


BOTH = ["postgres", pytest.param("duckdb", marks=NEEDS_A_WHEEL)]


def empty(name: str, request: pytest.FixtureRequest, folder: Path) -> Database:
    if name == "duckdb":
        return into_duckdb(folder)
    return into_postgres(request.getfixturevalue("server"))


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """Return an empty one."""
    return empty(request.param, request, tmp_path)


def run_all(log: Log, **options: object) -> Run:
    """Run the tap with all streams."""
    acme = Inventory.made(projects=2, events=5, issues=5)
    with FakeSentry({"acme": log}, inventories={"acme": acme}) as sentry:
        catalog = selecting(*(stream.name for stream in STREAMS))
        return run_tap(config(sentry, **options), catalog=catalog)


def assert_holds_each_key_once(database: Database, run: Run) -> None:
    """Each stream's table has exactly the primary keys of the records that the tap wrote."""
    for schema in run.of_type("SCHEMA"):
        stream, names = schema["stream"], schema["key_properties"]
        keys = {
            tuple(message["record"][name] for name in names)
            for message in run.of_type("RECORD")
            if message["stream"] == stream
        }
        assert database.keys(stream, names) == sorted(map(list, keys)) != [], stream


def as_in(database: Database, record: Row) -> Row:
    """Write a record as the database does: names of columns, and times without a zone."""
    return comparable({database.column(name): value for name, value in record.items()})


def comparable(row: Row) -> Row:
    """Read the time, which databases write with a T or a space and without needless zeros."""
    name = "dateCreated" if "dateCreated" in row else "datecreated"
    return row | {name: datetime.fromisoformat(row[name]).replace(tzinfo=None)}


def by_id(rows: list[Row]) -> dict[str, Row]:
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


# --- all streams, read twice


@pytest.fixture(scope="module", params=BOTH)
def loaded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Database, Run]:
    """Load all streams, and again with an entry that has changed; return the second run."""
    folder = tmp_path_factory.mktemp("loaded")
    database = empty(request.param, request, folder)
    at = entries.micros(entries.UNTIL)
    for note in "as it was", "as it is":
        changing = entries.row("2", at + 1, actor=None, data={}, note=note)
        log = Log(rows=[entries.row("1", at, **NESTED), changing])
        run = run_all(log)
        database.load(run, folder)
    return database, run


def test_every_stream_is_a_table_that_has_each_key_once(loaded: tuple[Database, Run]) -> None:
    database, run = loaded

    assert len(run.of_type("SCHEMA")) == len(STREAMS)
    assert_holds_each_key_once(database, run)


def test_columns_have_the_types_of_what_is_in_them(loaded: tuple[Database, Run]) -> None:
    database, _ = loaded
    types = database.types("audit_logs")

    for name, expected in TYPES.items():
        assert types[database.column(name)] == expected[database.target]


def test_each_entry_comes_back_as_it_was_written_last(loaded: tuple[Database, Run]) -> None:
    database, run = loaded
    written = [as_in(database, record) for record in run.records if "event" in record]

    found = by_id([comparable(row) for row in database.table("audit_logs")])
    assert found == by_id(written)
    assert {name: found["1"][database.column(name)] for name in NESTED} == NESTED
    assert found["2"]["note"] == "as it is"


# --- flattened records


def test_flattened_records_are_loaded_whole(database: Database, tmp_path: Path) -> None:
    at = entries.micros(entries.UNTIL)
    users = [entries.user(7), {"name": "Terraform", "new": [{"a": 1}]}, {"name": None}]
    rows = [
        entries.row(str(number), at + number, actor=user, data=NESTED["data"], targetUser=user)
        for number, user in enumerate(users)
    ]
    rows.append(entries.row("3", at + 3, actor=None, data=None, targetUser=None))
    run = run_all(Log(rows=rows), flattening_enabled=True, flattening_max_depth=1)
    database.load(run, tmp_path)

    assert_holds_each_key_once(database, run)
    found = by_id(database.table("audit_logs"))
    for key, record in by_id(run.records[: len(rows)]).items():
        row, written = comparable(found[key]), as_in(database, record)
        assert row == dict.fromkeys(row) | written
    assert json.loads(found["0"]["data"]) == NESTED["data"]
    assert found["0"][database.column("actor__isActive")] is True
    assert json.loads(found["1"][database.column("actor__additionalFields")]) == {"new": [{"a": 1}]}
    assert found["3"]["data"] is None


def test_a_target_that_flattens_by_itself_loses_no_open_object(
    server: Postgres, tmp_path: Path
) -> None:
    database = into_postgres(server)
    database.settings.update({"flattening_enabled": True, "flattening_max_depth": 1})
    acme = Inventory.made()
    acme.teams[0]["brandNew"] = {"deep": [1]}
    with FakeSentry({"acme": Log()}, inventories={"acme": acme}) as sentry:
        run = run_tap(config(sentry), catalog=selecting("teams"))
    database.load(run, tmp_path)

    found = by_id(database.table("teams"))
    for record in run.records:
        for name in ("flags", "avatar", "additionalFields"):
            text = found[record["id"]][name]
            assert (None if text is None else json.loads(text)) == record[name]


# --- events of OCSF


@pytest.mark.parametrize("split_by_class", [False, True])
def test_ocsf_events_are_loaded_whole(
    split_by_class: bool,  # noqa: FBT001  (pytest gives it by name)
    database: Database,
    tmp_path: Path,
) -> None:
    with FakeSentry({"acme": Log(rows=audit_rows())}) as sentry:
        run = run_tap(config(sentry))
    mapped = run_mapper(run.stdout.encode(), split_by_class=split_by_class)
    state = database.load(mapped, tmp_path)

    assert_holds_each_key_once(database, mapped)
    assert state == run.state
    assert len(mapped.of_type("SCHEMA")) == (4 if split_by_class else 1)
    for schema in mapped.of_type("SCHEMA"):
        found = {row["uid"]: row for row in database.table(schema["stream"])}
        for message in mapped.of_type("RECORD"):
            if message["stream"] == schema["stream"]:
                row, written = found[message["record"]["uid"]], message["record"]
                assert row == dict.fromkeys(row) | written


def test_the_query_in_the_mappers_docs_finds_the_severe_events(
    server: Postgres, tmp_path: Path
) -> None:
    database = into_postgres(server)
    severe, harmless = ocsf_mapper.record(1, event="org.remove"), ocsf_mapper.record(2)
    mapped = run_mapper([SCHEMA, severe, harmless, ocsf_mapper.state(2)])
    database.load(mapped, tmp_path)
    query = LOAD["sql"].rstrip(";\n")

    assert database.rows(query.replace("sentry.", f"{database.schema}.")) == [
        {
            "to_timestamp": "2026-01-31T08:00:00.123+00:00",
            "?column?": "ada@example.com",
            "message": "did something",
        }
    ]


# --- runs that follow each other


def test_a_run_from_the_state_that_comes_back_adds_just_what_is_new(
    database: Database, tmp_path: Path
) -> None:
    log = Log(entries.even(1100))
    newest = entries.micros(entries.UNTIL)
    with FakeSentry({"acme": log}) as sentry:
        first = run_tap(config(sentry))
        state = database.load(first, tmp_path)
        # Two of one moment, and one that is late by half an hour.
        log.add([newest, newest, newest - 30 * MINUTE])
        second = run_tap(config(sentry), state=state)
        database.load(second, tmp_path)
        nothing_new = run_tap(config(sentry), state=second.state)

    assert len(first.of_type("STATE")) > 1
    assert state == first.state
    assert len(second.records) == 3
    assert database.keys("audit_logs", ["id"]) == [[key] for key in ids(log)]
    assert nothing_new.records == []
    assert database.load(nothing_new, tmp_path) == nothing_new.state


# --- target-jsonl, which appends


def append(run: Run, folder: Path) -> object:
    settings = {"destination_path": str(folder), "do_timestamp_file": False}
    return pipe(run, "target-jsonl", settings, folder)


def appended(folder: Path) -> dict[str, list[str]]:
    """Return the ids in the file of each stream, sorted."""
    return {
        path.stem: sorted(json.loads(line)["id"] for line in path.read_text().splitlines())
        for path in folder.glob("*.jsonl")
    }


def ids(log: Log) -> list[str]:
    return sorted(row["id"] for row in log.rows() if row)


def test_odd_and_recorded_entries_and_every_stream_pass_the_validation_of_target_jsonl(
    tmp_path: Path,
) -> None:
    odd: list[Row] = [
        {"actor": {"name": None}},
        {"actor": {"id": 7, "isActive": "yes", "emails": {}}, "data": [1]},
        {"targetUser": 3842558, "targetObject": 2**62},
        {"targetUser": {"id": 5}, "note": None, "ipAddress": None},
    ]
    rows = [entries.row(f"odd{number}", number, **row) for number, row in enumerate(odd)]
    log = Log(rows=[*audit_rows(), *rows])
    run = run_all(log)
    append(run, tmp_path)

    files = appended(tmp_path)
    assert files.keys() == {stream.name for stream in STREAMS}
    assert files["audit_logs"] == ids(log)
    assert sum(map(len, files.values())) == len(run.records)


def test_polls_of_a_living_log_leave_each_entry_once_in_the_file(tmp_path: Path) -> None:
    log = Log(entries.even(150))
    newest = entries.micros(entries.UNTIL)
    state = None
    with FakeSentry({"acme": log}) as sentry:
        for _ in range(4):
            newest += 7 * MINUTE
            # Two of one moment, and one that is late by half an hour.
            log.add([newest, newest, newest - 30 * MINUTE])
            state = append(run_tap(config(sentry), state=state), tmp_path)

    assert appended(tmp_path) == {"audit_logs": ids(log)}
