"""The recipes of README.md, taken from it and followed to the letter.

Each stands behind a comment `<!-- test: name -->`. Only what a reader has to fill in is replaced:
the token, a path, where Sentry and PostgreSQL are. HOME is empty, and packages of this repository
come from this checkout.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from testing.fake_receiver import FakeReceiver
from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.postgres import Postgres, postgres
from testing.recipes import block
from testing.sentry_tap import config, run_tap, selecting
from testing.terminal import run_on_a_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytestmark = pytest.mark.slow

Row = dict[str, Any]

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OTLP_README = (ROOT / "plugins/target-otlp/README.md").read_text()
BIN = Path(sys.executable).parent
PLUGINS = ROOT / ".meltano"
LOADERS = PLUGINS / "loaders"
OUR_VARIABLES = ("MELTANO", "OTEL", "PIPX", "TAP_", "TARGET_", "VIRTUAL_ENV", "XDG_")

NEEDS_A_WHEEL = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="DuckDB 1.2.2 has no wheel for Python 3.14"
)
DUCKDB_ROWS = """
import duckdb, sys
path, query = sys.argv[1:]
asked = f"SELECT to_json(asked) FROM ({query}) AS asked"
for (row,) in duckdb.connect(path, read_only=True).execute(asked).fetchall():
    print(row)
