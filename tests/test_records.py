from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from tap_sentry_audit.streams.redaction import masked
from tap_sentry_audit.streams.schemas import AUDIT_LOGS
from testing.recorded import audit_rows
from testing.rows import record_of

KEY = "0123456789abcdef0123456789abcdef"
SAMPLE: dict[str, Any] = json.loads((Path(__file__).parent / "sample_record.json").read_text())
VALIDATOR = Draft202012Validator(
    {**AUDIT_LOGS, "additionalProperties": False},
    format_checker=FormatChecker(["date-time"]),
)


def record(*, redact_secrets: bool = True, **fields: object) -> dict[str, Any]:
    return record_of(SAMPLE | fields, redact_secrets=redact_secrets)


def test_date_time_is_really_checked() -> None:
    assert not VALIDATOR.is_valid({"dateCreated": "yesterday"})


def test_the_sample_record_comes_out_whole_and_valid() -> None:
    assert record() == SAMPLE | {
        "organization": "acme",
        "targetUserDetail": None,
        "additionalFields": None,
    }
    VALIDATOR.validate(record())


def test_every_field_of_the_sample_actor_is_declared() -> None:
    declared = AUDIT_LOGS["properties"]["actor"]["properties"]

    assert len(SAMPLE["actor"]) == 17
    assert SAMPLE["actor"].keys() <= declared.keys()
    for name, value in SAMPLE["actor"].items():
        usual = {str: "string", bool: "boolean", list: "array", dict: "object"}[type(value)]
        assert declared[name]["type"][0] == usual


def test_every_recorded_entry_is_valid_and_complete() -> None:
    rows = audit_rows()
    assert len(rows) > 300
    for row in rows:
        made = record_of(row, redact_secrets=False)
        VALIDATOR.validate(made)
        same = ("id", "actor", "event", "ipAddress", "note", "targetObject", "data")
        assert [made[name] for name in same] == [row[name] for name in same]
        assert made["targetUserDetail"] == row["targetUser"]


@pytest.mark.parametrize(
    "actor",
    [
        {"name": "deleted-user@acme.example"},
        {"name": None},
        {"name": "SCIM Internal Integration (ab12cd)"},
        {"name": f"{KEY} (api key)"},
        {"id": 7, "name": ["odd"], "isActive": "yes", "emails": {}, "avatar": "none"},
        {"id": "7", "flags": {"newsletter_consent_prompt": True}, "identities": [{"id": 1}]},
        {"somethingNew": {"deep": [1, None]}},
        {},
        None,
        "terraform",
        7,
    ],
)
def test_every_odd_actor_is_valid(actor: object) -> None:
    VALIDATOR.validate(record(actor=actor))


def test_nothing_inside_an_actor_is_dropped() -> None:
    actor = {"id": "7", "somethingNew": {"deep": [1, None]}}

    assert record(actor=actor)["actor"] == actor


@pytest.mark.parametrize(
    ("target_user", "user_id", "detail"),
    [
        ("3842558", "3842558", None),
        (3842558, "3842558", None),
        ({"id": "29", "name": "Ç"}, "29", {"id": "29", "name": "Ç"}),
        ({"id": 29}, "29", {"id": 29}),
        ({"name": "gone"}, None, {"name": "gone"}),
        (None, None, None),
    ],
)
def test_a_target_user_has_one_type_whatever_the_server_sent(
    target_user: object, user_id: str | None, detail: object
) -> None:
    made = record(targetUser=target_user)

    assert (made["targetUser"], made["targetUserDetail"]) == (user_id, detail)
    VALIDATOR.validate(made)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (4509666605727747, 4509666605727747),
        ("4509666605727747", 4509666605727747),
        (None, None),
        ("a slug", None),
        (True, None),
    ],
)
def test_a_target_object_is_an_integer(sent: object, kept: int | None) -> None:
    assert record(targetObject=sent)["targetObject"] == kept


@pytest.mark.parametrize("data", [{}, {"a": [1, "x", None, {"b": 0.5}]}, None])
def test_data_is_open(data: object) -> None:
    made = record(data=data)

    assert made["data"] == data
    VALIDATOR.validate(made)


def test_data_that_is_no_object_becomes_one() -> None:
    assert record(data=["a"])["data"] == {"value": ["a"]}


