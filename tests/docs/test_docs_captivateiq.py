"""The pages of tap-captivateiq-audit, followed to the letter."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from testing.captivateiq_tap import config, hours, run_tap
from testing.fake_captivateiq import TOKEN, FakeCaptivateIQ, Log, row
from testing.fake_receiver import FakeReceiver, attributes
from testing.otlp_target import run_target
from testing.recipes import BIN, LOADERS, ROOT, environment, filled_in, follow, lines, recipes

if TYPE_CHECKING:
    from pathlib import Path

README = recipes("plugins/tap-captivateiq-audit/README.md")
LOAD = recipes("plugins/tap-captivateiq-audit/docs/load.md")


def test_a_token_is_all_that_a_first_run_needs(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(BIN.parent)
    with FakeCaptivateIQ(Log(hours(5))) as server:
        there = {
            "TAP_CAPTIVATEIQ_AUDIT_API_URL": server.url,
            "TAP_CAPTIVATEIQ_AUDIT_REQUESTS_PER_SECOND": "100",
        }
        recipe = filled_in(README["connect"], **{"…": TOKEN})
        follow(recipe, tmp_path, environment(tmp_path / "home", **there))

    messages = lines(tmp_path / "audit.singer")
    assert len([each for each in messages if each["type"] == "RECORD"]) == 5


def test_the_record_that_is_shown_is_what_the_tap_makes_of_the_vendors_example() -> None:
    shown = json.loads(README["record"])
    entry = row(446655440000, "2025-02-23T14:30:00Z")
    assert entry["id"] == shown["id"]
    with FakeCaptivateIQ(Log([entry])) as server:
        run = run_tap(config(server, start_date="2025-02-23"))

    assert run.records == [shown]


def test_the_mapping_gives_receivers_who_when_and_what() -> None:
    with FakeCaptivateIQ(Log(hours(3))) as server, FakeReceiver() as receiver:
        run = run_tap(config(server))
        mapping = json.loads(LOAD["mapping"])
        run_target(run.stdout.encode(), endpoint=receiver.url, **mapping)

    first = receiver.kept[0]
    assert receiver.ids == run.ids
    assert (first.event_name, first.time_unix_nano > 0) == ("user.login", True)
    assert attributes(first)["user.name"] == "Jane Admin"


@pytest.mark.slow
def test_the_pipe_adds_what_is_new(tmp_path: Path) -> None:
    log = Log(hours(5))
    target = LOADERS / "target-jsonl" / "venv" / "bin"
    with FakeCaptivateIQ(log) as server:
        (tmp_path / "config.json").write_text(json.dumps(config(server)))
        for _ in range(2):
            follow(LOAD["pipe"], tmp_path, environment(tmp_path / "home", BIN, target))
            log.rows += hours(1, first=99) if len(log.rows) == 5 else []

    found = [each for path in tmp_path.glob("*audit_logs*.jsonl") for each in lines(path)]
    assert sorted(each["id"] for each in found) == sorted(each["id"] for each in log.rows)


@pytest.mark.slow
def test_meltano_reads_it_from_the_checkout(tmp_path: Path) -> None:
    project = tmp_path / "project"
    with FakeCaptivateIQ(Log(hours(5))) as server:
        settings = {
            "TAP_CAPTIVATEIQ_AUDIT_API_TOKEN": TOKEN,
            "TAP_CAPTIVATEIQ_AUDIT_API_URL": server.url,
        }
        variables = environment(tmp_path / "home", BIN, **settings)
        follow(f"meltano init --no-usage-stats {project}", tmp_path, variables)
        follow(filled_in(LOAD["meltano"], **{"/srv/tap-sentry-audit": ROOT}), project, variables)
        follow("meltano invoke tap-captivateiq-audit > run.singer", project, variables)

    messages = lines(project / "run.singer")
    assert len([each for each in messages if each["type"] == "RECORD"]) == 5
