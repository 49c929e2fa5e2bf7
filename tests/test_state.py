"""The state given to a run: taken out of its wrapping, or refused with the reason."""

from __future__ import annotations

import json
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest

from tap_sentry_audit.streams.state import StateError, read_state_file, usable_state
from testing.fake_sentry import FakeSentry, Log, entries
from testing.sentry_tap import config, run_tap

if TYPE_CHECKING:
    from pathlib import Path

STATE: dict[str, Any] = {
    "bookmarks": {
        "audit_logs": {
            "partitions": [
                {
                    "context": {"organization": "acme"},
                    "replication_key_value": "2025-01-01T00:00:00Z",
                }
            ]
        }
    }
}


def of_stream(bookmark: object) -> dict[str, Any]:
    return {"bookmarks": {"audit_logs": bookmark}}


def of_partitions(*partitions: object) -> dict[str, Any]:
    return of_stream({"partitions": partitions})


@pytest.mark.parametrize(
    "wrapped",
    [
        STATE,
        {"value": STATE},
        {"type": "STATE", "value": STATE},
        {"singer_state": STATE},
        {"type": "STATE", "value": {"singer_state": STATE}},
    ],
)
def test_a_state_is_taken_out_of_its_wrapping(wrapped: dict[str, Any]) -> None:
    assert usable_state(wrapped, ["audit_logs"]) == STATE


@pytest.mark.parametrize("state", [{}, {"bookmarks": {}}, {"singer_state": {}}])
def test_a_state_without_bookmarks_is_one_of_a_first_run(state: dict[str, Any]) -> None:
    assert not usable_state(state, ["audit_logs"]).get("bookmarks")


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"bookmarks": 5}, "Expected `object`"),
        ({"bookmark": {"audit_logs": {}}}, "missing required field `bookmarks`"),
        ({"value": []}, "what it wraps is not an object"),
        ({"singer_state": None}, "missing required field `bookmarks`"),
        ({"type": "RECORD", "value": STATE}, "missing required field `bookmarks`"),
        ({"bookmarks": {"users": {"partitions": []}}}, "it belongs to another tap"),
        (of_stream([]), "Expected `object`"),
        (of_stream({"partitions": {}}), "Expected `array`"),
        (of_stream({"replication_key_value": None}), "has no time as replication_key_value"),
        (of_stream({"replication_key_valu": "2025"}), "but a field 'replication_key_valu'"),
        (of_partitions(5), "Expected `object`"),
        (of_partitions({}), "missing required field `context`"),
        (of_partitions({"context": {"slug": "acme"}}), "names no organization"),
        (of_partitions(*[{"context": {"organization": "a"}}] * 2), "have the same context"),
        (
            of_partitions({"context": {"organization": "a"}, "replication_key_value": " "}),
            "has no time as replication_key_value",
        ),
    ],
)
def test_a_state_that_cannot_be_used_is_refused(state: dict[str, Any], why: str) -> None:
    with pytest.raises(StateError, match=f"^the state cannot be used: .*{why}.*Give the value of"):
        usable_state(state, ["audit_logs"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("{", "truncated"),
        ('{"bookmarks":{}}\n{"bookmarks":{}}\n', "more than one line"),
        ('{"a":' * 9_999, "not one JSON object"),
        ("[]", "not an object"),
        ("null", "not an object"),
        ("5", "not an object"),
    ],
)
def test_a_state_file_that_holds_no_object_is_refused(text: str, why: str) -> None:
    with pytest.raises(StateError, match=f"its file .*{why}"):
        read_state_file(StringIO(text))


@pytest.mark.parametrize("content", [b'{"bookmarks": 5}', b"[]", b"\xff"])
def test_a_run_with_such_a_state_ends_before_the_first_request(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with FakeSentry({"acme": Log(entries.even(5))}) as sentry:
        run = run_tap(config(sentry), "--state", str(path))

    assert not sentry.requests
    assert (run.returncode, run.stdout) == (1, "")
    [line] = run.errors
    assert line.startswith("the state cannot be used: ")
    assert "Traceback" not in run.stderr


def test_a_bookmark_that_cannot_be_read_stops_its_organization_alone() -> None:
    value, first_of_all = "2025-01-01T00:00:00Z", "0001-01-01T00:00:00Z"
    broken: dict[str, tuple[str, object]] = {
        "no-time": ("yesterday", {}),
        "before-all-time": (first_of_all, {}),
        "lookback-before-all-time": (first_of_all, {"seconds": 3600, "ids": {}}),
        "no-seconds": (value, {"ids": {}}),
        "no-object": (value, []),
        "ids-in-a-list": (value, {"seconds": 3600, "ids": ["1"]}),
        "no-number": (value, {"seconds": 3600, "ids": {"1": None}}),
    }
    state = of_partitions(
        *(
            {
                "context": {"organization": slug},
                "replication_key_value": time,
                "lookback": lookback,
            }
            for slug, (time, lookback) in broken.items()
        )
    )
    slugs = [*broken, "sound"]
    with FakeSentry({slug: Log(entries.even(5)) for slug in slugs}) as sentry:
        run = run_tap(config(sentry, organization=None, organizations=slugs), state=state)

    assert run.returncode == 1
    *errors, _ = run.errors
    assert errors == [
        f"{slug}: the bookmark in the state cannot be read: correct it or leave it out"
        for slug in broken
    ]
    assert {record["organization"] for record in run.records} == {"sound"}
    assert json.dumps(run.state).count("yesterday") == 1  # it is not lost
