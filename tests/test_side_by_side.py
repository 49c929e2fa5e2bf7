"""Several organizations: read side by side, sent one after the other."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING

import pytest

from tap_sentry_audit.api.concurrency import ReadAhead
from testing.fake_sentry import FakeSentry, Log, entries, faults
from testing.sentry_tap import config, run_tap
from testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_sentry_audit.api.concurrency import Attempt
    from testing.fake_sentry import Request
    from testing.fake_sentry.faults import Fault
    from testing.forked import Run

SLUGS = [f"org-{number:02}" for number in range(30)]


def logs(count: int = 3) -> dict[str, Log]:
    """The logs of all organizations; no two entries have the same id."""
    return {
        slug: Log(entries.even(count), first_id=1_000_000 + 10_000 * number)
        for number, slug in enumerate(SLUGS)
    }


def read(
    sentry: FakeSentry,
    state: object = None,
    environment: Mapping[str, str] | None = None,
    **settings: object,
) -> Run:
    of_all = config(sentry, organization=None, organizations=list(sentry.organizations))
    return run_tap(of_all | settings, state=state, environment=environment)


def sent_by(run: Run) -> list[str]:
    """The organizations in the order of their records."""
    return [slug for slug, _ in groupby(record["organization"] for record in run.records)]


def expected(organizations: Mapping[str, Log]) -> list[str]:
    return [row["id"] for log in organizations.values() for row in log.rows() if row]


def test_a_first_run_asks_once_for_each_organization_and_sends_them_in_order() -> None:
    with FakeSentry(logs(), latency=0.02) as sentry:
        run = read(sentry)

    assert run.ids == expected(sentry.organizations)
    assert Counter(request.organization for request in sentry.requests) == dict.fromkeys(SLUGS, 1)
    assert 1 < sentry.max_concurrent <= 12


def test_a_run_with_nothing_new_asks_once_for_each_organization() -> None:
    with FakeSentry(logs(), latency=0.02) as sentry:
        first = read(sentry)
        sentry.requests.clear()
        second = read(sentry, first.state)

    assert second.ids == []
    assert Counter(request.organization for request in sentry.requests) == dict.fromkeys(SLUGS, 1)


def test_without_backfill_each_organization_goes_on_from_its_own_position() -> None:
    with FakeSentry(logs()) as sentry:
        first = read(sentry, backfill=False)
        after = entries.micros(entries.UNTIL) + 1
        new = [log.add([after])[0] for log in sentry.organizations.values()]
        second = read(sentry, first.state, backfill=False)

    assert first.ids == []
    assert second.ids == new


@pytest.mark.parametrize("at_once", [1, 3])
def test_no_more_pages_are_read_ahead_than_requests_are_allowed_at_once(at_once: int) -> None:
    asked_meanwhile: set[str | None] = set()

    def hang_once(_: int, request: Request) -> None:
        """Hold up the first organization at its second page."""
        asked = [each.organization for each in list(sentry.requests)]
        if request.organization == "large" and asked.count("large") == 2:
            time.sleep(1)
            asked_meanwhile.update(each.organization for each in list(sentry.requests))

    with FakeSentry({"large": Log(entries.even(250))} | logs(), faults=hang_once) as sentry:
        run = read(sentry, max_concurrent_requests=at_once)

    assert run.ids == expected(sentry.organizations)
    assert 1 <= len(asked_meanwhile - {"large"}) <= at_once


def test_an_organization_that_fails_for_a_while_comes_after_the_others() -> None:
    seen: Counter[str | None] = Counter()

    def fail(_: int, request: Request) -> Fault | None:
        seen[request.organization] += 1
        is_bad = request.organization in SLUGS[:8] and seen[request.organization] <= 4
        return faults.status(503) if is_bad else None

    with FakeSentry(logs(), faults=fail) as sentry:
        run = read(sentry, max_concurrent_requests=2)

    assert run.returncode == 0
    assert sorted(run.ids) == expected(sentry.organizations)
    assert sent_by(run) == [*SLUGS[8:], *SLUGS[:8]]


def test_organizations_that_cannot_be_read_do_not_keep_others_from_being_read() -> None:
    held = logs()
    missing = [f"missing-{number}" for number in range(40)]
    with FakeSentry(held) as sentry:
        slugs = [slug for pair in zip(missing, SLUGS, strict=False) for slug in pair]
        run = read(sentry, organizations=slugs + missing[len(SLUGS) :])

    assert run.returncode == 1
    assert run.ids == expected(held)
    *errors, last = run.errors
    assert len(errors) == len(missing)
    assert last == f"{errors[0]}. 39 more errors stand above"


def test_the_line_of_an_organization_counts_its_own_requests() -> None:
    tries = {1: faults.status(503), 2: faults.status(503)}
    with FakeSentry({"acme": Log(entries.even(5)), **logs()}, faults=tries) as sentry:
        run = read(sentry, environment={"LOGLEVEL": "DEBUG"})

    lines = [line for line in run.log("DEBUG") if " new entries in " in line]
    counted = {line.split()[0]: int(line.split(" request")[0].split()[-1]) for line in lines}
    assert counted == Counter(request.organization for request in sentry.requests)


# --- the pool by itself


def test_results_that_nobody_takes_hold_up_the_rest() -> None:
    begun: list[int] = []

    def work(key: int, attempt: Attempt) -> int:
        with attempt():
            begun.append(key)
        return key

    ahead = ReadAhead(work, range(50), most=4)
    assert ahead.take(0, 5) == 0
    time.sleep(0.1)

    assert len(begun) == 5
    assert [ahead.take(key, 5) for key in range(1, 50)] == list(range(1, 50))


def test_work_that_waits_to_try_again_leaves_its_place_to_others() -> None:
    may_succeed = threading.Event()

    def work(key: int, attempt: Attempt) -> int:
        if key < 10:
            with suppress(ZeroDivisionError), attempt():
                _ = 1 // 0
            may_succeed.wait(10)
        with attempt():
            return key

    ahead = ReadAhead(work, range(20), most=2)
    assert ahead.take(0, 0.05) is None
    assert [ahead.take(key, 5) for key in range(10, 20)] == list(range(10, 20))
    wait_until(lambda: all(ahead.is_failing(key, 0) for key in range(10)))
    may_succeed.set()
    assert [ahead.take(key, 5) for key in range(10)] == list(range(10))
    assert ahead.attempts(0) == 2


def test_an_error_of_the_work_comes_when_its_result_is_taken() -> None:
    def work(key: int, _: object) -> int:
        return 1 // key

    ahead = ReadAhead(work, [0, 1], most=1)

    assert ahead.take(1, 5) == 1
    with pytest.raises(ZeroDivisionError):
        ahead.take(0, 5)
