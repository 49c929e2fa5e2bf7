"""The table of targets: each has the version that it names, and gives back what the tap emits."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from testing.fake_receiver import FakeReceiver
from testing.fake_sentry import FakeSentry, Log, entries
from testing.postgres import postgres
from testing.recipes import BIN, LOADERS, NEEDS_A_WHEEL, ROOT, duckdb_rows, lines
from testing.sentry_tap import config, run_tap

if TYPE_CHECKING:
    from pathlib import Path

    from testing.forked import Run

pytestmark = pytest.mark.slow

Row = dict[str, Any]

# As in `make demo`, and one whose objects are null.
ENTRIES, DAYS = 5_000, 90
INDEX = (ROOT / "docs" / "README.md").read_text("utf-8")
VERSION = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"


def run(**settings: object) -> Run:
    """Run the tap over the entries of the demo."""
    odd = entries.row("1", entries.micros(entries.UNTIL), actor=None, data=None, note="")
    with FakeSentry({"acme": Log(entries.even(ENTRIES, DAYS), rows=[odd])}) as sentry:
        done = run_tap(config(sentry, **settings))
    assert done.returncode == 0, done.stderr
    assert len(done.records) == ENTRIES + 1
    return done


@pytest.fixture(scope="module")
def emitted() -> Run:
    return run()


def versions() -> dict[str, str]:
    """The packages in the table of targets, with the versions that it names."""
    [table] = re.findall(r"^\| target \| package.*?\n\n", f"{INDEX}\n", re.MULTILINE | re.DOTALL)
    return dict(re.findall(r"`([\w-]+)` (\d[\d.]+)", table))


def load(program: Path, output: str, folder: Path, **settings: object) -> None:
    """Give what the tap emitted to a target of the version that the table names."""
    (folder / "target.json").write_text(json.dumps(settings))
    subprocess.run(
        [program, "--config", "target.json"],
        cwd=folder,
        input=output,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )


def installed(package: str, python: Path) -> str:
    command = [str(python), "-c", VERSION, package]
    return subprocess.check_output(command, encoding="utf-8").strip()


def loader(name: str, *packages: str) -> Path:
    """The program of a target of the project, which has the versions that the table names."""
    programs = LOADERS / name / "venv" / "bin"
    for package in packages:
        assert installed(package, programs / "python") == versions()[package]
    return programs / name


def differences(found: list[Row], written: list[Row]) -> list[tuple[object, object]]:
    """Each value that came back as another, with what it was; entries by id."""
    by_id = {row["id"]: row for row in found}
    assert len(by_id) == len(found) == len(written)
    pairs = [
        (value, by_id[row["id"]].get(name, "no such column"))
        for row in written
        for name, value in row.items()
    ]
    return [(value, came) for value, came in pairs if value != came]


def moment(text: str) -> str:
    """A time as text that databases write alike."""
    return datetime.fromisoformat(text).replace(tzinfo=None).isoformat()


def with_times(rows: list[Row], column: str) -> list[Row]:
    return [row | {column: moment(row[column])} for row in rows]


def test_target_jsonl_gives_every_value_back(emitted: Run, tmp_path: Path) -> None:
    program = loader("target-jsonl", "target-jsonl")
    load(program, emitted.stdout, tmp_path, destination_path=".", do_timestamp_file=False)

    assert lines(tmp_path / "audit_logs.jsonl") == emitted.records


@NEEDS_A_WHEEL
def test_target_duckdb_gives_every_value_back_but_empty_texts(emitted: Run, tmp_path: Path) -> None:
    program = loader("target-duckdb", "target-duckdb", "duckdb")
    settings = {"default_target_schema": "sentry", "batch_size_rows": 700}
    load(program, emitted.stdout, tmp_path, path="audit.duckdb", **settings)
    rows = duckdb_rows(tmp_path / "audit.duckdb", "SELECT * FROM sentry.audit_logs")
    written = [{name.lower(): value for name, value in row.items()} for row in emitted.records]

    found = differences(with_times(rows, "datecreated"), with_times(written, "datecreated"))
    assert {repr(pair) for pair in found} == {"('', None)"}


def test_target_postgres_gives_every_value_back_and_makes_a_null_object_jsons(
    emitted: Run, tmp_path: Path
) -> None:
    program = loader("target-postgres", "meltanolabs-target-postgres")
    settings = {"load_method": "upsert", "sanitize_null_text_characters": True}
    with postgres() as server:
        url = server.url
        schema = {"default_target_schema": "sentry"}
        load(program, emitted.stdout, tmp_path, sqlalchemy_url=url, **schema, **settings)
        rows = server.rows("SELECT * FROM sentry.audit_logs")
        nulls = server.rows("SELECT id FROM sentry.audit_logs WHERE data = 'null'")
        missing = server.rows("SELECT id FROM sentry.audit_logs WHERE data IS NULL")

    written = with_times(emitted.records, "dateCreated")
    assert differences(with_times(rows, "dateCreated"), written) == []
    assert [row["id"] for row in nulls] == ["1"]
    assert missing == []


def as_text(name: str, value: object) -> str:
    """A value as target-csv writes it."""
    if name == "dateCreated":
        return str(datetime.fromisoformat(str(value)).astimezone(UTC))
    return "" if value is None else str(value)


def test_target_csv_gives_every_value_back_as_text(tmp_path: Path) -> None:
    flat = run(flattening_enabled=True, flattening_max_depth=1)
    venv, uv = tmp_path / "venv", BIN / "uv"
    package = f"meltanolabs-target-csv=={versions()['meltanolabs-target-csv']}"
    install = [str(uv), "pip", "install", "--quiet", "--python", str(venv), package]
    subprocess.run([uv, "venv", "--quiet", venv], check=True)
    subprocess.run(install, check=True)
    load(venv / "bin/target-csv", flat.stdout, tmp_path, output_path=".")
    with (tmp_path / "audit_logs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    written = [
        {name: as_text(name, value) for name, value in record.items()} for record in flat.records
    ]
    assert differences(rows, written) == []
    for text in ("actor__emails", "actor__avatar", "data"):
        assert all(isinstance(json.loads(row[text] or "{}"), dict | list) for row in rows)


def test_target_otlp_gives_every_value_back(emitted: Run, tmp_path: Path) -> None:
    example = json.loads((ROOT / "plugins/target-otlp/examples/sentry-audit.json").read_text())
    program = loader("target-otlp")
    with FakeReceiver() as receiver:
        load(program, emitted.stdout, tmp_path, endpoint=receiver.url, **example)

    assert [json.loads(each.body.string_value) for each in receiver.kept] == emitted.records
