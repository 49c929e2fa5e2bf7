"""Records are as SCHEMA declares, whatever Sentry sends, and hold all of it."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_sentry_audit.tap import STREAMS
from testing.recorded import audit_rows
from testing.rows import record_of, strict, tap

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

SAMPLE: dict[str, Any] = json.loads((Path(__file__).parent / "sample_record.json").read_text())
RECORDED = Path(__file__).parents[1] / "testing" / "recorded_data" / "sentry-23.7.1-inventory"
NAMES = [stream.name for stream in STREAMS]


def schema(stream: str) -> dict[str, Any]:
    declared: dict[str, Any] = tap(redact_secrets=False).streams[stream].schema
    return declared


@cache
def validator(stream: str) -> Draft202012Validator:
    return strict(schema(stream))


def record(**fields: object) -> dict[str, Any]:
    made = record_of(SAMPLE | fields)
    validator("audit_logs").validate(made)
    return made


def test_date_time_is_really_checked() -> None:
    assert not validator("audit_logs").is_valid({"dateCreated": "yesterday"})


# --- what Sentry was seen to send


def test_the_sample_record_comes_out_whole() -> None:
    new = {"organization": "acme", "targetUserDetail": None, "additionalFields": None}

    assert record() == SAMPLE | new


def test_every_recorded_entry_comes_out_whole() -> None:
    rows = audit_rows()
    assert len(rows) > 300
    for row in rows:
        made = record_of(row, redact_secrets=False)
        validator("audit_logs").validate(made)
        same = ("id", "actor", "event", "ipAddress", "note", "targetObject", "data")
        assert [made[name] for name in same] == [row[name] for name in same]
        assert made["targetUserDetail"] == row["targetUser"]


@pytest.mark.parametrize("stream", [name for name in NAMES if name != "audit_logs"])
def test_every_recorded_row_of_another_stream_has_declared_fields_alone(stream: str) -> None:
    file = {"organizations": "organization", "events": "events_full"}.get(stream, stream)
    recorded = json.loads((RECORDED / f"{file}.json").read_text())
    for row in recorded if isinstance(recorded, list) else [recorded]:
        if stream == "organizations":
            # They have streams of their own, and are not requested.
            del row["teams"], row["projects"]
        made = record_of(row, stream)

        assert made.pop("additionalFields") is None
        assert made.keys() == row.keys() | {"organization"}


# --- the forms that one field of an entry was seen in


@pytest.mark.parametrize(
    ("sent", "user_id", "detail"),
    [
        ("3842558", "3842558", None),
        (3842558, "3842558", None),
        ({"id": "29", "name": "Ç"}, "29", {"id": "29", "name": "Ç"}),
        ({"id": 29}, "29", {"id": 29}),
        ({"name": "gone"}, None, {"name": "gone"}),
        (None, None, None),
    ],
)
def test_a_target_user_is_an_id_and_a_detail(sent: object, user_id: object, detail: object) -> None:
    made = record(targetUser=sent)

    assert (made["targetUser"], made["targetUserDetail"]) == (user_id, detail)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (4509666605727747, 4509666605727747),
        ("4509666605727747", 4509666605727747),
        ("12345678901234567890", None),
        (None, None),
        ("a slug", None),
        (True, None),
    ],
)
def test_a_target_object_is_an_integer(sent: object, kept: int | None) -> None:
    assert record(targetObject=sent)["targetObject"] == kept


def test_missing_fields_become_null_and_a_missing_event_is_empty() -> None:
    made = record_of({"id": "1", "dateCreated": "2026-01-01T00:00:00Z"})

    validator("audit_logs").validate(made)
    assert made.keys() == schema("audit_logs")["properties"].keys()
    assert made["event"] == ""


def test_what_is_not_known_or_of_another_type_is_kept_aside() -> None:
    odd: dict[str, Any] = {
        "title": ["a", "list"],
        "isPublic": "yes",
        "userCount": 2**63,
        "numComments": True,
        "firstSeen": "soon",
        "annotations": {},
    }
    unknown = {"organization": {"id": "1"}, "additionalFields": {"of": "Sentry"}, "brandNew": 1}

    assert record_of({"id": 7, **odd, **unknown}, "issues") == {
        "id": "7",
        **dict.fromkeys(odd),
        "organization": "acme",
        "additionalFields": odd | unknown,
    }


# --- whatever Sentry sends


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TIMES = st.sampled_from(["2026-01-31T08:00:00Z", "2026-01-31", "2026-99-31T08:00:00.000000Z"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | TIMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
CHECKED = ["", "additionalFields", "organization", "targetUserDetail", "somethingNew"]


@cache
def rows(stream: str) -> st.SearchStrategy[dict[str, Any]]:
    needed: dict[str, st.SearchStrategy[Any]] = {
        key: st.integers() | TEXTS.filter(bool) for key in ("id", "eventID", "projectID")
    }
    needed["dateCreated"] = st.just("2026-01-31T08:00:00.000001Z")
    names = st.sampled_from([*schema(stream)["properties"], *CHECKED])
    return st.builds(
        lambda row, keys: row | keys,
        st.dictionaries(names, VALUES, max_size=12),
        st.fixed_dictionaries(needed),
    )


@pytest.mark.parametrize("stream", NAMES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_record_is_valid_and_holds_all_that_was_sent(stream: str, data: st.DataObject) -> None:
    row = json.loads(json.dumps(data.draw(rows(stream))))

    made = record_of(row, stream, redact_secrets=False)

    made = json.loads(json.dumps(made, default=float))
    validator(stream).validate(made)
    aside = made["additionalFields"] or {}
    for field, value in row.items():
        if value is not None and field not in aside:
            assert is_held(made, field, value), (field, value, made)


def is_held(made: dict[str, Any], field: str, sent: object) -> bool:
    """Whether a record's field says what was sent, in its declared type."""
    held = made[field]
    if field == "targetUser" and isinstance(sent, dict):
        return bool(made["targetUserDetail"] == sent)
    if field == "actor":
        return held in (sent, {"name": sent}, {"id": sent})
    if field == "data":
        return held in (sent, {"value": sent})
    if isinstance(held, str) and isinstance(sent, str):
        return held[:10] == sent[:10]
    if isinstance(sent, float):
        return Decimal(str(held)) == Decimal(str(sent))
    return held == sent or str(held) == str(sent)
