"""Installing the tap and targets, and the whole way of the README, with an empty HOME."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.postgres import Postgres, postgres
from testing.recipes import (
    BIN,
    NEEDS_A_WHEEL,
    ROOT,
    Project,
    connected,
    duckdb_rows,
    ended,
    environment,
    filled_in,
    finding,
    follow,
    ids_in,
    ids_of,
    lines,
    recipes,
)
from testing.sentry_tap import config
from testing.terminal import run_on_a_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

README = recipes("README.md")
INSTALL = recipes("docs/install.md")
PIPE = recipes("docs/pipe.md")
JSONL = recipes("docs/targets/jsonl.md")
DUCKDB = recipes("docs/targets/duckdb.md")
POSTGRES = recipes("docs/targets/postgres.md")
CSV = recipes("docs/targets/csv.md")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        running.run(POSTGRES["database"])
        yield running


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables with which pip and uv prefer this checkout's packages to a stranger's."""
    return finding(tmp_path_factory.mktemp("wheels"))


def copy_plugins(project: Path) -> None:
    """Copy the entries of targets and mapper, as the page asks for in a project of one's own."""
    yaml, path = YAML(pure=True), project / "meltano.yml"
    content, ours = yaml.load(path), YAML(pure=True).load(ROOT / "meltano.yml")
    wanted = {"target-jsonl", "target-duckdb"}
    loaders = [each for each in ours["plugins"]["loaders"] if each["name"] in wanted]
    [mapper] = ours["plugins"]["mappers"]
    mapper["pip_url"] = mapper["pip_url"].replace("plugins", f"{ROOT}/plugins")
    content["plugins"] |= {"loaders": loaders, "mappers": [mapper]}
    yaml.dump(content, path)


def write_config(folder: Path, sentry: FakeSentry) -> None:
    (folder / "config.json").write_text(json.dumps(config(sentry)))


def appending_script() -> str:
    """The script in which the block for append-only files has taken its place."""
    script = PIPE["upserting"].splitlines()
    begin = next(n for n, line in enumerate(script) if line.startswith("tap-sentry-audit "))
    end = next(n for n, line in enumerate(script) if line.startswith("tail "))
    return "\n".join([*script[:begin], PIPE["appending"], *script[end + 1 :]])


def test_a_project_of_ones_own_reads_the_audit_log_and_only_that(tmp_path: Path) -> None:
    log = Log(entries.even(2500))
    acme = Inventory.made(members=5)
    project = tmp_path / "project"
    scopes = {"token": {"org:write", "member:read"}}
    with FakeSentry({"acme": log}, inventories={"acme": acme}, scopes=scopes) as sentry:
        variables = environment(tmp_path / "home", BIN, **connected(sentry))
        follow(f"meltano init --no-usage-stats {project}", tmp_path, variables)
        recipe = filled_in(INSTALL["own-project"], **{"/srv/tap-sentry-audit": ROOT})
        follow(recipe, project, variables)
        copy_plugins(project)
        follow("meltano install", project, variables)

        said = follow(INSTALL["meltano-connection"], project, variables)
        assert "acme: the connection works: audit_logs can be read" in said
        follow("meltano run tap-sentry-audit target-jsonl", project, variables)
        assert {path.name for path in project.glob("output/*.jsonl")} == {"audit_logs.jsonl"}
        assert ids_in(project / "output/audit_logs.jsonl") == ids_of(log)

        ocsf = "meltano run --state-id-suffix=ocsf tap-sentry-audit sentry-ocsf target-jsonl"
        follow(ocsf, project, variables)
        found = lines(project / "output/ocsf_events.jsonl")
        assert sorted(event["uid"] for event in found) == ids_of(log)

        follow("meltano select tap-sentry-audit members '*'", project, variables)
        log.add([entries.micros(entries.UNTIL)])
        follow("meltano run tap-sentry-audit target-jsonl", project, variables)
        assert ids_in(project / "output/audit_logs.jsonl") == ids_of(log)
        assert len(lines(project / "output/members.jsonl")) == 5

        if sys.version_info < (3, 14):
            follow("meltano run tap-sentry-audit target-duckdb", project, variables)
            found = duckdb_rows(
                project / "output/audit.duckdb",
                "SELECT id FROM sentry.audit_logs",
                project / ".meltano/loaders/target-duckdb/venv/bin/python",
            )
            assert sorted(row["id"] for row in found) == ids_of(log)

    # Any other stream can be read here, which is all that `meltano config test` looks for.
    scopes = {"token": {"org:read"}}
    with FakeSentry({"acme": log}, inventories={"acme": acme}, scopes=scopes) as sentry:
        variables = environment(tmp_path / "home", BIN, **connected(sentry))
        refused = ended(INSTALL["meltano-connection"], project, variables)
    assert refused.returncode != 0
    assert "the token lacks the scope org:write" in refused.stderr


# Installing