def test_missing_fields_become_null() -> None:
    made = record_of({"id": "1", "dateCreated": "2026-01-01T00:00:00Z", "event": "org.edit"})

    VALIDATOR.validate(made)
    assert made["actor"] is made["ipAddress"] is made["data"] is None


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ("2026-11-15T07:48:34Z", "2026-11-15T07:48:34.000000Z"),
        ("2026-11-15T07:48:34.5Z", "2026-11-15T07:48:34.500000Z"),
        ("2026-11-15T07:48:34.000001Z", "2026-11-15T07:48:34.000001Z"),
        ("2026-11-15T09:48:34.25+02:00", "2026-11-15T07:48:34.250000Z"),
        ("2026-11-15T09:48:34.2+02:00", "2026-11-15T07:48:34.200000Z"),
        ("2026-11-15 07:48:34.123456Z", "2026-11-15T07:48:34.123456Z"),
    ],
)
def test_date_created_has_one_fixed_width_form(sent: str, written: str) -> None:
    assert record(dateCreated=sent)["dateCreated"] == written


def test_an_api_key_in_an_actors_name_is_masked() -> None:
    assert record(actor={"name": f"{KEY} (api key)"})["actor"] == {"name": "********cdef (api key)"}


@pytest.mark.parametrize(
    ("event", "data", "kept"),
    [
        ("projectkey.create", {"secret_key": KEY, "public_key": KEY}, {"public_key": KEY}),
        ("api-key.edit", {"key": KEY, "label": "ci"}, {"label": "ci"}),
    ],
)
def test_secrets_in_data_are_masked_and_the_rest_is_kept(
    event: str, data: dict[str, str], kept: dict[str, str]
) -> None:
    made = record(event=event, data=data)["data"]

    assert made == dict.fromkeys(data, "********cdef") | kept


def test_a_key_that_is_no_secret_stays() -> None:
    data = {"key": "browser.name"}

    assert record(event="tagkey.remove", data=data)["data"] == data


def test_a_secret_that_is_missing_stays_missing() -> None:
    assert record(event="projectkey.edit", data={"secret_key": None})["data"] == {
        "secret_key": None
    }


def test_redact_secrets_false_leaves_everything_as_it_is() -> None:
    data, actor = {"secret_key": KEY}, {"name": f"{KEY} (api key)"}
    made = record(redact_secrets=False, event="projectkey.create", data=data, actor=actor)

    assert (made["data"], made["actor"]) == (data, actor)


@pytest.mark.parametrize("secret", ["", "abcd", "abcdefgh"])
def test_of_a_short_secret_nothing_is_shown(secret: str) -> None:
    assert masked(secret) == "********"


def test_no_recorded_secret_gets_through() -> None:
    for row in audit_rows():
        made = record_of(row, redact_secrets=True)
        data = row["data"]
        secrets = [data.get("secret_key")]
        if row["event"].startswith("api-key."):
            secrets.append(data.get("key"))
        if "(api key)" in str(row["actor"]["name"]):
            secrets.append(row["actor"]["name"].split()[0])
        for secret in filter(None, secrets):
            assert secret not in json.dumps(made)
            assert secret[-4:] in json.dumps(made)


def test_what_this_version_does_not_know_is_kept_and_masked() -> None:
    made = record(
        newField={"deep": [1, None]},
        client_secret="abcdefghijkl",  # noqa: S106  (no secret of ours)
        targetObject=["odd"],
        note="set to abcdefghijkl",
        additionalFields={"of": "Sentry"},
    )

    assert made["additionalFields"] == {
        "newField": {"deep": [1, None]},
        "client_secret": "********ijkl",
        "targetObject": ["odd"],
        "additionalFields": {"of": "Sentry"},
    }
    assert made["note"] == "set to ********ijkl"
    assert made["targetObject"] is None
    VALIDATOR.validate(made)


def test_a_secret_stays_masked_in_what_is_kept_aside() -> None:
    made = record(
        data={"token": "abcdefghijkl"},
        note=["set to abcdefghijkl"],
        targetUserDetail={"name": f"{KEY} (api key)"},
        event=[{"deep": f"abcdefghijkl of {KEY}"}],
    )

    assert "abcdefghijkl" not in json.dumps(made)
    assert KEY not in json.dumps(made)
    assert made["additionalFields"]["note"] == ["set to ********ijkl"]
    assert made["event"] == ""
