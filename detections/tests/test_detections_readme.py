"""What README.md shows, taken from it and followed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from configparser import ConfigParser
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import psycopg
import pytest
from ruamel.yaml import YAML

from sentry_audit_detections.catalog import detections
from testing.cases import expected, records
from testing.postgres import postgres
from testing.recipes import block, blocks, follow, recipes

FOLDER = Path(__file__).parents[1]
README = (FOLDER / "README.md").read_text()
SIEM = recipes("docs/siem.md")


def test_the_table_has_each_detection_with_its_severity() -> None:
    rules = {path.stem.partition("-")[0] for path in FOLDER.glob("sigma/*.yml")}
    for each in detections():
        rule = "yes" if each.number in rules else ""
        assert f"| {each.number} | {each.title} | {each.severity} | {rule} |" in README


def test_each_block_has_a_test_or_says_why_not() -> None:
    pages = README, (FOLDER.parent / "docs" / "siem.md").read_text()

    unsaid = [each for page in pages for each in blocks(page) if not each.name + each.reason]
    assert unsaid == []


def programs(folder: Path, **scripts: str) -> dict[str, str]:
    """Variables with which a shell finds scripts and the command in a folder."""
    folder.mkdir()
    command = f'exec "{sys.executable}" -m sentry_audit_detections "$@"'
    for name, script in (scripts | {"sentry-audit-detections": command}).items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def loaded(path: Path, schema: str = "sentry") -> None:
    """Write tables as target-duckdb does; the organization has a severe entry of just now."""
    severe = "now() AT TIME ZONE 'UTC' AS dateCreated, 'org.remove' AS event"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"""
            CREATE SCHEMA {schema};
            CREATE TABLE {schema}.audit_logs AS SELECT '1' AS id, 'acme' AS organization,
              JSON '{{}}' AS actor, JSON '{{"slug": "acme"}}' AS data, {severe};
            CREATE TABLE {schema}.organizations AS
              SELECT '1' AS id, 'acme' AS organization, true AS openMembership;
            CREATE TABLE {schema}.members AS SELECT '1' AS id, 'acme' AS organization;
        """)


def test_the_line_for_cron_sends_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    loaded(tmp_path / "output" / "audit.duckdb")
    variables = programs(tmp_path / "bin", mail='echo "$@"; cat')
    line = block("cron", README).removeprefix("15 * * * *  ").replace(".venv/bin/", "")

    sent = follow(line.replace("/srv/sentry", str(tmp_path)), tmp_path, variables)
    assert sent.startswith("-s Sentry audit log security@acme.example\n")
    assert "CRITICAL  13 Organization scheduled for deletion\n" in sent
    (tmp_path / "output" / "audit.duckdb").unlink()
    sent = follow(line.replace("/srv/sentry", str(tmp_path)), tmp_path, variables)
    assert "Error: output/audit.duckdb is no file" in sent


def test_a_copy_of_the_file_shows_what_changed_in_a_run(tmp_path: Path) -> None:
    path = tmp_path / "output" / "audit.duckdb"
    path.parent.mkdir()
    loaded(path)
    change = "UPDATE sentry.organizations SET openMembership = false"
    run = (
        f"""exec "{sys.executable}" -c "import duckdb; duckdb.connect('{path}').sql('{change}')" """
    )
    variables = programs(tmp_path / "bin", meltano=run)

    told = follow(block("before", README), tmp_path, variables)
    assert "acme  openMembership  True -> False, and no entry\n" in told


def test_the_sql_runs_alone_on_duckdb() -> None:
    with duckdb.connect(":memory:") as connection:
        connection.execute("""
            CREATE SCHEMA sentry;
            CREATE TABLE sentry.audit_logs (id TEXT, organization TEXT, event TEXT, actor JSON,
              ipaddress TEXT, note TEXT, targetobject HUGEINT, targetuser TEXT, data JSON,
              datecreated TIMESTAMP)
        """)
        connection.execute(block("duckdb", README))
        for each in detections():
            connection.execute(each.sql)


@pytest.mark.slow
def test_the_sql_runs_alone_on_postgresql(tmp_path: Path) -> None:
    with postgres() as server, psycopg.connect(server.url.replace("+psycopg", "")) as connection:
        connection.execute("""
            CREATE SCHEMA sentry;
            CREATE TABLE sentry.audit_logs (id TEXT, organization TEXT, event TEXT, actor JSONB,
              "ipAddress" TEXT, note TEXT, "targetObject" BIGINT, "targetUser" TEXT, data JSONB,
              "dateCreated" TIMESTAMP)
        """)
        connection.execute(block("postgres", README).encode())
        for each in detections():
            connection.execute(each.sql.encode())
        connection.execute("""
            CREATE TABLE sentry.organizations AS
              SELECT '1' AS id, 'acme' AS organization, true AS "openMembership";
            CREATE TABLE sentry.members AS SELECT '1' AS id, 'acme' AS organization;
        """)
        connection.execute(block("postgres before", README).encode())
        connection.execute('UPDATE sentry.organizations SET "openMembership" = false')
        connection.commit()
        variables = programs(tmp_path / "bin")
        command = f"sentry-audit-detections '{server.url}' --before-schema sentry_before"
        told = follow(command, tmp_path, variables)
    assert "acme  openMembership  True -> False, and no entry\n" in told


@pytest.mark.slow
def test_it_is_a_utility_of_meltano(tmp_path: Path) -> None:
    project = YAML(typ="safe", pure=True).load(block("meltano", README))
    [utility] = project["plugins"]["utilities"]
    utility["pip_url"] = utility["pip_url"].replace("./detections", str(FOLDER))
    project |= {"send_anonymous_usage_stats": False, "default_environment": "dev"}
    project |= {"environments": [{"name": "dev"}]}
    with (tmp_path / "meltano.yml").open("w") as file:
        YAML(typ="safe", pure=True).dump(project, file)
    log = tmp_path / "audit_logs.jsonl"
    log.write_text("".join(f"{json.dumps(record)}\n" for record in records()))

    def meltano(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("meltano"), "--log-level=warning", *arguments],
            cwd=tmp_path,
            env=os.environ | {"SENTRY_AUDIT_DETECTIONS_DATABASE": str(log)},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    assert meltano("install").returncode == 0
    name = "sentry-audit-detections"
    [thirteenth] = [each for each in detections() if each.number == "13"]
    asked = ["--since", "2000-01-01", "--only", "13", "--format", "json", "--fail-on", "high"]
    told = meltano("invoke", name, *asked)
    assert told.returncode == 3
    assert set(expected(thirteenth)) <= {json.loads(row)["id"] for row in told.stdout.splitlines()}
    assert meltano("run", f"{name}:day").returncode in {0, 1}


def test_the_collector_s_file_connects_what_it_defines_and_loses_nothing() -> None:
    collector = YAML(typ="safe", pure=True).load(SIEM["collector"])
    logs = collector["service"]["pipelines"]["logs"]

    assert set(logs) == {"receivers", "exporters"}
    for kind in logs:
        assert set(logs[kind]) == set(collector[kind])
    assert set(collector["service"]["extensions"]) == set(collector["extensions"])
    for exporter in collector["exporters"].values():
        assert exporter["sending_queue"]["storage"] in collector["extensions"]
        assert exporter["retry_on_failure"]["max_elapsed_time"] == 0


def test_the_rules_for_splunk_split_and_date_the_file() -> None:
    rules = ConfigParser(interpolation=None)
    rules.read_string(SIEM["splunk"])
    props = rules["sentry:audit"]
    entries = [each | {"note": "a\r\nb\u2028c"} for each in records()]
    text = "".join(f"{json.dumps(each)}\n" for each in entries)

    found = re.sub(props["LINE_BREAKER"], "\n", text).splitlines()
    assert [json.loads(each) for each in found] == entries
    for each in entries:
        form = props["TIME_FORMAT"].replace("%6N", "%f")
        assert datetime.strptime(each[props["TIMESTAMP_FIELDS"]], form).replace(tzinfo=UTC)


def test_events_become_parquet_by_class_and_day(tmp_path: Path) -> None:
    (tmp_path / "security_lake.py").write_text(SIEM["security lake"])
    (tmp_path / "output").mkdir()
    day = 86_400_000
    for name, times in {"account_change": [day, 2 * day], "group_management": [day]}.items():
        rows = [{"uid": str(time), "time": time, "class_uid": 1} for time in times]
        file = tmp_path / "output" / f"ocsf_events_{name}-20261122T034329.jsonl"
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for _ in range(2):
        # A second time nothing is left to do.
        subprocess.run([sys.executable, "security_lake.py", "output"], cwd=tmp_path, check=True)

    found = sorted(path.parent for path in tmp_path.glob("lake/**/*.parquet"))
    place = "region=eu-central-1/accountId=external/eventDay="
    assert [str(path.relative_to(tmp_path / "lake")) for path in found] == [
        f"sentry-account/{place}19700102",
        f"sentry-account/{place}19700103",
        f"sentry-group/{place}19700102",
    ]
    with duckdb.connect(":memory:") as connection:
        connection.from_parquet(f"{found[0]}/*.parquet").create("events")
        read = connection.execute("SELECT time, class_uid FROM events").fetchall()
    assert read == [(day, 1)]