@pytest.fixture(scope="module")
def pipx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a pipx of its own, installed from PyPI, with `pip` next to it."""
    folder = tmp_path_factory.mktemp("pipx")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/pip", "install", "--quiet", "pipx"], check=True)
    return folder / "bin"


def test_each_way_to_install_brings_this_version(
    pipx: Path, tmp_path: Path, wheels: dict[str, str]
) -> None:
    home = tmp_path / "home"
    version = subprocess.check_output([BIN / "tap-sentry-audit", "--version"], encoding="utf-8")

    variables = environment(home, pipx, BIN, **wheels)
    said = follow(INSTALL["install"], ROOT, variables)

    assert "Usage: tap-sentry-audit" in said
    for program in home / ".local/bin/tap-sentry-audit", pipx / "tap-sentry-audit":
        assert subprocess.check_output([program, "--version"], encoding="utf-8") == version


@NEEDS_A_WHEEL
def test_the_installed_targets_lose_nothing_and_stay_as_they_are(
    pipx: Path, tmp_path: Path, server: Postgres
) -> None:
    home = tmp_path / "home"
    variables = environment(home, home / ".local/bin", pipx, PGHOST=str(server.folder))
    follow(PIPE["install"], ROOT, variables)
    server.run("DROP SCHEMA IF EXISTS sentry CASCADE", "sentry")
    python = home / ".local/share/pipx/venvs/target-duckdb/bin/python"
    log = Log(entries.even(2500))
    # Five batches, each of which would lose its first entry.
    small = json.loads(DUCKDB["target.json"]) | {"batch_size_rows": 500}
    ids = ids_of(log)

    def load(target: str, name: str, settings: str, script: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "target.json").write_text(settings)
        (folder / "pipe").write_text(script.replace("target-postgres", target))
        write_config(folder, sentry)
        follow("bash pipe", folder, variables)
        return folder

    with FakeSentry({"acme": log}) as sentry:
        upserting = PIPE["upserting"]
        settings = filled_in(POSTGRES["target.json"], localhost="")
        load("target-postgres", "postgres", settings, upserting)
        found = server.rows("SELECT id FROM sentry.audit_logs", "sentry")
        assert sorted(row["id"] for row in found) == ids

        jsonl = load("target-jsonl", "jsonl", JSONL["target.json"], appending_script())
        assert ids_in(jsonl / "out/audit_logs.jsonl") == ids

        for name in "new", "reinstalled":
            if name == "reinstalled":
                follow("pipx reinstall target-duckdb", tmp_path, variables)
            folder = load("target-duckdb", name, json.dumps(small), upserting)
            found = duckdb_rows(folder / "audit.duckdb", "SELECT id FROM sentry.audit_logs", python)
            assert sorted(row["id"] for row in found) == ids


def test_target_csv_holds_json_and_each_run_has_a_file(pipx: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    variables = environment(home, home / ".local/bin", pipx, BIN)
    log = Log(entries.even(300))
    (tmp_path / "target.json").write_text(CSV["target.json"])
    with FakeSentry({"acme": log}) as sentry:
        address = {'"sntryu_…"': f'"token", "host": "{sentry.url}"'}
        (tmp_path / "config.json").write_text(filled_in(CSV["config.json"], **address))
        follow(CSV["pipe"], tmp_path, variables)
        log.add([entries.micros(entries.UNTIL)])
        follow(CSV["pipe"], tmp_path, variables)

        assert len(list(tmp_path.glob("out/*.csv"))) == 2
        rows = [row for path in tmp_path.glob("out/*.csv") for row in csv_rows(path)]
        assert sorted(row["id"] for row in rows) == ids_of(log)
        assert all(json.loads(row["data"]) is not None for row in rows)

        project = Project.made(tmp_path / "project", sentry)
        # Its plugins are links to those of this checkout, which has no target-csv.
        loaders = project.folder / ".meltano" / "loaders"
        loaders.unlink()
        loaders.mkdir()
        yaml, path = YAML(pure=True), project.folder / "meltano.yml"
        content = yaml.load(path)
        content["plugins"]["loaders"] += yaml.load(CSV["loader"])
        yaml.dump(content, path)
        project.follow(".venv/bin/meltano install target-csv")
        project.follow(CSV["meltano"])
        [file] = project.folder.glob("output/*.csv")
        assert sorted(row["id"] for row in csv_rows(file)) == ids_of(log)


def csv_rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@NEEDS_A_WHEEL
def test_four_commands_lead_from_a_clone_to_the_answer(tmp_path: Path) -> None:
    log = Log(entries.even(300))
    variables = environment(tmp_path / "home")
    clone = filled_in(INSTALL["clone"], REPOSITORY=ROOT)
    follow(clone, tmp_path, variables)
    assert (tmp_path / "tap-sentry-audit" / "Makefile").exists()
    inventories = {"acme": Inventory.made()}
    with FakeSentry({"acme": log}, inventories=inventories) as sentry:
        answers = [("Address", sentry.url), ("Slug", "acme"), ("Token", "token")]
        recipe = filled_in(README["connect"], REPOSITORY=ROOT)
        (tmp_path / "way").mkdir()
        command = ["/bin/bash", "-e", "-c", recipe]
        seen = run_on_a_terminal(command, 100, variables, answers, tmp_path / "way", patience=600)

    assert seen.returncode == 0, seen.lines
    checkout = tmp_path / "way" / "tap-sentry-audit"
    found = duckdb_rows(
        checkout / "output/audit.duckdb",
        "SELECT id FROM sentry.audit_logs",
        checkout / ".meltano/loaders/target-duckdb/venv/bin/python",
    )
    assert sorted(row["id"] for row in found) == ids_of(log)
    # The demo again, in the environment that is there by now.
    said = follow(README["demo"], checkout, variables)
    shown = README["demo output"].replace("  …\n", "").splitlines()
    written = iter(words(said).splitlines())
    assert [line for line in shown if words(line) not in written] == []
    assert "tap-sentry-audit --connect" in said


def words(text: str) -> str:
    """A text of which numbers and months are left out: they are others each time."""
    return re.sub(r"[\d,.]*\d|[A-Z][a-z]+(?= 20\d\d)", "#", text)
