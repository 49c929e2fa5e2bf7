"""The mapper's README, followed to the letter. Its query: test_targets.py."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from testing.fake_receiver import FakeReceiver, attributes
from testing.fake_sentry import FakeSentry, Log, entries
from testing.ocsf_mapper import PLUGIN, entry, mapped
from testing.ocsf_schema import flaws
from testing.recipes import (
    BIN,
    LOADERS,
    ROOT,
    Project,
    blocks,
    environment,
    filled_in,
    follow,
    ids_in,
    ids_of,
    lines,
    recipes,
)
from testing.sentry_tap import config

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (PLUGIN / "README.md").relative_to(ROOT).as_posix()
README = recipes(PAGE)
MOST_WORDS = 900
"""Without blocks and the table of settings."""


def test_every_block_is_followed_by_a_test_and_the_page_stays_short() -> None:
    page = (ROOT / PAGE).read_text("utf-8")

    assert [each.name for each in blocks(page)] == ["meltano", "pipe", "event", "sql", "otlp"]
    prose = re.sub(
        r"^```.*?^```$|<!-- generated.*?<!-- end -->", "", page, flags=re.DOTALL | re.MULTILINE
    )
    assert len(prose.split()) <= MOST_WORDS


def test_the_event_is_what_the_mapper_makes() -> None:
    shown = json.loads(README["event"])
    actor = {"id": "1", "username": "olive", "name": "Olive Owner", "email": "olive@acme.example"}
    given = entry(
        209184,
        dateCreated="2026-11-20T23:55:18.646672Z",
        actor=actor,
        targetObject=11,
        note=shown["message"],
        data=shown["entity"]["data"],
    )

    event = mapped(given, with_raw_data=False)
    assert list(shown) == [*event, "raw_data"]
    assert shown == event | {"raw_data": shown["raw_data"]}
    assert flaws(shown) == []


@pytest.mark.slow
def test_events_hold_the_whole_log_though_the_target_has_its_entries_already(
    tmp_path: Path,
) -> None:
    log = Log(entries.even(150))
    with FakeSentry({"acme": log}) as sentry:
        project = Project.made(tmp_path / "project", sentry)
        project.follow(".venv/bin/meltano run tap-sentry-audit target-jsonl")
        project.follow(README["meltano"])
        log.add([entries.micros(entries.UNTIL)])
        project.follow(".venv/bin/meltano run tap-sentry-audit target-jsonl")
        project.follow(README["meltano"])

    output = project.folder / "output"
    assert ids_in(output / "audit_logs.jsonl") == ids_of(log)
    assert sorted(event["uid"] for event in lines(output / "ocsf_events.jsonl")) == ids_of(log)


@pytest.mark.slow
def test_the_pipe_begins_without_a_state_and_goes_on_from_the_last(tmp_path: Path) -> None:
    log = Log(entries.even(150))
    programs = (BIN, LOADERS / "target-jsonl/venv/bin")
    variables = environment(tmp_path / "home", *programs)
    with FakeSentry({"acme": log}) as sentry:
        (tmp_path / "config.json").write_text(json.dumps(config(sentry)))
        follow(README["pipe"], tmp_path, variables)
        log.add([entries.micros(entries.UNTIL)])
        follow(README["pipe"], tmp_path, variables)

    files = tmp_path.glob("ocsf_events*.jsonl")
    assert sorted(event["uid"] for file in files for event in lines(file)) == ids_of(log)


@pytest.mark.slow
def test_events_reach_an_opentelemetry_receiver_mapped_as_they_should_be(tmp_path: Path) -> None:
    log = Log(entries.even(150))
    with FakeSentry({"acme": log}) as sentry, FakeReceiver() as receiver:
        project = Project.made(tmp_path / "project", sentry)
        recipe = filled_in(README["otlp"], **{"https://otlp.example.com": receiver.url})
        project.follow(recipe)

    assert receiver.ids == [f"acme/{row['id']}" for row in log.rows() if row]
    assert all(each.time_unix_nano and each.severity_text for each in receiver.kept)
    expected = {"event.name", "ocsf.class_uid", "ocsf.activity_name", "sentry.organization"}
    assert expected <= set.intersection(*(set(attributes(each)) for each in receiver.kept))
