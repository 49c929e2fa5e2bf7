"""Secrets in what Sentry answers: none leaves the tap, and everything else does."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tap_sentry_audit.tap import STREAMS
from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.rows import record_of
from testing.sentry_tap import config, run_tap, selecting

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "5f0e1d2c3b4a59687786a5b4c3d2e1f0"  # noqa: S105  (it is nobody's)
MASKED = "********e1f0"

NAMES = [
    *("token", "sentry:token", "access_token", "refresh_token", "id_token", "client_secret"),
    *("secret", "secret_key", "password", "private_key", "securityToken", "accessToken"),
    *("ACCESS_TOKEN", "Password", "clientSecret", "privateKey", "Client-Secret"),
]
LOOK_ALIKES = [
    *("key", "sentry:token_header", "public_key", "hasPasswordAuth", "token_type", "tokens"),
    *("passwordless", "secretary", "expires", "sensitiveFields"),
]


def edited(data: dict[str, Any], note: str | None = None) -> dict[str, Any]:
    """Return the record of a `project.edit`, by default with the note that Sentry 23.7.1 writes."""
    settings = " ".join(f"in {key} to {value}" for key, value in data.items())
    note = f"edited project settings {settings}" if note is None else note
    return record_of(entries.row("1", 0, event="project.edit", data=data, note=note))


# --- by name


@pytest.mark.parametrize("where", ["data", "actor", "targetUser", "brandNew"])
def test_every_name_is_masked_at_any_depth(where: str) -> None:
    def nested(secret: str) -> dict[str, Any]:
        fields = dict.fromkeys(NAMES, secret)
        return {"a": [{"b": [[{"c": fields}]]}], **fields, "id": "7"}

    made = record_of(entries.row("1", 0, **{where: nested(TOKEN)}))

    aside = (made["additionalFields"] or {}).get(where)
    assert nested(MASKED) in (made.get(where), made["targetUserDetail"], aside)
    assert TOKEN not in json.dumps(made)


def test_names_that_only_look_like_a_secret_stay() -> None:
    data: dict[str, object] = {**dict.fromkeys(LOOK_ALIKES, TOKEN)}
    data |= {"tags": [{"key": "token", "value": TOKEN}], "features": ["token", "password"]}

    assert edited(data, note=TOKEN)["data"] == data
    assert edited(data, note=TOKEN)["note"] == TOKEN


@pytest.mark.parametrize(
    ("held", "kept"),
    [
        (None, None),
        ("", ""),
        (True, True),
        ("short", "********"),
        ("abcdefgh", "********"),
        ("abcdefghi", "********fghi"),
        (1234567890123, "********0123"),
        (0.12345678901, "********8901"),
        ([TOKEN, None, [1]], [MASKED, None, ["********"]]),
        ({"value": TOKEN, "": {"x": [TOKEN]}}, {"value": MASKED, "": {"x": [MASKED]}}),
        # What Sentry itself writes for a secret that it hides.
        ({"hidden-secret": True}, {"hidden-secret": True}),
        ({}, {}),
        ([], []),
    ],
)
def test_a_masked_value_keeps_its_shape(held: object, kept: object) -> None:
    assert edited({"secret_key": held})["data"] == {"secret_key": kept}


def test_values_too_deep_for_recursion_are_masked() -> None:
    deep: object = TOKEN
    for _ in range(300):
        deep = [{"x": deep}]

    assert TOKEN not in repr(edited({"token": deep, "plain": {"password": deep}}, note=""))


# --- API keys


def test_an_api_key_is_masked_in_data_in_the_note_and_as_a_user() -> None:
    user = {"name": f"{TOKEN} (api key)"}
    row = entries.row("1", 0, actor=user, targetUser=user, note=f"edited api key {TOKEN}")
    made = record_of(row | {"event": "api-key.edit", "data": {"key": TOKEN, "label": "ci"}})

    assert made["data"] == {"key": MASKED, "label": "ci"}
    assert made["note"] == f"edited api key {MASKED}"
    assert made["actor"] == made["targetUserDetail"] == {"name": f"{MASKED} (api key)"}


@pytest.mark.parametrize("field", ["actor", "targetUser"])
def test_the_note_does_not_tell_the_api_key_of_a_user(field: str) -> None:
    row = entries.row("1", 0, actor=None, targetUser=None, note=f"made by {TOKEN}")
    row[field] = {"name": f"{TOKEN} (api key)"}

    assert record_of(row)["note"] == f"made by {MASKED}"


# --- in notes


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        (f"to {TOKEN[:20]}", f"to {MASKED}"),
        (f"to {TOKEN[:8]}", f"to {MASKED}"),
        (f"to {TOKEN[:7]}", f"to {TOKEN[:7]}"),
        (f'"{TOKEN[:20]}..." in b', f'"{MASKED}..." in b'),
        (f"to {TOKEN[:20]}… in b", f"to {MASKED}… in b"),
        (f"{TOKEN[:9]}... {TOKEN} {TOKEN[:31]}", f"{MASKED}... {MASKED} {MASKED}"),
        (f"{TOKEN[:8]} {TOKEN[:8]}...", f"{TOKEN[:8]} {MASKED}..."),
        (f"{TOKEN}{TOKEN}", f"{MASKED}{MASKED}"),
    ],
)
def test_a_note_shows_no_secret_that_it_cuts_short(note: str, expected: str) -> None:
    assert edited({"secret": TOKEN}, note)["note"] == expected


@pytest.mark.parametrize(
    ("data", "note"),
    [
        pytest.param({"sentry:token": TOKEN, "id": 7}, f"in sentry:token to {MASKED} in id to 7"),
        pytest.param({"token": 1234567890123}, "in token to ********0123"),
        pytest.param(
            {"token": TOKEN[4:20], "password": TOKEN, "a": [{"secret": TOKEN[8:]}]},
            f"in token to ********7786 in password to {MASKED} in a to [{{'secret': '{MASKED}'}}]",
            id="one within another",
        ),
        pytest.param(
            {"token": "in", "password": "project", "secret": ""},
            "in token to in in password to project in secret to ",
            id="too short to be told from words",
        ),
        pytest.param({"password": "abcdefgh"}, "in password to ********", id="just long enough"),
    ],
)
def test_a_note_repeats_no_secret_of_the_data(data: dict[str, Any], note: str) -> None:
    assert edited(data)["note"] == f"edited project settings {note}"


ODD = st.sampled_from("'\"\\äł\n\t\0ab")
# Neither what masks nor what looks as if the note were cut short.
ANY = st.characters(exclude_characters="*.…", exclude_categories=["Cs"])
WAYS: dict[str, Callable[[str], str]] = {
    "as it is": lambda secret: f"'{secret}'",
    "repr": lambda secret: f"{secret!r}",
    "ascii": lambda secret: f"{secret!a}",
    "JSON": json.dumps,
    "JSON in UTF-8": partial(json.dumps, ensure_ascii=False),
}


@pytest.mark.parametrize("way", WAYS)
@given(st.text(ODD | ANY, min_size=9))
@example("abcdefgh\\")
@settings(max_examples=40, deadline=None)
def test_a_note_shows_a_secret_in_no_form_of_writing_it(way: str, secret: str) -> None:
    quoted = WAYS[way](secret)
    shown = quoted[0] + "********" + secret[-4:] + quoted[-1]

    assert edited({"secret": secret}, f"in a to {quoted} in b")["note"] == f"in a to {shown} in b"


# --- what is kept aside


def test_what_this_version_does_not_know_is_kept_and_masked() -> None:
    odd = {
        "data": {"token": "abcdefghijkl"},
        "note": ["set to abcdefghijkl"],
        "newField": {"deep": [1, None]},
        "client_secret": "mnopqrstuvwx",
        "event": [{"deep": f"mnopqrstuvwx of {TOKEN}"}],
        "targetUserDetail": {"name": f"{TOKEN} (api key)"},
    }
    made = record_of(entries.row("1", 0) | odd)

    assert made["additionalFields"] == {
        "note": ["set to ********ijkl"],
        "newField": {"deep": [1, None]},
        "client_secret": "********uvwx",
        "event": [{"deep": f"********uvwx of {MASKED}"}],
        "targetUserDetail": {"name": f"{MASKED} (api key)"},
    }
    assert made["event"] == ""


# --- everything that is emitted


def rich() -> Inventory:
    """One row for each stream, with a secret in each open field, and in fields that are new."""
    acme = Inventory.made(projects=1, teams=1, members=1, releases=1, issues=1, events=1)
    fields = {"nested": [{"password": TOKEN, "key": "kept"}], "token": TOKEN}
    lists = (acme.projects, acme.teams, acme.members, acme.releases, acme.issues)
    for row in (acme.organization, *(row for [row] in (*lists, *acme.events.values()))):
        for name, value in row.items():
            if isinstance(value, dict):
                row[name] = value | fields
            elif isinstance(value, list) and name != "projects":
                row[name] = [*value, fields]
        row |= {"brandNew": fields, "client_secret": TOKEN}
    return acme


def test_no_stream_emits_a_secret_and_each_emits_all_the_rest() -> None:
    log = Log(rows=[entries.row("1", 0, data={"token": TOKEN}, brandNew={"token": TOKEN})])
    catalog = selecting(*(stream.name for stream in STREAMS))
    with FakeSentry({"acme": log}, inventories={"acme": rich()}) as sentry:
        debug = {"LOGLEVEL": "DEBUG"}
        masking = run_tap(config(sentry), catalog=catalog, environment=debug)
        plain = run_tap(config(sentry, redact_secrets=False), catalog=catalog)

    assert TOKEN not in masking.stdout + masking.stderr
    assert len(plain.records) == len(STREAMS)
    assert all(TOKEN in json.dumps(record) for record in plain.records)
    assert masking.records == json.loads(json.dumps(plain.records).replace(TOKEN, MASKED))
