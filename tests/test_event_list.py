"""`events.yaml` tells of every event that was ever seen, and tells the truth."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from ruamel.yaml.error import YAMLError

from generate.events import PATH, areas, events
from testing import recorded
from testing.event_keys import compare
from testing.fake_sentry import entries

OPTIONS = set(json.loads(recorded.body("first_page"))["options"])
_FILE = recorded.FOLDER.with_name("sentry-23.7.1-events") / "entries.jsonl"
WRITTEN_BY_SENTRY = [json.loads(line) for line in _FILE.read_text("utf-8").splitlines()]
each_written = pytest.mark.parametrize(
    "entry", WRITTEN_BY_SENTRY, ids=lambda entry: f"{entry['event']}-{entry['id']}"
)


def test_every_event_that_sentry_offers_as_a_filter_is_listed() -> None:
    assert len(OPTIONS) == 72
    assert events().keys() >= OPTIONS


def test_every_event_of_the_stand_in_is_listed() -> None:
    assert set(entries.EVENTS) <= events().keys()


def test_only_events_that_sentry_23_7_1_does_not_know_have_a_version_or_a_server() -> None:
    known = {
        name
        for name, event in events().items()
        if not (event.since or event.until or event.only_on)
    }

    assert known == OPTIONS


def test_an_event_is_listed_once() -> None:
    assert len(events()) == sum(len(area.events) for area in areas())


def test_events_known_from_an_entry_are_those_that_have_been_recorded() -> None:
    known = {name for name, event in events().items() if event.evidence == "entry"}

    assert known == {entry["event"] for entry in WRITTEN_BY_SENTRY}


def test_only_where_the_name_alone_is_known_nothing_is_said_of_what_an_entry_holds() -> None:
    for event in events().values():
        if event.evidence == "name":
            assert (event.data, event.sometimes, event.target_object) == (None, {}, None)


@each_written
def test_the_data_that_sentry_wrote_holds_the_keys_that_are_listed(entry: dict[str, Any]) -> None:
    event = events()[entry["event"]]

    assert (event.unlisted(entry["data"]), event.missing(entry["data"])) == (set(), set())


@each_written
def test_an_entry_has_the_targets_that_are_listed(entry: dict[str, Any]) -> None:
    event = events()[entry["event"]]

    assert (entry["targetObject"] is not None) == (event.target_object is not None)
    assert entry["targetUser"] is None or event.target_user is not None


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param("      evidence: source\n", "", id="a field is missing"),
        pytest.param("target_user:", "targetUser:", id="a field is unknown"),
        pytest.param("evidence: source", "evidence: rumour", id="evidence of another kind"),
        pytest.param("data: *team\n", "data: [id, slug]\n", id="keys that say nothing"),
        pytest.param("member.add:", "Member Add:", id="no name of an event"),
        pytest.param("member.add:", "member.invite:", id="a name twice"),
        pytest.param("meaning: Created a team.", "meaning: created a team", id="no sentence"),
    ],
)
def test_a_mistake_in_the_file_is_refused(right: str, wrong: str) -> None:
    text = PATH.read_text("utf-8")
    assert right in text

    with pytest.raises((msgspec.ValidationError, YAMLError)):
        areas(text.replace(right, wrong, 1))


def test_what_a_log_has_beyond_the_list_is_found() -> None:
    records = [
        {"event": "rule.mute", "data": {"label": "r", "data": {}, "status": 0, "why": "x"}},
        {"event": "rule.mute", "data": dict.fromkeys(["label", "data", "status", "environment"])},
        {"event": "never.heard", "data": None},
    ]
    messages = [
        json.dumps({"type": "RECORD", "stream": "audit_logs", "record": record})
        for record in records
    ]

    assert compare(messages) == {
        "rule.mute": {"entries": 2, "+why": 1, "-environment": 1},
        "never.heard": {"entries": 1, "not listed": 1},
    }
