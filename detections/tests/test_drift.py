"""What differs between rows and log: by the last entry, and from an earlier run on."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from sentry_audit_detections.database import opened
from sentry_audit_detections.drift import drift

if TYPE_CHECKING:
    from pathlib import Path

Row = dict[str, Any]

ORGANIZATION: Row = {
    "id": "18",
    "organization": "acme",
    "slug": "acme",
    "name": "Acme",
    "defaultRole": "member",
    "openMembership": True,
    "allowSharedIssues": True,
    "require2FA": False,
    "hasAuthProvider": False,
    "requireEmailVerification": False,
    "safeFields": [],
}
MEMBER: Row = {
    "id": "166",
    "organization": "acme",
    "email": "ada@acme.example",
    "orgRole": "member",
    "user": {"id": "7", "has2fa": True},
}


def entry(event: str, data: Row, target: int | None = 18, serial: count[int] = count(1)) -> Row:  # noqa: B008  (one for all)
    number = next(serial)
    created = f"2026-11-22T03:00:00.{number:06}Z"
    return {
        "id": str(number),
        "organization": "acme",
        "event": event,
        "actor": None,
        "data": data,
        "targetObject": target,
        "dateCreated": created,
    }


def write(folder: Path, log: list[Row], organization: Row, *members: Row) -> str:
    """Write the files of a run, and return the path of its log."""
    folder.mkdir()
    files = {"audit_logs": log, "organizations": [organization], "members": list(members)}
    for name, rows in files.items():
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    return str(folder / "audit_logs.jsonl")


def found_in(now: str, before: str | None = None) -> list[str]:
    with ExitStack() as stack:
        former = stack.enter_context(opened(before, "")) if before else None
        found = list(drift(stack.enter_context(opened(now, "")), former))
    return [f"{each.subject} {each.detail}" for each in found]


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ([("org.edit", {"allow_joinleave": "to True"}, 18)], []),
        (
            [("org.edit", {"allow_joinleave": "to False"}, 18)],
            ["openMembership is True, and the last entry says 'allow_joinleave to False'"],
        ),
        ([("org.edit", {"disable_shared_issues": "to False"}, 18)], []),
        (
            [("org.edit", {"disable_shared_issues": "to True"}, 18)],
            ["allowSharedIssues is True, and the last entry says 'disable_shared_issues to True'"],
        ),
        ([("org.edit", {"require_2fa": "to False when enabling SSO"}, 18)], []),
        ([("org.edit", {"name": "from Road to Rome to Acme"}, 18)], []),
        ([("org.edit", {"safeFields": "from ['a'] to ['b']"}, 18)], []),
        ([("org.create", {"name": "Acme", "slug": "acme", "default_role": "member"}, 18)], []),
        ([("sso.enable", {}, 3)], ["single sign-on is off, and no entry"]),
        ([("sso.enable", {}, 3), ("sso.disable", {}, 3)], []),
        ([("member.invite", {"role": "member"}, 166)], []),
        (
            [("member.invite", {"role": "member"}, 166), ("member.edit", {"role": "owner"}, 166)],
            ["member ada@acme.example is member, and the last entry says owner"],
        ),
    ],
)
def test_the_last_entry_about_something_has_to_agree_with_the_row(
    tmp_path: Path, log: list[tuple[str, Row, int]], found: list[str]
) -> None:
    path = write(tmp_path / "now", [entry(*each) for each in log], ORGANIZATION, MEMBER)

    assert found_in(path) == found


def test_changes_since_an_earlier_run_without_an_entry_are_named(tmp_path: Path) -> None:
    other = MEMBER | {"id": "167", "email": "eve@acme.example"}
    without = MEMBER | {"user": {"id": "7", "has2fa": False}, "orgRole": "owner"}
    before = write(tmp_path / "before", [], ORGANIZATION, MEMBER, other)
    changed = {"openMembership": False, "requireEmailVerification": True, "hasAuthProvider": True}
    new = MEMBER | {"id": "168", "email": "new@acme.example"}
    now = write(tmp_path / "now", [], ORGANIZATION | changed, without, new)

    assert found_in(now, before) == [
        "openMembership True -> False, and no entry",
        "requireEmailVerification False -> True, never logged",
        "single sign-on is on, and no entry",
        "member ada@acme.example member -> owner, and no entry",
        "member ada@acme.example has no second factor any longer, never logged",
        "member eve@acme.example is gone, and no entry",
        "member new@acme.example is new, as member, and no entry",
    ]


def test_changes_with_an_entry_are_not(tmp_path: Path) -> None:
    other = MEMBER | {"id": "167", "email": "eve@acme.example"}
    new = MEMBER | {"id": "168", "email": "new@acme.example"}
    before = write(tmp_path / "before", [], ORGANIZATION, MEMBER, other)
    log = [
        entry("org.edit", {"allow_joinleave": "to False"}),
        entry("sso.enable", {"provider": "okta"}, 3),
        entry("member.edit", {"role": "owner", "email": "ada@acme.example"}, 166),
        # 23.7.1 does not say which membership it was.
        entry("member.remove", {"role": "member", "email": "eve@acme.example"}, None),
        entry("member.invite", {"role": "member", "email": "new@acme.example"}, 168),
    ]
    changed = {"openMembership": False, "hasAuthProvider": True}
    now = write(tmp_path / "now", log, ORGANIZATION | changed, MEMBER | {"orgRole": "owner"}, new)

    assert found_in(now, before) == []


def test_the_command_tells_of_drift_and_counts_it_as_medium(tmp_path: Path) -> None:
    before = write(tmp_path / "before", [], ORGANIZATION, MEMBER)
    now = write(tmp_path / "now", [], ORGANIZATION | {"openMembership": False}, MEMBER)
    command = [sys.executable, "-m", "sentry_audit_detections", now, "--before", before]
    for options, code, words in (
        (["--fail-on=medium"], 3, "  acme  openMembership  True -> False, and no entry\n"),
        (["--fail-on=high", "--format=json"], 0, '"detection": "drift"'),
    ):
        done = subprocess.run(
            [*command, *options], capture_output=True, encoding="utf-8", check=False
        )
        assert (done.returncode, words in done.stdout) == (code, True)


def test_an_entry_of_before_the_earlier_run_explains_nothing(tmp_path: Path) -> None:
    log = [
        entry("org.edit", {"allow_joinleave": "to False"}),
        entry("sso.enable", {"provider": "okta"}, 3),
        entry("member.edit", {"role": "owner", "email": "ada@acme.example"}, 166),
        entry("member.remove", {"role": "member", "email": "eve@acme.example"}, None),
    ]
    other = MEMBER | {"id": "167", "email": "eve@acme.example"}
    before = write(tmp_path / "before", log, ORGANIZATION, MEMBER, other)
    changed = {"openMembership": False, "hasAuthProvider": True}
    now = write(tmp_path / "now", log, ORGANIZATION | changed, MEMBER | {"orgRole": "owner"})

    assert found_in(now, before) == [
        "openMembership True -> False, and no entry",
        "single sign-on is on, and no entry",
        "member ada@acme.example member -> owner, and no entry",
        "member eve@acme.example is gone, and no entry",
    ]


def test_an_earlier_run_can_be_a_schema_of_the_same_database(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = str(tmp_path / "audit.duckdb")
    with duckdb.connect(path) as connection:
        for schema, row in (
            ("sentry_before", ORGANIZATION),
            ("sentry", ORGANIZATION | {"openMembership": False}),
        ):
            folder = tmp_path / schema
            write(folder, [entry("org.create", {})], row, MEMBER)
            connection.execute(f"CREATE SCHEMA {schema}")
            for name in ("audit_logs", "organizations", "members"):
                rows = f"read_json('{folder}/{name}.jsonl')"
                connection.execute(f"CREATE TABLE {schema}.{name} AS SELECT * FROM {rows}")  # noqa: S608  (our own)
    command = [sys.executable, "-m", "sentry_audit_detections", path, "--before-schema"]
    for schema, code, words in (
        ("sentry_before", 3, "openMembership  True -> False, and no entry"),
        ("sentry_befor", 1, "the schema sentry_befor has no table"),
    ):
        done = subprocess.run(
            [*command, schema, "--fail-on=medium", "--only=13"],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert words in done.stdout + done.stderr
        assert done.returncode == code
