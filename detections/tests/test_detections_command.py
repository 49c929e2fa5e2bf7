"""The command from outside: what it writes, how it ends, what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from testing.cases import CASES, records

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

ALWAYS = ("--since", "2000-01-01", "--until", "2100-01-01")
LIMITS = "no sign-ins, no changes of IP rules, no data exports and no personal tokens"


def detect(*arguments: str, **variables: str) -> CompletedProcess[str]:
    """Run the command, which shows no traceback whatever it is given."""
    clean = {n: v for n, v in os.environ.items() if not n.startswith("SENTRY_AUDIT_DETECTIONS")}
    done = subprocess.run(
        [sys.executable, "-m", "sentry_audit_detections", *arguments],
        capture_output=True,
        encoding="utf-8",
        env=clean | variables,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("log") / "audit_logs.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records()))
    return str(path)


def test_people_read_first_what_cannot_be_found_then_the_worst(log: str) -> None:
    done = detect(log, *ALWAYS)

    lines = done.stdout.splitlines()
    assert LIMITS in lines[0]
    headings = [
        line.split()[0] for line in lines if line.startswith(("CRIT", "HIGH", "MED", "LOW"))
    ]
    assert headings == sorted(headings, key=["CRITICAL", "HIGH", "MEDIUM", "LOW"].index)
    assert len(headings) == 25
    assert done.returncode == 0


def test_machines_read_one_object_a_line_and_nothing_else(log: str) -> None:
    done = detect(log, *ALWAYS, "--only", "13", "--format", "json")

    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(row["detection"], row["severity"]) for row in found} == {("13", "critical")}
    [row] = [row for row in found if row["organization"] == "case-13"]
    assert (row["event"], row["detail"]) == ("org.remove", "acme-detections")
    assert row["actor"] == "owner@acme.example"
    assert row["dateCreated"] == "2026-11-22T03:14:06.890075Z"
    assert LIMITS in done.stderr


@pytest.mark.parametrize(
    ("severity", "code"), [("low", 3), ("medium", 3), ("high", 0), ("critical", 0)]
)
def test_the_exit_code_is_3_from_the_given_severity_on(log: str, severity: str, code: int) -> None:
    assert detect(log, *ALWAYS, "--only", "25", "--fail-on", severity).returncode == code


def test_only_the_period_is_looked_at(log: str) -> None:
    second = ("--since", "2026-11-22T03:14:06Z", "--until", "2026-11-22T03:14:07Z")
    assert "1 of 1 detections" in detect(log, *second, "--only", "13").stdout
    before = ("--since", "2026-11-22T03:14:06Z", "--until", "2026-11-22T04:14:06.890075+01:00")
    assert "0 of 1 detections" in detect(log, *before, "--only", "13").stdout


def test_a_period_without_entries_is_told_of(log: str) -> None:
    done = detect(log, "--since", "2001-01-01", "--until", "2001-01-02", "--format", "json")

    assert done.stdout == ""
    assert "no entries at all: does the tap run" in done.stderr


def test_a_file_to_which_an_entry_was_appended_twice_has_it_once(tmp_path: Path) -> None:
    entry = json.loads((CASES / "13-organization-deletion.jsonl").read_text().splitlines()[0])
    path = tmp_path / "audit_logs.jsonl"
    path.write_text(2 * f"{json.dumps(entry['entry'])}\n")

    done = detect(str(path), *ALWAYS, "--only", "13", "--format", "json")
    assert len(done.stdout.splitlines()) == 1


def test_a_table_that_has_entries_twice_counts_them_once(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    entry = next(iter(records())) | {"event": "project.remove"}
    near = [entry | {"id": str(number)} for number in range(5)]
    file = tmp_path / "near.jsonl"
    file.write_text("".join(f"{json.dumps(entry)}\n" for entry in near))
    path = tmp_path / "audit.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE SCHEMA sentry")
        read = f"SELECT * FROM read_json('{file}')"  # noqa: S608  (our own)
        connection.execute(f"CREATE TABLE sentry.audit_logs AS {read} UNION ALL {read}")

    done = detect(str(path), *ALWAYS, "--only", "6,11", "--format", "json")
    assert [json.loads(row)["detection"] for row in done.stdout.splitlines()] == ["11"] * 5


def test_a_file_of_something_else_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "members.jsonl"
    path.write_text('{"id": "1", "organization": "acme", "dateCreated": "2026-11-18T12:00:00Z"}\n')

    assert "members.jsonl holds no entries of the audit log" in detect(str(path)).stderr


def test_a_name_that_the_terminal_has_no_letters_for_hides_nothing(tmp_path: Path) -> None:
    entry = json.loads((CASES / "13-organization-deletion.jsonl").read_text().splitlines()[0])
    entry["entry"]["actor"] = {"name": "李小龙"}
    path = tmp_path / "audit_logs.jsonl"
    path.write_text(json.dumps(entry["entry"]))

    done = detect(str(path), *ALWAYS, "--only", "13", PYTHONIOENCODING="latin-1")
    assert "\\u674e\\u5c0f\\u9f99" in done.stdout
    assert "1 of 1 detections" in done.stdout
    assert done.returncode == 0


def test_a_full_disk_is_an_error(log: str) -> None:
    for form in ("table", "json"):
        with open("/dev/full", "w") as full:  # noqa: PTH123  (no file)
            done = subprocess.run(
                [sys.executable, "-m", "sentry_audit_detections", log, *ALWAYS, "--format", form],
                stdout=full,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                check=False,
            )
        assert done.stderr.splitlines()[-1] == "Error: cannot write: No space left on device"
        assert "Traceback" not in done.stderr
        assert done.returncode == 1


@pytest.mark.slow
def test_ctrl_c_leaves_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "audit_logs.jsonl"
    entry = next(iter(records()))
    with path.open("w") as file:
        file.writelines(f"{json.dumps(entry | {'id': str(n)})}\n" for n in range(200_000))
    command = [sys.executable, "-m", "sentry_audit_detections", str(path), *ALWAYS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        time.sleep(2)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    assert errors.decode().strip() == "Aborted!"
    assert running.returncode == 1


def test_a_name_in_the_log_cannot_steer_the_terminal(tmp_path: Path) -> None:
    entry = json.loads((CASES / "13-organization-deletion.jsonl").read_text().splitlines()[0])
    entry["entry"]["data"]["slug"] = "acme\x1b[2J\nHIGH"
    path = tmp_path / "audit_logs.jsonl"
    path.write_text(json.dumps(entry["entry"]))

    assert "acme?[2J?HIGH" in detect(str(path), *ALWAYS, "--only", "13").stdout


def test_the_database_can_come_from_the_environment(log: str) -> None:
    variables = {"SENTRY_AUDIT_DETECTIONS_DATABASE": log, "SENTRY_AUDIT_DETECTIONS_ONLY": "3"}
    assert " of 1 detections" in detect(**variables).stdout


def test_the_list_needs_no_database() -> None:
    done = detect("--list")

    assert LIMITS in done.stdout.splitlines()[0]
    assert "13  critical  Organization scheduled for deletion" in done.stdout
    assert len([line for line in done.stdout.splitlines() if line[:2].isdigit()]) == 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.duckdb"], "nothing.duckdb is no file"),
        (["a" * 300], "aaa: File name too long"),
        (["mysql://localhost/a"], "the database is a DuckDB file"),
        (["{log}", "--only", "3,99,role"], "no detection is called 99, role"),
        (["{log}", "--since", "soon"], "'soon' is neither a date"),
        (["{log}", "--since", "2100-01-01"], "--since has to be before --until"),
        ([__file__], "cannot be read"),
        (["postgresql://me:s3cr%65t@127.0.0.1:1/a"], "PostgreSQL: "),
        (["postgresql://me:s3cr%et@127.0.0.1:a:b"], "the URL of PostgreSQL is not one"),
        (["postgresql://me:an@s3cret@127.0.0.1:1/a"], "PostgreSQL: "),
        (["postgresql://me:s3cret/more@127.0.0.1/a"], "PostgreSQL: "),
        (["host=127.0.0.1 password=s3cret"], "the database is a DuckDB file"),
        (["md:audit?motherduck_token=s3cret"], "the database is a DuckDB file"),
        (["{log}", "--since", "0001-01-01T00:00+14:00"], "is neither a date"),
        ([], "Missing argument 'DATABASE'"),
    ],
)
def test_bad_input_is_one_error(log: str, arguments: list[str], message: str) -> None:
    done = detect(*(each.format(log=log) for each in arguments))

    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "s3cr" not in done.stderr
    assert done.returncode in {1, 2}
    assert done.stdout == ""


def test_a_file_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "audit_logs.jsonl"
    path.write_text('{"id": "1", "organ')

    done = detect(str(path))
    assert done.stderr.startswith("Error: ")
    assert done.returncode == 1


def test_a_duckdb_file_without_the_table_names_the_way_out(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "audit.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE SCHEMA sentry; CREATE TABLE sentry.flat (id TEXT)")
    assert "the schema sentry has no table audit_logs" in detect(str(path)).stderr

    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE sentry.audit_logs (id TEXT, event TEXT)")
    assert "lacks organization, actor, data, dateCreated" in detect(str(path)).stderr
