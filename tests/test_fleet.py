"""Groups and shards without an orchestrator: the handover, the state in PostgreSQL, the fleet."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentry_fleet import database
from sentry_fleet.database import Shard, prepare, saved_state, shard_loaded
from sentry_fleet.handover import CLOCKS, hand_over, resume_at
from sentry_fleet.loads import bookmarks, load_shard
from sentry_fleet.settings import Fleet, FleetError, Group, Range, read_fleet
from tap_sentry_audit.streams.bookmark import Bookmark
from testing.postgres import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
FIRST, SECOND = Range(None, START), Range(START, START + 9 * HOUR)
AFTER = SECOND.end + 2 * HOUR


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as running:
        yield f"postgresql://postgres@/postgres?host={running.folder}"


@pytest.fixture(name="fleet")
def _fleet(server: str) -> Fleet:
    with database.connect(server) as connection:
        connection.execute("DROP SCHEMA IF EXISTS fleet CASCADE")
    prepare(server)
    groups = (Group("eu", "TOKEN", ("acme", "globex")), Group("us", "TOKEN", ("initech",)))
    return Fleet(server, "http://127.0.0.1:9", 3600, groups, (FIRST, SECOND), 2)


def loaded(fleet: Fleet, slug: str, *ranges: Range, began: datetime = AFTER) -> None:
    for each in ranges:
        shard_loaded(fleet.database, slug, Shard(each, began))


def resumed(fleet: Fleet, group: str) -> dict[str, datetime]:
    """From where each organization of a group goes on."""
    with saved_state(fleet.database, group) as saved:
        found = bookmarks(saved.state)
    return {slug: Bookmark.from_state(each, HOUR).start or START for slug, each in found.items()}


def organization(slug: str, **bookmark: object) -> dict[str, Any]:
    partition = {"context": {"organization": slug}, **bookmark}
    return {"bookmarks": {"audit_logs": {"partitions": [partition]}}}


# The handover


def test_the_steady_state_begins_a_lookback_before_the_end_of_the_last_range(fleet: Fleet) -> None:
    loaded(fleet, "acme", FIRST, SECOND)

    assert hand_over(fleet) == [
        "globex: not loaded: the range to 2026-01-01T00:00:00Z, 2026-01-01T09:00:00Z",
        "initech: not loaded: the range to 2026-01-01T00:00:00Z, 2026-01-01T09:00:00Z",
    ]
    assert resumed(fleet, "eu") == {"acme": SECOND.end - HOUR - CLOCKS}
    assert resumed(fleet, "us") == {}


def test_an_organization_that_lacks_a_range_is_not_handed_over(fleet: Fleet) -> None:
    loaded(fleet, "acme", SECOND)
    loaded(fleet, "globex", FIRST, SECOND)
    loaded(fleet, "initech", FIRST, SECOND)

    assert hand_over(fleet) == ["acme: not loaded: the range to 2026-01-01T00:00:00Z"]
    assert resumed(fleet, "eu").keys() == {"globex"}
    assert resumed(fleet, "us").keys() == {"initech"}


@pytest.mark.parametrize(
    "other",
    [Range(None, START - HOUR), Range(START - HOUR, START), Range(START - 9 * HOUR, START)],
)
def test_a_range_with_other_borders_is_not_taken_for_one_of_the_plan(
    other: Range, fleet: Fleet
) -> None:
    loaded(fleet, "acme", other, SECOND)

    assert hand_over(fleet)[0] == "acme: not loaded: the range to 2026-01-01T00:00:00Z"


def test_without_a_backfill_there_is_nothing_to_hand_over(fleet: Fleet) -> None:
    with saved_state(fleet.database, "us") as saved:
        saved.save(organization("initech", replication_key_value="2026-06-01T00:00:00Z"))

    assert hand_over(replace(fleet, ranges=())) == [
        "acme: there is no [backfill] to hand over from",
        "globex: there is no [backfill] to hand over from",
    ]


def test_a_bookmark_that_is_there_stays_unless_it_is_to_be_replaced(fleet: Fleet) -> None:
    with saved_state(fleet.database, "eu") as saved:
        saved.save(organization("acme", replication_key_value="2026-06-01T00:00:00Z"))
    for slug in "acme", "globex", "initech":
        loaded(fleet, slug, FIRST, SECOND)

    assert hand_over(fleet) == []
    assert resumed(fleet, "eu")["acme"] == datetime(2026, 6, 1, tzinfo=UTC)
    assert resumed(fleet, "eu")["globex"] == SECOND.end - HOUR - CLOCKS
    assert hand_over(fleet, replace=True) == []
    assert resumed(fleet, "eu")["acme"] == SECOND.end - HOUR - CLOCKS


def test_a_group_that_is_being_read_waits_for_the_next_handover_and_no_other_does(
    fleet: Fleet,
) -> None:
    for slug in "acme", "globex", "initech":
        loaded(fleet, slug, FIRST, SECOND)
    with saved_state(fleet.database, "eu"):
        assert hand_over(fleet) == ["another run of eu is under way: try again when it has ended"]

    assert resumed(fleet, "eu") == {}
    assert resumed(fleet, "us").keys() == {"initech"}


MINUTES = st.integers(min_value=0, max_value=600)


@given(
    log=st.lists(st.tuples(MINUTES, st.integers(min_value=0, max_value=59)), max_size=30),
    border=MINUTES,
    reads=st.tuples(MINUTES, MINUTES),
    polls=st.lists(MINUTES, max_size=6),
)
@example(log=[(300, 59)], border=300, reads=(301, 301), polls=[302])
@example(log=[(299, 59)], border=300, reads=(300, 600), polls=[])
@example(log=[(300, 0), (300, 1)], border=300, reads=(300, 300), polls=[301])
def test_every_entry_comes_from_a_shard_or_from_the_steady_state(
    log: list[tuple[int, int]], border: int, reads: tuple[int, int], polls: list[int]
) -> None:
    """Entries (minute, delay until they can be read), two shards read at any time, then polls."""
    lookback, last = HOUR, border + 60
    ranges = [Range(None, at(border)), Range(at(border), at(last))]
    found, shards = set[int](), []
    for each, read in zip(ranges, reads, strict=True):
        found |= {
            n for n, entry in enumerate(log) if is_within(each, entry[0]) and sum(entry) <= read
        }
        shards.append(Shard(each, at(read)))
    bookmark = Bookmark.from_state(
        {"replication_key_value": resume_at(shards, lookback).isoformat()}, lookback
    )
    handed_over = max(*reads, last)
    for poll in [*sorted(minute for minute in polls if minute >= handed_over), 10_000]:
        for number, (minute, delay) in sorted(enumerate(log), key=lambda entry: entry[1][0]):
            assert bookmark.start
            if (
                minute + delay <= poll
                and at(minute) >= bookmark.start
                and not bookmark.has(str(number))
            ):
                found.add(number)
                bookmark.add(str(number), at(minute), at(poll))
        bookmark = Bookmark.from_state(bookmark.to_state(), lookback)

    assert found == set(range(len(log)))


def at(minute: int) -> datetime:
    return START + minute * MINUTE


def is_within(range_: Range, minute: int) -> bool:
    return (range_.start is None or at(minute) >= range_.start) and at(minute) < range_.end


def test_a_shard_that_ends_in_the_future_is_refused(fleet: Fleet) -> None:
    soon = datetime.now(UTC).replace(microsecond=0) + HOUR
    future = replace(fleet, ranges=(Range(None, soon),))

    with pytest.raises(FleetError, match="in the future"):
        load_shard(future, "acme", future.ranges[0].name)


# The state


def test_a_state_is_there_for_the_next_run(server: str, fleet: Fleet) -> None:
    state = organization("acme", replication_key_value="2026-01-01T00:00:00Z", note="é\u2028")
    for _ in range(2):
        with saved_state(server, "eu") as saved:
            saved.save({})
            saved.save(state)
    with saved_state(server, "eu") as saved:
        assert saved.state == state
    with saved_state(server, fleet.groups[1].name) as other:
        assert other.state is None


def test_two_runs_cannot_hold_one_state(fleet: Fleet) -> None:
    with (
        saved_state(fleet.database, "eu"),
        saved_state(fleet.database, "us"),
        pytest.raises(FleetError, match="another run of eu"),
        saved_state(fleet.database, "eu"),
    ):
        pass
    with saved_state(fleet.database, "eu"):
        pass


def cut(server: str) -> None:
    """End the connections that hold a lock, as a restart does."""
    with database.connect(server) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'"
        )


def test_a_run_that_has_lost_its_lock_saves_its_state(fleet: Fleet) -> None:
    with saved_state(fleet.database, "eu") as saved:
        cut(fleet.database)
        saved.save({"bookmarks": {}})
    with saved_state(fleet.database, "eu") as saved:
        assert saved.state == {"bookmarks": {}}


def test_a_run_that_has_lost_its_lock_saves_nothing_over_the_other_ones(fleet: Fleet) -> None:
    with saved_state(fleet.database, "eu") as late:
        cut(fleet.database)
        with saved_state(fleet.database, "eu") as saved:
            saved.save({"bookmarks": {}})
        with pytest.raises(FleetError, match="another run has saved"):
            late.save({})


def test_a_lock_is_a_transaction_s_which_a_pooler_leaves_its_connection(fleet: Fleet) -> None:
    """It holds no snapshot, which would keep vacuum from its work."""
    with database.connect(fleet.database) as connection:
        with saved_state(fleet.database, "eu"):
            holders = connection.execute(
                "SELECT state, backend_xmin FROM pg_stat_activity JOIN pg_locks USING (pid)"
                " WHERE locktype = 'advisory'"
            ).fetchall()
        left = connection.execute("SELECT FROM pg_locks WHERE locktype = 'advisory'").fetchall()

    assert holders == [("idle in transaction", None)]
    assert left == []


def test_a_lock_outlasts_what_the_server_grants_an_idle_transaction(fleet: Fleet) -> None:
    hasty = f"{fleet.database}&options=-c%20idle_in_transaction_session_timeout%3D50"
    with saved_state(hasty, "eu"):
        time.sleep(0.3)
        with pytest.raises(FleetError, match="another run of eu"), saved_state(hasty, "eu"):
            pass


def test_a_role_needs_create_only_until_the_tables_are_there(server: str) -> None:
    modest = server.replace("postgres@", "modest@")
    with database.connect(server) as connection:
        connection.execute("DROP SCHEMA IF EXISTS fleet CASCADE; CREATE ROLE modest LOGIN")
        with pytest.raises(FleetError, match="Grant the role modest CREATE"):
            prepare(modest)
        prepare(server)
        connection.execute("GRANT USAGE ON SCHEMA fleet TO modest")

        prepare(modest)


# The settings

TOML = """
[[groups]]
name = "eu"
token = "TOKEN"
organizations = ["acme"]
[backfill]
borders = [2025-01-01, 2026-01-01T12:00:00+02:00]
"""


def read(
    text: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    url: str = "postgresql://db/sentry",
) -> Fleet:
    (folder / "fleet.toml").write_text(text)
    monkeypatch.setenv("FLEET", str(folder / "fleet.toml"))
    monkeypatch.setenv("FLEET_DATABASE_URL", url)
    return read_fleet()


def test_borders_meet_and_the_first_range_begins_with_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = read(TOML, tmp_path, monkeypatch)

    noon = datetime(2026, 1, 1, 10, tzinfo=UTC)
    new_year = datetime(2025, 1, 1, tzinfo=UTC)
    assert fleet.ranges == (Range(None, new_year), Range(new_year, noon))
    assert fleet.range("2026-01-01T10:00:00Z") == fleet.ranges[1]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('["acme"]', '["acme", "acme"]', "acme is there more than once"),
        ('["acme"]', '"acme"', "organizations of the group eu must be a list of strings"),
        ('["acme"]', "[]", "organizations of the group eu must be a list of strings"),
        ('["acme"]', "[7]", "organizations of the group eu must be a list of strings"),
        ('name = "eu"', "", r"name in \[\[groups\]\] must be a string"),
        ('name = "eu"', "name = 7", r"name in \[\[groups\]\] must be a string"),
        (
            'token = "TOKEN"',
            'tokn = "TOKEN"',
            r"'tokn' is no key of \[\[groups\]\]: it has name, token",
        ),
        ("[[groups]]", "[groups]", r"needs one \[\[groups\]\] or more"),
        ("[[groups]]", "[[group]]", "'group' is no key of the file: it has host"),
        ("[[groups]]", "[[groups", "Expected"),
        ("[[groups]]", "lookback_seconds = '60'\n[[groups]]", "lookback_seconds .* whole number"),
        ("[[groups]]", "lookback_seconds = true\n[[groups]]", "lookback_seconds .* whole number"),
        ("[[groups]]", "lookback_seconds = -1\n[[groups]]", "lookback_seconds .* whole number"),
        ("[backfill]", "[backfil]", "'backfil' is no key of the file: it has host"),
        ("borders", "border", r"'border' is no key of \[backfill\]"),
        ("borders", "since = 2025-01-01\nborders", "must rise"),
        ("2025-01-01", "2026-02-01", "must rise"),
        ("2025-01-01", "2025-01-01T00:00:00.5", "no whole second"),
        ("2025-01-01", "0001-01-01T00:00:00+14:00", "0001-01-01.* is too early"),
        ("2025-01-01", "'2025-01-01'", "'2025-01-01' is no date"),
        ("[2025-01-01, 2026-01-01T12:00:00+02:00]", "[]", "borders of .* must be a list of dates"),
        ("[2025-01-01, 2026-01-01T12:00:00+02:00]", "2025-01-01", "borders of .* must be a list"),
        ("[backfill]", "[backfill]\nat_once = 0", "at_once .* whole number from 1 to 40"),
    ],
)
def test_a_fleet_that_cannot_be_used_is_refused_with_the_reason(
    old: str, new: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FleetError, match=why):
        read(TOML.replace(old, new), tmp_path, monkeypatch)


@pytest.mark.parametrize("key", ['host = "sentry.example.com"', "lookback_seconds = 86400"])
def test_a_setting_below_the_first_table_is_not_ignored(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TOML counts it to that table: the token would go to sentry.io, late entries be lost."""
    for text in (TOML.replace("[backfill]", f"{key}\n[backfill]"), TOML + key):
        with pytest.raises(FleetError, match="write it above the first table"):
            read(text, tmp_path, monkeypatch)


