"""Blocks that need nothing but the tap and the stand-in, followed to the letter."""

from __future__ import annotations

import json
import re
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ruamel.yaml import YAML

from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.recipes import (
    BIN,
    ROOT,
    environment,
    filled_in,
    follow,
    ids_of,
    recipes,
)
from testing.sentry_tap import config, run_tap
from testing.terminal import run_on_a_terminal

if TYPE_CHECKING:
    from pathlib import Path

INSTALL = recipes("docs/install.md")
JSONL = recipes("docs/targets/jsonl.md")
PRIVACY = recipes("docs/privacy.md")
SCHEDULING = recipes("docs/scheduling.md")
STATE = recipes("docs/state.md")


def test_a_few_questions_lead_to_the_newest_entries(tmp_path: Path) -> None:
    log = Log(entries.even(30))
    with FakeSentry({"acme": log}, inventories={"acme": Inventory.made()}) as sentry:
        answers = [("Address", sentry.url), ("Slug", "acme"), ("Token", "token")]
        command = ["/bin/bash", "-e", "-c", INSTALL["connect"]]
        variables = environment(tmp_path / "home", BIN)
        seen = run_on_a_terminal(command, 80, variables, answers, tmp_path)

    assert seen.returncode == 0
    assert "The newest entries:" in seen.lines
    assert "TAP_SENTRY_AUDIT_AUTH_TOKEN='token'" in (tmp_path / ".env").read_text()


def test_the_connection_test_says_that_the_audit_log_can_be_read(tmp_path: Path) -> None:
    variables = environment(tmp_path / "home", BIN)
    with FakeSentry({"acme": Log(entries.even(3))}) as sentry:
        address = {'"sntryu_…"': f'"token", "host": "{sentry.url}"'}
        said = follow(filled_in(INSTALL["connection"], **address), tmp_path, variables)

    assert "acme: the connection works: audit_logs can be read" in said
    assert stat.S_IMODE((tmp_path / "config.json").stat().st_mode) == 0o600


def test_the_record_that_is_shown_is_what_the_tap_makes_of_the_sample() -> None:
    whole = json.loads((ROOT / "tests" / "sample_record.json").read_text("utf-8"))
    with FakeSentry({"acme": Log(rows=[whole])}) as sentry:
        [record] = run_tap(config(sentry)).records
    shown = json.loads(JSONL["record"])

    assert shown["actor"].items() <= record["actor"].items()
    assert {**shown, "actor": None, "additionalFields": None} == {**record, "actor": None}


def test_masking_leaves_nobodys_name_and_address() -> None:
    [extractor] = YAML(typ="safe", pure=True).load(PRIVACY["masking"])
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


def test_the_state_that_is_shown_is_taken_up() -> None:
    state = json.loads(STATE["example"])
    [partition] = state["bookmarks"]["audit_logs"]["partitions"]
    newest = entries.micros(partition["replication_key_value"])
    rows = [
        entries.row("1000498", newest - 2 * 3_600_000_000),
        entries.row("1000499", newest - 1_201_000_000),
        entries.row("1000500", newest),
        entries.row("1000501", newest + 1_000_000),
    ]
    with FakeSentry({"acme": Log(rows=rows)}) as sentry:
        run = run_tap(config(sentry), state=state)

    assert run.ids == ["1000501"]
    given = run.state["bookmarks"]["audit_logs"]["partitions"][0] if run.state else {}
    assert given.keys() == partition.keys()


def test_the_alarm_of_the_pipe_knows_the_configured_organizations(tmp_path: Path) -> None:
    now = datetime.now(UTC).isoformat()
    partitions = [{"context": {"organization": "acme"}, "last_read": now}]
    partitions.append({"context": {"organization": "former"}, "last_read": "2020-01-01T00:00:00Z"})
    (tmp_path / "state.json").write_text(
        json.dumps({"bookmarks": {"audit_logs": {"partitions": partitions}}})
    )
    (tmp_path / "config.json").write_text('{"auth_token": "t", "organization": "acme"}')
    said = follow(SCHEDULING["unread-pipe"], tmp_path, environment(tmp_path / "home", BIN))

    assert said.splitlines()[-1].startswith("Organizations: 1, all read to their end")


def test_the_workflow_runs_actions_of_the_versions_that_this_repository_runs() -> None:
    workflow = YAML(typ="safe", pure=True).load(SCHEDULING["actions"])
    [job] = workflow["jobs"].values()
    ours = "".join(path.read_text() for path in ROOT.glob(".github/workflows/*.yml"))
    known = dict(re.findall(r"uses: (\S+)@\w+ # (v\d+)", ours))

    used = dict(step["uses"].split("@") for step in job["steps"] if "uses" in step)
    assert {name: used[name] for name in used if name in known} == {
        name: known[name] for name in used if name in known
    }
    assert {"actions/checkout", "actions/setup-python"} <= known.keys() & used.keys()
