"""A tie wider than a page that changes while it is read, against a server model of its own."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from testing.sentry_model import Entry, Organization, SentryModel
from testing.sentry_tap import run_tap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from testing.forked import Run

TIE = 1_735_689_600_123_000
MINUTE = 60_000_000
ONE_EVENT = ["member.invite"]
SEVERAL = ["member.invite", "member.edit", "team.create"]
EVENTS = pytest.mark.parametrize("events", [ONE_EVENT, SEVERAL], ids=["one event", "several"])


def tied(first_id: int, count: int, events: list[str], seed: int = 0) -> list[Entry]:
    rng = Random(seed)  # noqa: S311
    return [
        Entry(TIE + rng.choice([0, 0, 1]), str(number), rng.choice(events), rng.choice([1, 2]))
        for number in range(first_id, first_id + count)
    ]


def log_with(tie: list[Entry]) -> Organization:
    """A tie with two hours of log on each side of it."""
    organization = Organization()
    organization.add(Entry(TIE + n * MINUTE, str(9000 + n)) for n in range(-120, 121) if n)
    organization.add(tie)
    return organization


def read(organization: Organization, changes: Iterable[Callable[[], object]], seed: int = 0) -> Run:
    """Run the tap; make the next change before each request about the tie."""
    pending = iter(changes)

    def before_answer(asked: dict[str, str]) -> None:
        # Reading on needs neither a filter nor a cursor towards older entries.
        if "event" in asked or asked.get("cursor", "").endswith(":0"):
            next(pending, lambda: None)()

    organization.before_answer = before_answer
    with SentryModel({"acme": organization}, seed) as sentry:
        settings = {"auth_token": "token", "organization": "acme", "host": sentry.url}
        return run_tap(settings | {"requests_per_second": 1000, "max_concurrent_requests": 1})


def nothing() -> None:
    """Change nothing."""


@EVENTS
@pytest.mark.parametrize("query", range(1, 8))
def test_a_tie_that_grows_while_it_is_read_loses_no_entry(query: int, events: list[str]) -> None:
    organization = log_with(tied(1, 150, events, query))
    before = set(organization.entries)
    more = tied(501, 40, events, query)
    run = read(organization, [nothing] * (query - 1) + [lambda: organization.add(more)], query)

    # The first count takes two queries, so a second one follows the fourth at the earliest.
    needed = set(organization.entries) if query <= 4 else before
    assert run.returncode == 0, run.stderr
    assert set(run.ids) >= needed
    assert len(run.ids) == len(set(run.ids))


@EVENTS
@pytest.mark.parametrize("seed", range(6))
def test_entries_that_come_and_go_in_a_tie_hide_no_other(seed: int, events: list[str]) -> None:
    rng = Random(seed)  # noqa: S311
    organization = log_with(tied(1, 150, events, seed))
    before = set(organization.entries)
    new = iter(tied(501, 20, events, seed))

    def replace_one() -> None:
        tie = [e for e in organization.entries.values() if e.at // 1000 == TIE // 1000]
        del organization.entries[rng.choice(tie).id]
        organization.add([next(new)])

    run = read(organization, [rng.choice([replace_one, nothing]) for _ in range(12)], seed)

    assert run.returncode == 0, run.stderr
    assert before & organization.entries.keys() <= set(run.ids)
    assert len(run.ids) == len(set(run.ids))


@pytest.mark.parametrize("seed", range(4))
def test_entries_of_many_people_that_come_and_go_hide_no_other(seed: int) -> None:
    rng = Random(seed)  # noqa: S311
    numbers = iter(range(1, 9_000))

    def one() -> Entry:
        return Entry(TIE, str(next(numbers)), rng.choice(SEVERAL[:2]), rng.randrange(120))

    organization = log_with([one() for _ in range(260)])
    before = set(organization.entries)

    def replace_some() -> None:
        if rng.random() < 0.05:
            tie = [entry for entry in organization.entries.values() if entry.at == TIE]
            del organization.entries[rng.choice(tie).id]
            organization.add([one()])

    run = read(organization, [replace_some] * 2_000, seed)

    lost = before & organization.entries.keys() - set(run.ids)
    assert not lost or run.returncode == 1


def test_a_tie_that_never_stops_changing_is_an_error_with_its_time_and_numbers() -> None:
    organization = log_with(tied(1, 150, ONE_EVENT))
    more = iter(range(501, 9_000))
    run = read(organization, [lambda: organization.add([Entry(TIE, str(next(more)))])] * 2_000)

    assert run.returncode == 1
    [error] = run.errors
    assert error.startswith("acme: entries may be missing: ")
    assert "2025-01-01T00:00:00.123000Z" in error
    assert {str(number) for number in range(1, 151)} <= set(run.ids)
    assert str(9000 + 120) in run.ids