@pytest.mark.parametrize("token", ["sntryu_0123456789abcdef", "0123456789abcdef" * 4, ""])
def test_a_token_in_the_file_is_refused_and_not_shown(
    token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FleetError, match="must name the environment variable") as refused:
        read(TOML.replace('"TOKEN"', f'"{token}"'), tmp_path, monkeypatch)

    assert not token or token not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://loader:hush%secr@db/sentry",
        "postgresql://loader:hush@secr@db/sentry",
        "postgresql://loader:hush/secr@db/sentry",
        "postgresql://loader:hush secr@db/sentry",
        "postgresql://loader:hush@db/sentry\n",
        "postgresql://loader:hushsecr",
        "postgresql://loader:hushsecr@db:port/sentry",
        "postgresql://loader@db/sentry?password=hush&secr",
        "postgresql://loader:hushsecr@db/sentry?colour=red",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_and_no_part_of_it_shown(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FleetError, match="percent-encode") as refused:
        read(TOML, tmp_path, monkeypatch, url)

    assert not [part for part in ("hush", "secr", "loader", "colour") if part in str(refused.value)]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db",
        "postgresql:///sentry",
        "postgresql://loader:a:?#%25%40%2Fé@[::1]:5432/sentry",
        "postgresql://loader:word@one,two:5432/sentry?target_session_attrs=read-write",
        "postgresql:///sentry?host=/run/postgresql&user=a%40b&options=-c%20timezone%3DAsia/Tokyo",
    ],
)
def test_any_url_that_postgresql_understands_is_taken(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(TOML, tmp_path, monkeypatch, url).database == url


# The command

WAITING = """#!/bin/sh
echo $$ > {folder}/{name}.pid
{save}
exec sleep 60
"""


@dataclass(frozen=True)
class Worker:
    """A folder with a fleet.toml, programs that stand in for tap and target, and no temp files."""

    folder: Path
    server: str

    def put(self, **programs: str) -> None:
        for name, text in programs.items():
            script = self.folder / "bin" / name.replace("_", "-")
            script.parent.mkdir(exist_ok=True)
            script.write_text(text)
            script.chmod(0o755)

    def wait(self) -> None:
        """Put programs that say who they are and what they were given, and then wait."""
        save = 'for given; do cat "${{given#*=}}"; done > {folder}/{name}.given'
        for name in "tap_sentry_audit", "target_postgres":
            saved = save.format(folder=self.folder, name=name)
            self.put(**{name: WAITING.format(folder=self.folder, name=name, save=saved)})

    def started(self, *command: str, **variables: str) -> subprocess.Popen[str]:
        (self.folder / "tmp").mkdir(exist_ok=True)
        (self.folder / "fleet.toml").write_text(variables.pop("toml", TOML))
        given = {
            "PATH": f"{self.folder}/bin:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT / "examples/fleet"),
            "TMPDIR": str(self.folder / "tmp"),
            "TOKEN": "a-token-of-sentry",
            "FLEET_DATABASE_URL": self.server,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "sentry_fleet", *command],
            cwd=self.folder,
            env=given | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def ended(self, *command: str, **variables: str) -> tuple[int, str]:
        """Run a command to its end: its exit code, and all that it said."""
        process = self.started(*command, **variables)
        said = "".join(process.communicate(timeout=30))
        return process.returncode, said

    def pids(self) -> list[int]:
        """Wait until both programs have been given all that they are given."""
        given = [self.folder / f"{name}.given" for name in ("tap_sentry_audit", "target_postgres")]
        for _ in range(500):
            if all(path.exists() and path.read_text().endswith("}") for path in given):
                return [int(path.with_suffix(".pid").read_text()) for path in given]
            time.sleep(0.02)
        raise TimeoutError


@pytest.fixture(name="worker")
def _worker(server: str, fleet: Fleet, tmp_path: Path) -> Worker:
    assert fleet
    return Worker(tmp_path, server)


def is_running(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    return False


NO_BACKFILL = '[[groups]]\nname = "eu"\ntoken = "TOKEN"\norganizations = ["acme"]\n'


def test_a_worker_that_is_killed_leaves_no_secret_on_the_disk(worker: Worker) -> None:
    worker.wait()
    with worker.started("group", "eu", toml=NO_BACKFILL) as process:
        pids = worker.pids()
        process.kill()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)

    assert "a-token-of-sentry" in (worker.folder / "tap_sentry_audit.given").read_text()
    assert "postgresql+psycopg://" in (worker.folder / "target_postgres.given").read_text()
    assert list((worker.folder / "tmp").iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux who is running")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_worker_that_is_asked_to_end_ends_its_programs_and_says_so(
    number: signal.Signals, code: int, worker: Worker
) -> None:
    worker.wait()
    with worker.started("group", "eu", toml=NO_BACKFILL) as process:
        pids = worker.pids()
        process.send_signal(number)
        said = "".join(process.communicate(timeout=30))

    assert process.returncode == code
    assert said == f"stopped by {number.name}: the next run reads the same again\n"
    assert not any(map(is_running, pids))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://loader:hush@127.0.0.1:1/sentry", "PostgreSQL cannot be used: .*refused"),
        ("postgresql://loader:hush@db.invalid/sentry", "PostgreSQL cannot be used: .*db.invalid"),
        ("{server}&user=nobody", 'PostgreSQL cannot be used: .*role "nobody" does not exist'),
        ("{server}&options=-c%20default_transaction_read_only%3Don", "PostgreSQL: .*read-only"),
    ],
)
def test_what_postgresql_refuses_is_said_in_one_line(url: str, why: str, worker: Worker) -> None:
    with database.connect(worker.server) as connection:
        connection.execute("DROP SCHEMA fleet CASCADE")
    given = url.format(server=worker.server)
    code, said = worker.ended("handover", FLEET_DATABASE_URL=given)

    assert code == 1
    assert re.fullmatch(f"{why}.*\n", said), said


