"""The definitions in Dagster: what is retried, what waits for what, what is on a schedule."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from testing.fake_sentry import FakeSentry, Log, entries
from testing.fake_sentry.log import FIRST_ID, IDS
from testing.postgres import postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parents[1]
ROOT = HERE.parents[1]
PROGRAMS = {
    "tap-sentry-audit": ROOT / ".venv/bin/tap-sentry-audit",
    "target-postgres": ROOT / ".meltano/loaders/target-postgres/venv/bin/target-postgres",
}
FAILING_ONCE = """#!/bin/sh
if mkdir {folder}/failed 2>/dev/null; then echo "injected" >&2; exit 7; fi
exec {program} "$@"
"""
END = datetime.now(UTC).replace(microsecond=0)
MIDDLE = END - timedelta(days=30)
GROUPS = {"eu": ["acme", "globex"], "us": ["initech"], "jp": ["hooli"]}
TOKENS = {"eu": "TOKEN_A", "us": "TOKEN_B", "jp": "TOKEN_A"}


def named(border: datetime) -> str:
    return f"{border:%Y-%m-%dT%H:%M:%SZ}"


@pytest.fixture(scope="module", name="logs")
def _logs() -> dict[str, Log]:
    """A log for each organization, with ties at the borders."""
    edges = [entries.micros(edge) + step for edge in (MIDDLE, END) for step in (-1, 0, 0)]
    slugs = [slug for group in GROUPS.values() for slug in group]
    return {
        slug: Log(
            sorted([*entries.even(200, 60, until=END, seed=number), *edges]),
            ties="shuffled",
            first_id=FIRST_ID + number * IDS,
        )
        for number, slug in enumerate(slugs)
    }


@pytest.fixture(scope="module", name="rows")
def _rows(
    logs: dict[str, Log], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], list[str]]]:
    """Serve the fleet, put its programs into PATH, and tell the ids of the rows loaded."""
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "bin").mkdir()
    for name, program in PROGRAMS.items():
        (folder / "bin" / name).symlink_to(program)
    with FakeSentry(logs) as sentry, postgres() as server, pytest.MonkeyPatch.context() as patch:
        lines = [f'host = "{sentry.url}"', "[backfill]"]
        lines.append(f"borders = [{named(MIDDLE)}, {named(END)}]")
        for name, slugs in GROUPS.items():
            lines += ["[[groups]]", f'name = "{name}"', f'token = "{TOKENS[name]}"']
            lines.append(f"organizations = {json.dumps(slugs)}")
        (folder / "fleet.toml").write_text("\n".join(lines))
        patch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("FLEET", str(folder / "fleet.toml"))
        url = f"postgresql://postgres@/postgres?host={server.folder}"
        patch.setenv("FLEET_DATABASE_URL", url)
        for token in TOKENS.values():
            patch.setenv(token, "token")
        yield lambda: sorted(row["id"] for row in server.rows("SELECT id FROM sentry.audit_logs"))


@pytest.fixture(scope="module", name="definitions")
def _definitions(rows: Callable[[], list[str]]) -> Any:  # noqa: ANN401  (a module)
    assert rows
    return importlib.import_module("definitions")


def failing_once(name: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let a program fail the first time."""
    script = folder / name
    script.write_text(FAILING_ONCE.format(folder=folder, program=PROGRAMS[name]))
    script.chmod(0o755)
    patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_from_the_first_backfill_to_the_steady_state_with_a_failure_in_each(
    definitions: Any,  # noqa: ANN401  (a module)
    rows: Callable[[], list[str]],
    logs: dict[str, Log],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cells = [f"{slug}|{named(border)}" for slug in logs for border in (MIDDLE, END)]
    instance = dg.DagsterInstance.ephemeral()
    backfill, handover = definitions.first_backfill, definitions.handover

    def shards(first: str, last: str) -> dg.ExecuteInProcessResult:
        tags = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
        return dg.materialize([backfill], instance=instance, tags=tags)

    (tmp_path / "target").mkdir()
    (tmp_path / "tap").mkdir()
    with monkeypatch.context() as patch:
        failing_once("target-postgres", tmp_path / "target", patch)
        some = shards(cells[0], cells[3])
    refused = dg.materialize([handover], instance=instance, raise_on_error=False)
    assert some.success
    assert (tmp_path / "target/failed").exists()
    assert not refused.success

    assert shards(cells[0], cells[-1]).success
    late = [entries.micros(END) - 60_000_000 * minute for minute in (50, 10)]
    for log in logs.values():
        log.add([*late, entries.micros(datetime.now(UTC))])
    assert dg.materialize([handover], instance=instance).success
    with monkeypatch.context() as patch:
        failing_once("tap-sentry-audit", tmp_path / "tap", patch)
        for group, token in TOKENS.items():
            [asset] = [one for one in definitions.STEADY if token.lower() in one.key.path[0]]
            assert dg.materialize([asset], instance=instance, partition_key=group).success
    assert (tmp_path / "tap/failed").exists()

    assert rows() == sorted(row["id"] for log in logs.values() for row in log.rows() if row)


def test_every_hour_each_group_has_a_run_of_its_own(definitions: Any) -> None:  # noqa: ANN401
    schedules = definitions.defs.get_repository_def().schedule_defs
    at = datetime(2026, 1, 1, 0, 7, tzinfo=UTC)
    context = dg.build_schedule_context(
        scheduled_execution_time=at, repository_def=definitions.defs.get_repository_def()
    )
    asked = {
        request.partition_key
        for schedule in schedules
        for request in schedule.evaluate_tick(context).run_requests or ()
    }

    assert asked == GROUPS.keys()


def test_groups_with_one_token_never_run_at_once(
    definitions: Any,  # noqa: ANN401  (a module)
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert definitions
    times = tmp_path / "times"
    for name in PROGRAMS:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ndate +%s.%N >> {times}; sleep 2; date +%s.%N >> {times}\n")
        program.chmod(0o755)
    (tmp_path / "target-postgres").write_text("#!/bin/sh\ncat > /dev/null\n")
    (tmp_path / "dagster.yaml").write_text((HERE / "dagster.yaml").read_text())
    # Without a backfill, nobody waits for a handover.
    text = Path(os.environ["FLEET"]).read_text()
    (tmp_path / "fleet.toml").write_text(
        "\n".join(line for line in text.splitlines() if not line.startswith(("[back", "borders")))
    )
    monkeypatch.setenv("FLEET", str(tmp_path / "fleet.toml"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    dagster = Path(sys.executable).with_name("dagster")
    # Makes the instance's tables, which two at once would do at the same time.
    subprocess.run([dagster, "instance", "concurrency", "get", "--all"], check=True)
    running = [
        subprocess.Popen(
            [
                *(dagster, "asset", "materialize"),
                *("-m", "definitions", "--select", "audit_log_token_a", "--partition", group),
            ],
            cwd=HERE,
        )
        for group in ("eu", "jp")
    ]

    assert [process.wait(300) for process in running] == [0, 0]
    first_begins, first_ends, second_begins, second_ends = map(float, times.read_text().split())
    assert first_begins < first_ends < second_begins < second_ends
