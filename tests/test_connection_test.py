"""`--test`, and `meltano config test`: a verdict whose last line says what matters."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from testing.fake_sentry import Answer, FakeSentry, Inventory, Log, entries, faults
from testing.sentry_tap import command, config, run_tap, selecting

if TYPE_CHECKING:
    from pathlib import Path

    from testing.forked import Run

OUTSIDE = "the token's user is not a member of this organization, or the token is that of another"


def serving(*slugs: str, **settings: object) -> FakeSentry:
    made = {slug: Inventory.made(slug, projects=2, events=2) for slug in slugs or ("acme",)}
    logs = {slug: Log(entries.even(3)) for slug in made}
    return FakeSentry(logs, inventories=made, **settings)  # type: ignore[arg-type]


def try_out(sentry: FakeSentry, *slugs: str) -> Run:
    named = {"organization": None, "organizations": list(slugs)} if slugs else {}
    return run_tap(config(sentry, **named), "--test")


def told(run: Run) -> list[str]:
    """Everything on stderr, without times and loggers."""
    return [line.split(" | ", 3)[-1] for line in run.stderr.splitlines()]


def test_a_good_connection_is_told_in_two_lines() -> None:
    with serving() as sentry:
        run = try_out(sentry)

    assert run.returncode == 0
    readable, verdict = told(run)
    assert readable.startswith("acme: can be read: audit_logs, events, issues, members, ")
    assert verdict == "acme: the connection works: audit_logs can be read"


def test_streams_that_are_not_selected_are_told_with_what_they_need_and_are_no_failure() -> None:
    with serving(scopes={"token": {"org:write"}}) as sentry:
        run = try_out(sentry)

    assert run.returncode == 0
    readable, lacking, verdict = told(run)
    assert readable == "acme: can be read: audit_logs, organizations, projects, teams"
    scopes = "event:read for events and issues, member:read for members, project:read for releases"
    assert lacking == f"acme: the token lacks the scopes {scopes}"
    assert verdict == "acme: the connection works: audit_logs can be read"


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        (
            {"scopes": {"token": {"org:read", "event:read"}}},
            "the token lacks the scope org:write, which audit_logs needs: make one that has it",
        ),
        (
            {"tokens": {"token": "member"}},
            "the role of the token's user (member) is too low for audit_logs: make the user an Ow",
        ),
        ({"tokens": {"token": "outsider"}}, OUTSIDE),
    ],
)
def test_each_reason_of_a_403_has_its_own_last_line(
    settings: dict[str, object], cause: str
) -> None:
    with serving(**settings) as sentry:
        run = try_out(sentry)

    assert (run.returncode, run.records) == (1, [])
    assert len(told(run)) <= 8
    assert told(run)[-1].startswith(f"acme: {cause}")
    assert told(run)[-1].endswith(
        " (GET /api/0/organizations/acme/audit-logs/ answered 403 Forbidden)"
    )


@pytest.mark.parametrize("index", [Answer(404), Answer(200, b"{}"), Answer(200, b"[1]")])
def test_a_server_that_does_not_tell_scopes_is_told_with_all_that_may_be_missing(
    index: Answer,
) -> None:
    refusing = serving(tokens={"token": "forbidden"})
    refusing.faults = lambda _, request: index if request.resource == "index" else None
    with refusing as sentry:
        run = try_out(sentry)

    assert told(run)[-1].startswith(
        "acme: the token may not read audit_logs: it needs the scope org:write (Organization: Read "
        "& Write), its user the role Owner or Manager, and on sentry.io the organization a "
        "Business plan (GET /api/0/"
    )


def test_a_scope_and_a_role_that_suffice_leave_the_plan() -> None:
    refusing = serving()
    refused = Answer(403, b'{"detail": "no"}')
    refusing.faults = lambda _, request: refused if request.resource == "audit-logs" else None
    with refusing as sentry:
        run = try_out(sentry)

    assert "Business plan" in told(run)[-1]


def test_many_organizations_are_one_line_for_each_kind_of_refusal() -> None:
    known = [f"known-{number}" for number in range(5)]
    missing = [f"missing-{number}" for number in range(4)]
    with serving(*known) as sentry:
        sentry.faults = lambda _, request: (
            Answer(403, b"{}") if request.organization == "known-2" else None
        )
        run = try_out(sentry, *known, *missing)

    assert run.returncode == 1
    first, one, last = told(run)
    assert first == "audit_logs: 4 of 9 organizations can be read"
    assert one.startswith(f"known-2: {OUTSIDE}")
    assert last.startswith("4 organizations (missing-0, missing-1, missing-2 and 1 more): there is")


def test_a_host_that_is_another_one_is_tried_for_one_stream_only() -> None:
    with serving() as sentry:
        sentry.faults = lambda *_: faults.HTML
        run = try_out(sentry)

    assert run.returncode == 1
    assert {request.resource for request in sentry.requests} == {"audit-logs"}
    assert " sent an HTML page, which Sentry's API never does" in told(run)[-1]


# --- meltano config test: stdout and stderr in one, and only the last line is shown


def last_line(sentry: FakeSentry, folder: Path, **settings: object) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps(config(sentry, **settings)))
    done = subprocess.run(
        command("--config", str(path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        check=False,
        text=True,
    )
    assert done.returncode == 1
    assert '"STATE"' not in done.stdout
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"auth_token": "wrong"}, "| acme: Sentry does not know this auth_token"),
        ({"organization": "nope"}, "| nope: there is no such organization on "),
    ],
)
def test_a_run_that_reads_nothing_writes_no_state_and_ends_with_its_cause(
    settings: dict[str, object], cause: str, tmp_path: Path
) -> None:
    with serving() as sentry:
        assert cause in last_line(sentry, tmp_path, **settings)


def test_an_organization_that_could_be_read_keeps_its_state_though_another_one_failed() -> None:
    with serving("acme", "beta") as sentry:
        del sentry.organizations["beta"]  # type: ignore[attr-defined]
        run = run_tap(config(sentry, organization=None, organizations=["acme", "beta"]))

    assert run.returncode == 1
    assert run.state
    assert told(run)[-1].startswith("beta: there is no such organization")


# --- what is selected


def test_a_selected_stream_that_cannot_be_read_fails_the_test() -> None:
    with serving(scopes={"token": {"org:write"}}) as sentry:
        catalog = selecting("audit_logs", "members")
        run = run_tap(config(sentry), "--test", catalog=catalog)

    assert run.returncode == 1
    assert told(run)[-1].startswith("acme: the token lacks the scope member:read, which members")


def test_a_log_that_is_not_selected_and_cannot_be_read_is_no_failure() -> None:
    with serving(scopes={"token": {"org:read"}}) as sentry:
        run = run_tap(config(sentry), "--test", catalog=selecting("teams"))

    assert run.returncode == 0
    assert told(run)[-1] == "acme: the connection works: teams can be read"


def test_a_test_of_nothing_is_an_error() -> None:
    with serving() as sentry:
        run = run_tap(config(sentry), "--test", catalog=selecting())

    assert run.returncode == 1
    assert told(run)[-1] == "no stream is selected, so there is nothing to test"


def test_streams_that_are_not_selected_are_tried_once() -> None:
    with serving() as sentry:
        sentry.faults = lambda _, request: Answer(503) if request.resource == "members" else None
        run = run_tap(config(sentry), "--test")

    assert run.returncode == 0
    assert [request.resource for request in sentry.requests].count("members") == 1
    assert any("members cannot be read: Sentry failed to answer" in line for line in told(run))


def test_only_known_tests_are_run() -> None:
    run = run_tap({}, "--test=foo")

    assert run.returncode == 2
    assert "--test=foo is not a test: write --test or --test=schema" in run.stderr


def test_wrong_settings_end_with_what_is_wrong(tmp_path: Path) -> None:
    with serving() as sentry:
        assert "organization is 'Acme Inc.'" in last_line(
            sentry, tmp_path, organization="Acme Inc."
        )


def test_of_several_errors_the_first_one_is_the_last_line_too(tmp_path: Path) -> None:
    several = {"organization": None, "organizations": ["nope", "neither", "nor"]}
    with serving() as sentry:
        last = last_line(sentry, tmp_path, **several)

    assert "| nope: there is no such organization" in last
    assert last.endswith(". 2 more errors stand above")
