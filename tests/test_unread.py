"""`--unread-for`: an alarm for organizations that nobody reads any more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from testing.fake_sentry import FakeSentry, Log, entries
from testing.sentry_tap import config, run_tap

if TYPE_CHECKING:
    from testing.forked import Message


def state(**minutes: float | None) -> Message:
    """A state of organizations that were read so many minutes ago, or never."""
    now = datetime.now(UTC)
    partitions: list[Message] = []
    for slug, ago in minutes.items():
        partition: Message = {"context": {"organization": slug}}
        if ago is not None:
            partition["last_read"] = (now - timedelta(minutes=ago)).isoformat()
        partitions.append(partition)
    return {"bookmarks": {"audit_logs": {"partitions": partitions}}}


def test_organizations_that_were_not_read_for_too_long_are_listed_and_the_code_is_3() -> None:
    given = state(acme=10, beta=150, gamma=None)
    run = run_tap({}, "--unread-for", "90", state={"singer_state": given})

    assert run.returncode == 3
    beta, gamma, summary = run.stdout.splitlines()
    assert beta.startswith("beta: last read to its end at ")
    assert beta.endswith(" UTC, 150 min ago")
    assert gamma == "gamma: never read to its end, as far as this state knows"
    assert summary == ("Organizations: 3, 2 of them not read to their end in the last 90 minutes")


def test_organizations_that_were_read_in_time_are_no_alarm() -> None:
    run = run_tap({}, "--unread-for", "90", state=state(acme=10, beta=89))

    assert run.returncode == 0
    assert run.stdout == "Organizations: 2, all read to their end in the last 90 minutes\n"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"organization": "acme"}, 0),
        ({"organizations": ["acme", "beta"]}, 3),
        ({"organizations": ["acme", "new"]}, 3),
        ({"host": "sentry.example.com"}, 1),
        ({"organisation": "acme"}, 1),
    ],
)
def test_of_a_configuration_only_its_organizations_count(
    settings: dict[str, object], code: int
) -> None:
    assert run_tap(settings, "--unread-for=60", state=state(acme=1, beta=99)).returncode == code


def test_the_organizations_can_come_from_the_environment() -> None:
    environment = {"TAP_SENTRY_AUDIT_ORGANIZATION": "acme"}
    run = run_tap(
        {"organization": "gone"},
        *("--config=ENV", "--unread-for=60"),
        state=state(acme=99, beta=1),
        environment=environment,
    )

    assert run.returncode == 3
    assert run.stdout.startswith("acme: ")


def test_a_clock_that_runs_ahead_hides_no_organization() -> None:
    run = run_tap({}, "--unread-for", "90", state=state(acme=-5, beta=-1440))

    assert run.returncode == 3
    beta, summary = run.stdout.splitlines()
    assert beta.startswith("beta: last read at ")
    assert beta.endswith("ahead of this machine's clock: check both")
    assert summary.startswith("Organizations: 2, 1 of them")


def test_minutes_that_no_calendar_has_are_refused() -> None:
    run = run_tap({}, "--unread-for", "9" * 20, state=state(acme=1))

    assert run.returncode == 2
    assert "is not in the range" in run.stderr


def test_a_state_without_organizations_is_an_alarm() -> None:
    run = run_tap({}, "--unread-for", "90", state={})

    assert run.returncode == 3
    assert run.stdout == "The state has no organization: nothing has ever been read with it\n"


@pytest.mark.parametrize("given", [None, [], {"bookmarks": 5}, {"bookmarks": {"users": {}}}])
def test_what_is_no_state_is_an_error_and_no_alarm(given: object) -> None:
    run = run_tap({}, "--unread-for", "90", state=given)

    assert run.returncode in {1, 2}
    assert "state" in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr


def test_a_slug_that_is_none_is_an_error() -> None:
    run = run_tap({"organization": "a/b"}, "--unread-for", "90", state=state(acme=1))

    assert run.returncode == 1
    assert "'a/b', which is not a slug" in run.errors[-1]


def test_a_run_that_fails_for_one_organization_raises_the_alarm_for_that_one() -> None:
    with FakeSentry({"acme": Log(entries.even(5))}) as sentry:
        run = run_tap(config(sentry, organization=None, organizations=["acme", "missing"]))
    alarm = run_tap({}, "--unread-for", "5", state=run.state)

    assert alarm.returncode == 3
    assert [line.partition(":")[0] for line in alarm.stdout.splitlines()] == [
        "missing",
        "Organizations",
    ]
