"""Secrets in what Sentry answers: none leaves the tap, and everything else does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tap_sentry_audit.tap import STREAMS
from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.sentry_tap import config, run_tap, selecting

if TYPE_CHECKING:
    from testing.forked import Run

TOKEN = "5f0e1d2c3b4a59687786a5b4c3d2e1f0"  # noqa: S105  (it is nobody's)
MASKED = "********e1f0"

NAMES = [
    *("token", "sentry:token", "access_token", "refresh_token", "id_token", "client_secret"),
    *("secret", "secret_key", "password", "private_key", "securityToken", "accessToken"),
    *("ACCESS_TOKEN", "Password", "clientSecret", "privateKey"),
]
LOOK_ALIKES = [
    *("key", "sentry:token_header", "public_key", "hasPasswordAuth", "token_type", "tokens"),
    *("passwordless", "secretary", "expires", "sensitiveFields"),
]


def run(*rows: dict[str, Any], **options: object) -> Run:
    """Run the tap over a log of entries with these fields, one for each."""
    log = Log(rows=[entries.row(str(number), number, **row) for number, row in enumerate(rows)])
    with FakeSentry({"acme": log}) as sentry:
        ended = run_tap(config(sentry, **options), environment={"LOGLEVEL": "DEBUG"})
    assert ended.returncode == 0, ended.stderr
    assert len(ended.records) == len(rows)
    return ended


def edited(data: dict[str, Any]) -> dict[str, Any]:
    """Return a `project.edit` as Sentry 23.7.1 renders it."""
    settings = " ".join(f"in {key} to {value}" for key, value in data.items())
    return {
        "event": "project.edit",
        "data": data,
        "note": f"edited project settings {settings}",
        "actor": {"id": "7", "name": "Ada"},
        "targetUser": None,
    }


def notes(data: dict[str, Any]) -> str:
    [record] = run(edited(data)).records
    note: str = record["note"]
    return note


def test_a_projects_security_token_is_in_neither_data_nor_note() -> None:
    data = {"sentry:token": TOKEN, "sentry:token_header": "X-Sentry-Token", "id": 7, "slug": "web"}
    ended = run(edited(data))

    [record] = ended.records
    assert TOKEN not in ended.stdout + ended.stderr
    assert record["data"] == data | {"sentry:token": MASKED}
    assert record["note"] == (
        f"edited project settings in sentry:token to {MASKED} "
        "in sentry:token_header to X-Sentry-Token in id to 7 in slug to web"
    )


def test_the_oauth_tokens_of_a_linked_identity_are_masked() -> None:
    refresh = "1//0gXYZabcdefghijklmnop-qrs"
    identity = {"access_token": TOKEN, "refresh_token": refresh, "token_type": "Bearer"}
    data = {"user_id": 7, "data": identity | {"expires": 1700000000}}
    ended = run({"event": "sso-identity.link", "data": data})

    [record] = ended.records
    assert TOKEN not in ended.stdout + ended.stderr
    assert refresh not in ended.stdout + ended.stderr
    assert record["data"] == {
        "user_id": 7,
        "data": {
            "access_token": MASKED,
            "refresh_token": "********-qrs",
            "token_type": "Bearer",
            "expires": 1700000000,
        },
    }


@pytest.mark.parametrize("where", ["data", "actor", "targetUser"])
def test_every_name_is_masked_at_any_depth(where: str) -> None:
    fields = dict.fromkeys(NAMES, TOKEN)
    nested = {"a": [{"b": [[{"c": fields}]]}], **fields, "id": "7"}
    ended = run({where: nested})

    [record] = ended.records
    hidden = dict.fromkeys(NAMES, MASKED)
    expected = {"a": [{"b": [[{"c": hidden}]]}], **hidden, "id": "7"}
    assert record["targetUserDetail" if where == "targetUser" else where] == expected
    assert TOKEN not in ended.stdout + ended.stderr


def test_names_that_only_look_like_a_secret_stay() -> None:
    data = dict.fromkeys(LOOK_ALIKES, TOKEN)
    tags = [{"key": "token", "value": TOKEN}, ["Authorization", TOKEN]]
    row = edited({**data, "tags": tags, "features": ["token", "password"]})
    [record] = run(row).records

    assert {name: record[name] for name in ("data", "note")} == {
        name: row[name] for name in ("data", "note")
    }


@pytest.mark.parametrize(
    ("held", "kept"),
    [
        (None, None),
        ("", ""),
        (True, True),
        ("short", "********"),
        ("abcdefgh", "********"),
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
    [record] = run({"data": {"secret_key": held}}).records

    assert record["data"] == {"secret_key": kept}


def test_an_api_key_is_masked_in_data_and_as_the_actor_and_in_the_note() -> None:
    row = {
        "event": "api-key.edit",
        "data": {"key": TOKEN, "label": "ci"},
        "actor": {"name": f"{TOKEN} (api key)"},
        "note": f"edited api key {TOKEN}",
    }
    ended = run(row)

    [record] = ended.records
    assert TOKEN not in ended.stdout + ended.stderr
    assert record["data"] == {"key": MASKED, "label": "ci"}
    assert record["actor"] == {"name": f"{MASKED} (api key)"}
    assert record["note"] == f"edited api key {MASKED}"


# --- in notes


@pytest.mark.parametrize(
    "secret", ['it\'s "quoted"\\ä\n\t\x00end', "tab\tand\nbreaks", "łódź-łódź"]
)
@pytest.mark.parametrize(
    "note",
    [
        lambda secret: f"in a to {secret} in b",
        lambda secret: f"in a to {{'secret': {secret!r}, 'b': 1}}",
        lambda secret: f"in a to {secret!a}",
        lambda secret: f"in a to {json.dumps({'secret': secret})}",
        lambda secret: f"in a to {json.dumps(secret, ensure_ascii=False)}",
    ],
    ids=["as it is", "repr", "ascii", "JSON", "JSON with umlauts"],
)
def test_a_note_shows_a_secret_in_no_form_of_writing_it(note: Any, secret: str) -> None:  # noqa: ANN401
    text = note(secret)
    [record] = run(edited({"secret": secret}) | {"note": text}).records

    before, _, rest = text.partition(next(f for f in forms(secret) if f in text))
    assert record["note"] == before + "********" + secret[-4:] + rest


def forms(secret: str) -> list[str]:
    quoted = [repr(secret), ascii(secret), json.dumps(secret)]
    quoted.append(json.dumps(secret, ensure_ascii=False))
    return [secret, *(one[1:-1] for one in quoted)]


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
    [record] = run(edited({"secret": TOKEN}) | {"note": note}).records

    assert record["note"] == expected


def test_a_secret_within_another_one_does_not_spare_the_rest_of_it() -> None:
    data = {"token": TOKEN[4:20], "password": TOKEN, "a": [{"secret": TOKEN[8:]}]}

    assert notes(data) == (
        "edited project settings in token to ********7786 "
        f"in password to {MASKED} in a to [{{'secret': '{MASKED}'}}]"
    )


def test_a_short_secret_leaves_the_words_of_the_note_alone() -> None:
    assert notes({"token": "in", "password": "project", "secret": ""}) == (
        "edited project settings in token to in in password to project in secret to "
    )


def test_a_number_under_a_secrets_name_is_masked_in_the_note_too() -> None:
    assert notes({"token": 1234567890123}) == "edited project settings in token to ********0123"


def test_a_secret_that_is_also_a_word_takes_no_more_than_itself_from_the_note() -> None:
    assert notes({"password": "settings"}) == "edited project ******** in password to ********"


@given(st.text(st.characters(exclude_characters="*", exclude_categories=["Cs"]), min_size=9))
@example("'\"\\'\"\\'\"\\")
@example("\\\\\\\\\\\\\\\\\\")
@settings(max_examples=15, deadline=None)
def test_no_secret_of_any_characters_gets_into_a_note(secret: str) -> None:
    row = edited({"sentry:token": secret, "nested": {"secret": [secret]}})
    [record] = run(row, redact_secrets=True).records

    assert record["data"]["sentry:token"] == "********" + secret[-4:]
    assert f"to {secret} in" not in record["note"]
    assert repr(secret) not in record["note"]


# --- everything that is emitted


def rich(secret: str) -> Inventory:
    """One row for each stream, with a secret in each open field, and in a field that is new."""
    acme = Inventory.made(projects=1, teams=1, members=1, releases=1, issues=1, events=1)
    fields = {"nested": [{"password": secret, "key": "kept"}], "token": secret}
    [[event]] = acme.events.values()
    for row, opened in [
        (acme.organization, ["quota", "trustedRelays"]),
        (acme.projects[0], ["team", "latestDeploys", "teams"]),
        (acme.teams[0], ["flags", "externalTeams"]),
        (acme.members[0], ["user", "groupOrgRoles"]),
        (acme.releases[0], ["data", "authors", "owner"]),
        (acme.issues[0], ["metadata", "annotations", "stats"]),
        (event, ["contexts", "entries", "user", "_meta", "context"]),
    ]:
        for name in opened:
            row[name] = [fields] if isinstance(row[name], list) else fields
        row["brandNew"] = fields
        row["client_secret"] = secret
    return acme


def run_all(inventory: Inventory, **options: object) -> Run:
    log = Log(rows=[entries.row("1", 0, data={"token": TOKEN}, brandNew={"token": TOKEN})])
    with FakeSentry({"acme": log}, inventories={"acme": inventory}) as sentry:
        ended = run_tap(
            config(sentry, **options),
            catalog=selecting(*(stream.name for stream in STREAMS)),
            environment={"LOGLEVEL": "DEBUG"},
        )
    assert ended.returncode == 0, ended.stderr
    assert len(ended.records) == len(STREAMS)
    return ended


def test_no_stream_emits_a_secret_whatever_it_is_in() -> None:
    ended = run_all(rich(TOKEN))

    assert TOKEN not in ended.stdout + ended.stderr
    for message in ended.of_type("RECORD"):
        text = json.dumps(message["record"])
        assert MASKED in text
        if message["stream"] != "audit_logs":
            assert message["record"]["additionalFields"] == {
                "brandNew": {"nested": [{"password": MASKED, "key": "kept"}], "token": MASKED},
                "client_secret": MASKED,
            }


def test_nothing_else_changes_in_any_stream() -> None:
    masking, plain = run_all(rich(TOKEN)), run_all(rich(TOKEN), redact_secrets=False)

    def stripped(ended: Run) -> list[object]:
        return [
            message["record"] | {"links": None}  # which tell the server's port
            for message in ended.of_type("RECORD")
        ]

    shown = json.loads(json.dumps(stripped(plain)).replace(TOKEN, MASKED))
    assert stripped(masking) == shown


def test_redact_secrets_false_leaves_every_secret_as_it_is() -> None:
    rows = [edited({"sentry:token": TOKEN}), {"actor": {"name": f"{TOKEN} (api key)"}}]
    first, second = run(*rows, redact_secrets=False).records

    assert (first["data"], first["note"]) == (rows[0]["data"], rows[0]["note"])
    assert second["actor"] == rows[1]["actor"]


def test_masking_works_on_values_too_deep_for_recursion() -> None:
    deep: object = TOKEN
    for _ in range(300):
        deep = [{"x": deep}]
    ended = run({"data": {"token": deep, "plain": {"password": deep}}})

    assert TOKEN not in ended.stdout