"""


def filled_in(recipe: str, **values: object) -> str:
    """Replace what a reader has to fill in, all of which must be there."""
    for placeholder, value in values.items():
        assert placeholder in recipe
        recipe = recipe.replace(placeholder, str(value))
    return recipe


def environment(home: Path, *programs: Path, **variables: str) -> dict[str, str]:
    """An environment with an empty HOME, these programs first, and settings of none of ours.

    How this machine reaches PyPI stays, also where it is written in the real HOME.
    """
    home.mkdir(exist_ok=True)
    given = {n: value for n, value in os.environ.items() if not n.startswith(OUR_VARIABLES)}
    for name, file in ("PIP_CONFIG_FILE", "pip/pip.conf"), ("UV_CONFIG_FILE", "uv/uv.toml"):
        if (settings := Path.home() / ".config" / file).exists():
            given.setdefault(name, str(settings))
    path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
    return given | {"HOME": str(home), "PATH": path} | variables


def ended(
    recipe: str, folder: Path, variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a recipe to its end, in bash, which stops at the first command that fails."""
    return subprocess.run(
        ["/bin/bash", "-e", "-c", recipe],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def follow(recipe: str, folder: Path, variables: Mapping[str, str]) -> str:
    """Run a recipe that must succeed, and return what it wrote."""
    done = ended(recipe, folder, variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def ids_of(log: Log) -> list[str]:
    return sorted(row["id"] for row in log.rows() if row)


def lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ids_in(path: Path) -> list[str]:
    return sorted(row["id"] for row in lines(path))


def duckdb_rows(path: Path, query: str, python: Path | None = None) -> list[Row]:
    """Ask DuckDB for rows, as somebody whose clock is far from UTC."""
    found = subprocess.check_output(
        [python or LOADERS / "target-duckdb/venv/bin/python", "-c", DUCKDB_ROWS, path, query],
        env={**os.environ, "TZ": "Pacific/Kiritimati"},
        encoding="utf-8",
    )
    return [json.loads(line) for line in found.splitlines()]


def test_each_recipe_has_a_name_and_a_test() -> None:
    blocks = re.findall(r"^(.*)\n```(bash|sql|cron|yaml)$", README, re.MULTILINE)
    names = re.findall(r"^<!-- test: (\S+) -->$", README + OTLP_README, re.MULTILINE)
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*readme.py"))

    assert [line for line, _ in blocks if not line.startswith("<!-- test: ")] == []
    assert [name for name in names if f'block("{name}"' not in tests] == []


# The tap and its targets as programs


def write_config(folder: Path, sentry: FakeSentry) -> None:
    (folder / "config.json").write_text(json.dumps(config(sentry)))


def test_a_few_questions_lead_to_the_newest_entries(tmp_path: Path) -> None:
    logs = {"acme": Log(entries.even(3))}
    with FakeSentry(logs, inventories={"acme": Inventory.made()}) as sentry:
        answers = [("Address", sentry.url), ("Slug", "acme"), ("Token", "token")]
        seen = run_on_a_terminal(
            ["/bin/bash", "-e", "-c", block("connect", README)],
            80,
            environment(tmp_path / "home", BIN),
            answers,
            tmp_path,
        )

    assert seen.returncode == 0
    assert "The newest entries:" in seen.lines
    assert "TAP_SENTRY_AUDIT_AUTH_TOKEN='token'" in (tmp_path / ".env").read_text()


def test_the_connection_test_says_that_the_audit_log_can_be_read(tmp_path: Path) -> None:
    with FakeSentry({"acme": Log(entries.even(3))}) as sentry:
        recipe = filled_in(
            block("connection", README), **{'"sntryu_…"': f'"token", "host": "{sentry.url}"'}
        )
        said = follow(recipe, tmp_path, environment(tmp_path / "home", BIN))

    assert "acme: the connection works: audit_logs can be read" in said
    assert stat.S_IMODE((tmp_path / "config.json").stat().st_mode) == 0o600


def test_masking_leaves_nobodys_name_and_address() -> None:
    [extractor] = YAML(typ="safe", pure=True).load(block("masking", README))
    settings = extractor["config"]
    assert settings["stream_map_config"] == {"salt": "$AUDIT_SALT"}
    settings["stream_map_config"]["salt"] = "pepper"
    log = Log(entries.even(500))
    with FakeSentry({"acme": log}) as sentry:
        plain = run_tap(config(sentry))
        masked = run_tap(config(sentry, **settings))

    assert masked.returncode == 0, masked.stderr
    assert sorted(masked.ids) == ids_of(log)
    hidden = {
        value
        for record in plain.records
        for value in (record["ipAddress"], (record["actor"] or {}).get("name"))
        if value
    }
    assert len(hidden) > 10
    text = "".join(json.dumps(record, ensure_ascii=False) for record in masked.records)
    assert [value for value in hidden if value in text] == []
    assert "@" in json.dumps(plain.records)
    assert "@" not in text
    assert len({record["actor_hash"] for record in masked.records if record["actor_hash"]}) > 10


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        running.run(block("postgres-database", README))
        # For everybody but the loader: times must be right also on a server that is far from UTC.
        running.run("ALTER DATABASE sentry SET TimeZone = 'Pacific/Kiritimati'")
        yield running


class Pipe:
    """The script of README in a folder, with its `target.json`, into a database."""

    def __init__(
        self,
        folder: Path,
        target: str,
        settings: str,
        ask: Callable[[str], list[Row]],
        **variables: str,
    ) -> None:
        self.folder = folder
        self.target = LOADERS / target / "venv/bin" / target
        self.ask = ask
        (folder / "target.json").write_text(settings)
        self._script = folder / "pipe"
        self._script.write_text(block("upserting-pipe", README).replace("target-postgres", target))
        self._variables = environment(folder / "home", BIN, self.target.parent, **variables)

    def run(self) -> None:
        follow(f"bash {self._script}", self.folder, self._variables)

    def load(self, messages: str) -> None:
        """Give the target what the tap has written."""
        subprocess.run(
            [self.target, "--config", "target.json"],
            input=messages,
            cwd=self.folder,
            env=self._variables,
            stdout=subprocess.DEVNULL,
            encoding="utf-8",
            check=True,
        )


def pipe_into_postgres(folder: Path, server: Postgres) -> Pipe:
    def ask(query: str) -> list[Row]:
        return server.rows(query, "sentry")

    server.run("DROP SCHEMA IF EXISTS sentry CASCADE", "sentry")
    # The server is not on the network, but on a socket in a folder.
    settings = filled_in(block("postgres-target.json", README), localhost="")
    return Pipe(folder, "target-postgres", settings, ask, PGHOST=str(server.folder))


def pipe_into_duckdb(folder: Path) -> Pipe:
    def ask(query: str) -> list[Row]:
        return duckdb_rows(folder / "audit.duckdb", query)

    return Pipe(folder, "target-duckdb", block("duckdb-target.json", README), ask)


@pytest.fixture(params=["postgres", pytest.param("duckdb", marks=NEEDS_A_WHEEL)])
def pipe(request: pytest.FixtureRequest, tmp_path: Path) -> Pipe:
    """Return the pipe into an empty database."""
    if request.param == "duckdb":
        return pipe_into_duckdb(tmp_path)
    return pipe_into_postgres(tmp_path, request.getfixturevalue("server"))


def test_the_pipe_loads_every_entry_once_and_then_what_is_new(pipe: Pipe) -> None:
    log = Log(entries.even(1100))
    newest = entries.micros(entries.UNTIL)
    with FakeSentry({"acme": log}) as sentry:
        write_config(pipe.folder, sentry)
        pipe.run()
        log.add([newest, newest, newest - 30 * entries.MINUTE])
        before = len(sentry.requests)
        pipe.run()
        asked = len(sentry.requests) - before

    found = pipe.ask("SELECT id FROM sentry.audit_logs")
    assert sorted(row["id"] for row in found) == ids_of(log)
    # The second run went on from the state of the first.
    assert asked < before


def test_the_pipe_fails_with_the_tap_and_says_when_it_runs_already(pipe: Pipe) -> None:
    with FakeSentry({"acme": Log(entries.even(5))}, tokens={"another": "ok"}) as sentry:
        write_config(pipe.folder, sentry)
        script, variables = f"bash {pipe.folder}/pipe", environment(pipe.folder / "home", BIN)
        assert ended(script, pipe.folder, variables).returncode != 0
        locked = ended(f"exec 8> lock; flock 8; {script}", pipe.folder, variables)

    assert locked.returncode != 0
    assert locked.stderr == "another run is under way\n"


def test_the_query_knows_that_times_are_utc(pipe: Pipe) -> None:
    border = datetime.now(UTC) - timedelta(days=30)
    times = {
        "older": border - timedelta(minutes=5),
        "newer": border + timedelta(minutes=5),
        "new": border + timedelta(days=29),
    }
    actor = {"id": "1", "email": "ada@acme.example"}
    rows = [
        entries.row(str(number), entries.micros(at), event="member.edit", note=note, actor=actor)
        for number, (note, at) in enumerate(times.items())
    ]
    rows.append(entries.row("9", entries.micros(times["new"]), event="team.edit"))
    with FakeSentry({"acme": Log(rows=rows)}) as sentry:
        pipe.load(run_tap(config(sentry)).stdout)

    found = pipe.ask(block("query", README).strip().rstrip(";"))
    assert [(row["note"], row["who"]) for row in found] == [
        ("new", "ada@acme.example"),
        ("newer", "ada@acme.example"),
    ]


def test_the_join_finds_the_member_behind_each_entry(pipe: Pipe) -> None:
    organizations = {slug: Inventory.made(slug, members=4) for slug in ("acme", "other")}
    users = [member["user"] for member in organizations["acme"].members if member["user"]]
    # Each of them is in both organizations, with a role of their own in each.
    for slug, role in ("acme", "owner"), ("other", "member"):
        for number, member in enumerate(organizations[slug].members):
            member |= {"role": role, "id": f"{slug}-{number}"}
            if member["user"]:
                member["user"] = users[number % len(users)]
    at = entries.micros(entries.UNTIL)
    rows = [entries.row(f"{n}", at + n, actor=user) for n, user in enumerate(users)]
    rows.append(entries.row("99", at + 99, actor={"name": "SCIM"}))
    with FakeSentry({"acme": Log(rows=rows), "other": Log()}, inventories=organizations) as sentry:
        settings = config(sentry, organization=None, organizations=["acme", "other"])
        run = run_tap(settings, catalog=selecting("audit_logs", "members"))
        assert run.returncode == 0, run.stderr
        pipe.load(run.stdout)

    found = pipe.ask(block("join", README).strip().rstrip(";"))
    assert len(users) > 1
    assert [(row["email"], row["role"]) for row in found] == [
        (None, None),
        *((user["email"], "owner") for user in reversed(users)),
    ]


# Into a file that is appended to


def appending_script() -> str:
    """The script in which the block for append-only files has taken its place."""
    script = block("upserting-pipe", README).splitlines()
    begin = next(n for n, line in enumerate(script) if line.startswith("tap-sentry-audit "))
    end = next(n for n, line in enumerate(script) if line.startswith("tail "))
    return "\n".join([*script[:begin], block("appending-pipe", README), *script[end + 1 :]])


@pytest.fixture
def appending(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a way to run the script, with other programs before those that it names."""
    (tmp_path / "pipe").write_text(appending_script())
    (tmp_path / "target.json").write_text(block("jsonl-target.json", README))
    loader = LOADERS / "target-jsonl/venv/bin"

    def run(*programs: Path) -> subprocess.CompletedProcess[str]:
        variables = environment(tmp_path / "home", *programs, BIN, loader)
        return ended("bash pipe", tmp_path, variables)

    return run


def test_a_file_has_each_entry_once_after_a_kill_too(
    appending: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    log = Log(entries.even(1200))
    newest = entries.micros(entries.UNTIL)
    killed = tmp_path / "killed"
    killed.mkdir()
    # The tap, killed in the middle of a line behind its first STATE messages.
    tap = killed / "tap-sentry-audit"
    tap.write_text(f'#!/bin/bash\n{BIN}/tap-sentry-audit "$@" | head -c 1000000; kill -9 $$\n')
    tap.chmod(0o755)
    with FakeSentry({"acme": log}) as sentry:
        write_config(tmp_path, sentry)
        assert appending(killed).returncode == 137
        written = ids_in(tmp_path / "out/audit_logs.jsonl")
        assert 0 < len(written) < len(log)
        assert not (tmp_path / "run.singer").read_text().endswith("}\n")
        assert appending().returncode == 0
        log.add([newest, newest, newest - 30 * entries.MINUTE])
        assert appending().returncode == 0

    assert ids_in(tmp_path / "out/audit_logs.jsonl") == ids_of(log)


def test_a_target_that_cannot_write_a_file_fails_the_script_and_keeps_the_state(
    appending: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "out").touch()  # where a folder is needed
    log = Log(entries.even(50))
    with FakeSentry({"acme": log}) as sentry:
        write_config(tmp_path, sentry)
        assert appending().returncode != 0
        assert (tmp_path / "state.json").read_text() == "{}\n"
        (tmp_path / "out").unlink()
        assert appending().returncode == 0

    assert ids_in(tmp_path / "out/audit_logs.jsonl") == ids_of(log)


# Meltano


def of(sentry: FakeSentry) -> dict[str, str]:
    """Where the stand-in is."""
    return {
        "TAP_SENTRY_AUDIT_HOST": sentry.url,
        "TAP_SENTRY_AUDIT_AUTH_TOKEN": "token",
        "TAP_SENTRY_AUDIT_ORGANIZATION": "acme",
    }


def rewrite(project: Path, change: Callable[[Any], None]) -> None:
    """Change a project's meltano.yml."""
    yaml, path = YAML(pure=True), project / "meltano.yml"
    content = yaml.load(path)
    change(content)
    yaml.dump(content, path)


def copy_loaders(project: Path) -> None:
    """Copy the targets' entries, as README asks for in a project of one's own."""
    loaders = YAML(typ="safe", pure=True).load(ROOT / "meltano.yml")["plugins"]["loaders"]
    wanted = [loader for loader in loaders if loader["name"] in {"target-jsonl", "target-duckdb"}]
    rewrite(project, lambda content: content["plugins"].update(loaders=wanted))


def test_members_are_selected_beside_the_audit_log_where_nothing_was_selected(
    tmp_path: Path,
) -> None:
    shutil.copy(ROOT / "meltano.yml", tmp_path)
    rewrite(tmp_path, lambda content: content["plugins"]["extractors"][0].pop("select"))
    (tmp_path / ".meltano").mkdir()
    for kind in ("extractors", "loaders"):
        (tmp_path / ".meltano" / kind).symlink_to(PLUGINS / kind)
    acme = Inventory.made(members=5)
    with FakeSentry({"acme": Log(entries.even(30))}, inventories={"acme": acme}) as sentry:
        variables = environment(tmp_path / "home", BIN, **of(sentry), MELTANO_AUTO_INSTALL="false")
        follow(block("select", README), tmp_path, variables)
        follow("meltano run tap-sentry-audit target-jsonl", tmp_path, variables)

    found = {path.stem: len(lines(path)) for path in (tmp_path / "output").iterdir()}
    assert found == {"audit_logs": 30, "members": 5}


def test_a_project_of_ones_own_reads_the_audit_log_and_only_that(tmp_path: Path) -> None:
    log = Log(entries.even(2500))
    acme = Inventory.made(members=5)
    project = tmp_path / "project"
    scopes = {"token": {"org:write", "member:read"}}
    with FakeSentry({"acme": log}, inventories={"acme": acme}, scopes=scopes) as sentry:
        variables = environment(tmp_path / "home", BIN, **of(sentry))
        follow(f"meltano init --no-usage-stats {project}", tmp_path, variables)
        recipe = filled_in(block("own-project", README), **{"/srv/tap-sentry-audit": ROOT})
        follow(recipe, project, variables)
        copy_loaders(project)
        follow("meltano install", project, variables)

        said = follow(block("meltano-connection", README), project, variables)
        assert "acme: the connection works: audit_logs can be read" in said
        follow("meltano run tap-sentry-audit target-jsonl", project, variables)
        assert {path.name for path in project.glob("output/*.jsonl")} == {"audit_logs.jsonl"}
        assert ids_in(project / "output/audit_logs.jsonl") == ids_of(log)

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
        variables = environment(tmp_path / "home", BIN, **of(sentry))
        refused = ended(block("meltano-connection", README), project, variables)
    assert refused.returncode != 0
    assert "needs the scope org:write" in refused.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a fresh copy of what git has of this checkout, with the environment of `make`."""
    folder = tmp_path_factory.mktemp("checkout")
    git = shutil.which("git") or "git"
    tracked = subprocess.check_output([git, "ls-files", "-z"], cwd=ROOT, encoding="utf-8")
    for name in tracked.rstrip("\0").split("\0"):
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    (folder / ".venv").symlink_to(BIN.parent)
    (folder / "output").mkdir()
    return folder


@NEEDS_A_WHEEL
def test_the_project_of_the_checkout_loads_files_databases_years_and_a_receiver(
    checkout: Path, tmp_path: Path, server: Postgres
) -> None:
    times = [entries.micros(datetime(year, 6, 1, tzinfo=UTC)) for year in (2024, 2025, 2026)]
    log = Log([first + number for first in times for number in range(100)])
    ids = ids_of(log)
    server.run("DROP SCHEMA IF EXISTS sentry CASCADE", "sentry")
    database = {
        "TARGET_POSTGRES_HOST": "",
        "TARGET_POSTGRES_USER": "loader",
        "TARGET_POSTGRES_PASSWORD": "…",
        "PGHOST": str(server.folder),
    }
    with FakeSentry({"acme": log}) as sentry, FakeReceiver() as receiver:
        variables = environment(tmp_path / "home", **of(sentry), **database)
        (checkout / ".env").write_text("KEPT=yes\n")
        follow(block("with-meltano", README), checkout, variables)
        assert (checkout / ".env").read_text() == "KEPT=yes\n"
        assert ids_in(checkout / "output/audit_logs.jsonl") == ids
        in_duckdb = duckdb_rows(
            checkout / "output/audit.duckdb", "SELECT id FROM sentry.audit_logs"
        )
        assert sorted(row["id"] for row in in_duckdb) == ids
        in_postgres = server.rows("SELECT id FROM sentry.audit_logs", "sentry")
        assert sorted(row["id"] for row in in_postgres) == ids

        recipe = filled_in(
            block("otlp", README), **{"https://otlp.example.com": receiver.url, "…": "key"}
        )
        follow(recipe, checkout, variables)
        assert sorted(str(each).rpartition("/")[2] for each in receiver.ids) == ids
        assert receiver.requests[0].headers["authorization"] == "Bearer key"

        part = variables | {"TARGET_DUCKDB_PATH": "output/2025.duckdb"}
        follow(block("years", README), checkout, part)
        found = duckdb_rows(checkout / "output/2025.duckdb", "SELECT id FROM sentry.audit_logs")
        assert sorted(row["id"] for row in found) == sorted(ids[100:200])

        # Hourly, with an alarm.
        [line] = block("hourly", README).splitlines()
        schedule, command = line[:11], line[11:]
        assert schedule == "7 * * * *  "
        alarm = tmp_path / "bin" / "mail"
        alarm.parent.mkdir()
        alarm.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/alarms\n')
        alarm.chmod(0o755)
        job = filled_in(command, **{"/srv/sentry-audit": checkout})
        cron = variables | {"PATH": f"{alarm.parent}:/usr/bin:/bin"}
        log.add([times[-1] + 1_000_000])
        subprocess.run(["/bin/sh", "-c", job], env=cron, check=True)
        assert not (tmp_path / "alarms").exists()
        assert len(server.rows("SELECT id FROM sentry.audit_logs", "sentry")) == 301
        assert "1, all read to their end" in follow(block("unread", README), checkout, variables)
        wrong = cron | {"TAP_SENTRY_AUDIT_AUTH_TOKEN": "wrong"}
        subprocess.run(["/bin/sh", "-c", job], env=wrong, check=True)
        assert "soc@example.com" in (tmp_path / "alarms").read_text()


# Installing


@pytest.fixture(scope="module")
def pipx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a pipx of its own, installed from PyPI, with `pip` beside it."""
    folder = tmp_path_factory.mktemp("pipx")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/pip", "install", "--quiet", "pipx"], check=True)
    return folder / "bin"


def test_each_way_to_install_brings_this_version(pipx: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    version = subprocess.check_output([BIN / "tap-sentry-audit", "--version"], encoding="utf-8")

    variables = environment(home, pipx, BIN)
    said = follow(block("install", README), ROOT, variables)

    assert "Usage: tap-sentry-audit" in said
    for program in home / ".local/bin/tap-sentry-audit", pipx / "tap-sentry-audit":
        assert subprocess.check_output([program, "--version"], encoding="utf-8") == version


@NEEDS_A_WHEEL
def test_the_installed_targets_lose_nothing_and_stay_as_they_are(
    pipx: Path, tmp_path: Path, server: Postgres
) -> None:
    home = tmp_path / "home"
    variables = environment(home, home / ".local/bin", pipx, PGHOST=str(server.folder))
    follow(block("install-targets", README), ROOT, variables)
    server.run("DROP SCHEMA IF EXISTS sentry CASCADE", "sentry")
    python = home / ".local/share/pipx/venvs/target-duckdb/bin/python"
    log = Log(entries.even(2500))
    # Five batches, each of which would lose its first entry.
    small = json.loads(block("duckdb-target.json", README)) | {"batch_size_rows": 500}
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
        upserting = block("upserting-pipe", README)
        settings = filled_in(block("postgres-target.json", README), localhost="")
        load("target-postgres", "postgres", settings, upserting)
        found = server.rows("SELECT id FROM sentry.audit_logs", "sentry")
        assert sorted(row["id"] for row in found) == ids

        jsonl = load(
            "target-jsonl", "jsonl", block("jsonl-target.json", README), appending_script()
        )
        assert ids_in(jsonl / "out/audit_logs.jsonl") == ids

        for name in "new", "reinstalled":
            if name == "reinstalled":
                follow("pipx reinstall target-duckdb", tmp_path, variables)
            folder = load("target-duckdb", name, json.dumps(small), upserting)
            found = duckdb_rows(folder / "audit.duckdb", "SELECT id FROM sentry.audit_logs", python)
            assert sorted(row["id"] for row in found) == ids


# A receiver that cannot be run here


def test_victorialogs_is_started_with_a_retention_longer_than_any_log() -> None:
    [command] = block("victorialogs", OTLP_README).splitlines()

    [years] = re.findall(r"^\$ victoria-logs\S* .*-retentionPeriod=(\d+)y\b", command)
    assert int(years) >= 20