def test_a_program_that_is_not_there_is_named(worker: Worker) -> None:
    worker.put(tap_sentry_audit="#!/bin/sh\n")
    code, said = worker.ended("group", "eu", toml=NO_BACKFILL)

    assert code == 1
    assert (
        said == "target-postgres is not on the PATH of this worker: install it, or name it there\n"
    )


def test_a_program_that_cannot_be_started_takes_one_line(worker: Worker) -> None:
    worker.put(tap_sentry_audit="#!/bin/sh\n", target_postgres="#!/nowhere/python\n")
    code, said = worker.ended("group", "eu", toml=NO_BACKFILL)

    assert code == 1
    assert "Traceback" not in said
    assert "target-postgres" in said


def test_a_shard_that_is_loaded_says_that_it_is_not_read_again(
    worker: Worker, fleet: Fleet
) -> None:
    toml = TOML.replace("2025-01-01, ", "")
    ends = datetime(2026, 1, 1, 10, tzinfo=UTC)
    loaded(fleet, "acme", Range(None, ends))
    code, said = worker.ended("shard", "acme", "2026-01-01T10:00:00Z", toml=toml)

    assert code == 0
    assert said == (
        "acme, the range to 2026-01-01T10:00:00Z: loaded before, so not read again;"
        " to read it again, delete its row in fleet.shards\n"
    )
