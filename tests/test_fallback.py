"""Servers that do not take cursors of ours: their own are followed, from the newest entry back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tap_sentry_audit.streams.audit_logs import AuditLogs
from testing.fake_sentry import FakeSentry, Log, entries, faults
from testing.reading import expected
from testing.sentry_tap import config, run_tap, without_waits

if TYPE_CHECKING:
    from typing import Literal

    from testing.fake_sentry import Request
    from testing.fake_sentry.faults import Fault

    Foreign = Literal["refuse", "ignore"]

DAY = 86_400_000_000
NEW_YEAR = entries.micros(entries.UNTIL)
FOREIGN = pytest.mark.parametrize("foreign", ["refuse", "ignore"])


def delivered(sentry: FakeSentry, **settings: object) -> list[str]:
    """Ids that the stream sends in this process."""
    stream = AuditLogs(without_waits(config(sentry, **settings)))
    return [record["id"] for record in stream.get_records({"organization": "acme"})]


@FOREIGN
@pytest.mark.parametrize(("count", "old_body"), [(0, False), (99, True), (100, True), (250, False)])
def test_every_entry_comes_once_and_oldest_first(
    foreign: Foreign, count: int, *, old_body: bool
) -> None:
    log = Log(entries.even(count))
    with FakeSentry({"acme": log}, foreign_cursors=foreign, old_body=old_body) as sentry:
        assert delivered(sentry) == expected(log)


@FOREIGN
def test_tied_entries_at_the_end_of_a_page_come_once_at_most(foreign: Foreign) -> None:
    log = Log([*range(NEW_YEAR, NEW_YEAR + 80), *[NEW_YEAR - 1] * 40], ties="shuffled")
    with FakeSentry({"acme": log}, foreign_cursors=foreign) as sentry:
        found = delivered(sentry)

    assert len(set(found)) == len(found)


@FOREIGN
def test_start_date_and_end_date_are_honoured(foreign: Foreign) -> None:
    start, end = NEW_YEAR - 20 * DAY, NEW_YEAR - 10 * DAY
    log = Log([*entries.even(500), start - 1, start, end - 1, end])
    inside = [
        row["id"] for row in log.rows() if row and start <= entries.micros(row["dateCreated"]) < end
    ]
    with FakeSentry({"acme": log}, foreign_cursors=foreign) as sentry:
        found = delivered(sentry, start_date="2024-12-12T00:00:00Z", end_date="2024-12-22")

    assert found == inside


def test_with_a_start_date_what_lies_long_before_is_not_requested() -> None:
    log = Log(entries.even(3000))
    with FakeSentry({"acme": log}, foreign_cursors="refuse") as sentry:
        delivered(sentry, start_date="2024-12-31T00:00:00Z")

        assert len(sentry.requests) <= 4


@FOREIGN
def test_a_run_warns_and_the_next_one_sends_only_what_is_new(foreign: Foreign) -> None:
    log = Log(entries.even(350))
    with FakeSentry({"acme": log}, foreign_cursors=foreign) as sentry:
        first = run_tap(config(sentry))
        new = log.add([NEW_YEAR - 1, *range(NEW_YEAR, NEW_YEAR + 120)])
        second = run_tap(config(sentry), state=first.state)

    assert first.ids + second.ids == expected(log)
    assert second.ids == new
    assert (first.returncode, second.returncode) == (0, 0)
    [warning] = first.log("WARNING")
    assert warning.startswith("acme: this server does not accept cursors that it did not make.")


def test_an_ignored_cursor_is_found_out_if_the_newest_page_is_all_null_rows() -> None:
    log = Log(range(NEW_YEAR, NEW_YEAR + 150))
    for number in range(100):
        log.put(None, NEW_YEAR + DAY + number)
    with FakeSentry({"acme": log}, foreign_cursors="ignore") as sentry:
        assert delivered(sentry) == expected(log)


def test_a_server_that_refuses_a_cursor_on_the_way_is_an_error_and_nothing_comes_twice() -> None:
    log = Log(entries.even(350))

    def refuse_later(number: int, _: Request) -> Fault | None:
        return faults.status(400) if number > 2 else None

    with FakeSentry({"acme": log}, faults=refuse_later) as sentry:
        run = run_tap(config(sentry, max_concurrent_requests=1))

    assert run.returncode == 1
    assert run.ids == expected(log)[: len(run.ids)]
    assert run.ids
    assert run.errors == ["acme: the server no longer answers as it was asked to: run again"]


@FOREIGN
@pytest.mark.parametrize("count", [0, 250])
def test_without_backfill_a_first_run_takes_a_position(foreign: Foreign, count: int) -> None:
    log = Log(entries.even(count))
    with FakeSentry({"acme": log}, foreign_cursors=foreign) as sentry:
        first = run_tap(config(sentry, backfill=False))
        new = log.add([NEW_YEAR + DAY])
        second = run_tap(config(sentry, backfill=False), state=first.state)

    assert (first.returncode, first.ids) == (0, [])
    assert (second.returncode, second.ids) == (0, new)


# --- servers that are odd in other ways: the log is read whole, or the run fails and says why


ODD: dict[str, dict[str, Any]] = {
    "no links": {"sends_links": False},
    "small pages": {"page_size": 30},
    "small pages and no links": {"page_size": 30, "sends_links": False},
    "no direction": {"knows_newer": False},
    "no direction and small pages": {"knows_newer": False, "page_size": 30},
    "cursors refused and small pages": {"foreign_cursors": "refuse", "page_size": 30},
}
HOPELESS: dict[str, dict[str, Any]] = {
    "refused and no links": {"foreign_cursors": "refuse", "sends_links": False},
    "ignored and no links": {"foreign_cursors": "ignore", "sends_links": False},
    "no direction and no links": {"knows_newer": False, "sends_links": False},
    "the last page for ever": {"endless": "same"},
    "the last page for ever, refused": {"endless": "same", "foreign_cursors": "refuse"},
    "empty pages for ever": {"endless": "empty"},
    "empty pages for ever, refused": {"endless": "empty", "foreign_cursors": "refuse"},
}
COUNTS = pytest.mark.parametrize("count", [0, 1, 30, 100, 250])


@pytest.mark.parametrize("name", ODD)
@COUNTS
def test_a_first_run_reads_an_odd_server_whole(name: str, count: int) -> None:
    log = Log(entries.even(count))
    with FakeSentry({"acme": log}, **ODD[name]) as sentry:
        assert delivered(sentry) == expected(log)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("count", [40, 250])
def test_later_runs_bring_what_is_new_on_an_odd_server(name: str, count: int) -> None:
    log = Log(entries.even(count))
    with FakeSentry({"acme": log}, **ODD[name]) as sentry:
        first = run_tap(config(sentry, backfill=False))
        new = log.add([NEW_YEAR - 1, *range(NEW_YEAR, NEW_YEAR + 120)])
        second = run_tap(config(sentry, backfill=False), state=first.state)
        third = run_tap(config(sentry), state=second.state)

    assert (first.returncode, first.ids) == (0, [])
    assert (second.returncode, sorted(second.ids)) == (0, sorted(new))
    assert (third.returncode, third.ids) == (0, [])


@pytest.mark.parametrize("name", [*ODD, *HOPELESS])
def test_a_range_of_an_odd_server_is_whole_or_an_error(name: str) -> None:
    log = Log(entries.even(250))
    start, end = NEW_YEAR - 20 * DAY, NEW_YEAR - 10 * DAY
    inside = [
        row["id"] for row in log.rows() if row and start <= entries.micros(row["dateCreated"]) < end
    ]
    with FakeSentry({"acme": log}, **(ODD | HOPELESS)[name]) as sentry:
        run = run_tap(config(sentry, start_date="2024-12-12", end_date="2024-12-22"))

        assert len(sentry.requests) < 300
    assert run.ids == inside or run.returncode == 1
    assert (name in ODD) <= (run.ids == inside)


@pytest.mark.parametrize("name", HOPELESS)
@pytest.mark.parametrize("count", [40, 250])
def test_a_server_that_cannot_be_read_whole_is_an_error_and_no_endless_loop(
    name: str, count: int
) -> None:
    log = Log(entries.even(count))
    with FakeSentry({"acme": log}, **HOPELESS[name]) as sentry:
        run = run_tap(config(sentry))
        later = run_tap(config(sentry), state=run.state)

        assert len(sentry.requests) < 300
    is_whole = run.ids + later.ids == expected(log)
    assert is_whole or 1 in {run.returncode, later.returncode}
    assert (run.returncode == 1) <= bool(run.errors)


def test_a_tie_that_is_wider_than_a_page_is_read_whole_without_links() -> None:
    same = {"event": "x", "actor": {"name": "SCIM"}}
    rows = [entries.row(f"{number}", NEW_YEAR, **same) for number in range(180)]
    log = Log([NEW_YEAR - DAY, NEW_YEAR + DAY], rows=rows)
    with FakeSentry({"acme": log}, sends_links=False) as sentry:
        run = run_tap(config(sentry))

    assert sorted(run.ids) == sorted(expected(log)) or run.returncode == 1


# --- before 1970


@pytest.mark.parametrize("count", [1, 99, 100, 250])
@pytest.mark.parametrize("after", [0, 1, 120])
def test_entries_from_before_1970_come_first(count: int, after: int) -> None:
    log = Log([*range(-count * DAY, 0, DAY), *entries.even(after)])
    with FakeSentry({"acme": log}) as sentry:
        first = run_tap(config(sentry))
        later = run_tap(config(sentry), state=first.state)

    assert (first.returncode, first.ids) == (0, expected(log))
    assert (later.returncode, later.ids) == (0, [])


def test_a_start_date_may_lie_before_1970() -> None:
    log = Log([-20 * 365 * DAY, -5 * 365 * DAY, -1, 0, NEW_YEAR])
    with FakeSentry({"acme": log}) as sentry:
        assert delivered(sentry, start_date="1960-01-01") == expected(log)[1:]
