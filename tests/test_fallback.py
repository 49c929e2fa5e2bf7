"""Servers that do not take cursors of ours: their own are followed, from the newest entry back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tap_sentry_audit.audit_log.pages import fetch_from
from tap_sentry_audit.audit_log.reader import CursorIgnoredError, read_range
from tap_sentry_audit.streams.audit_logs import AuditLogs
from tap_sentry_audit.tap import TapSentryAudit
from testing.fake_sentry import FakeSentry, Log, entries
from testing.reading import expected
from testing.sentry_tap import config, run_tap

if TYPE_CHECKING:
    from typing import Literal

    Foreign = Literal["refuse", "ignore"]

DAY = 86_400_000_000
NEW_YEAR = entries.micros(entries.UNTIL)
FOREIGN = pytest.mark.parametrize("foreign", ["refuse", "ignore"])
WARNING = "acme: this server does not take cursors that it did not make."


def delivered(sentry: FakeSentry, **settings: object) -> list[str]:
    """Ids that the stream sends in this process."""
    fast = config(sentry, requests_per_second=1000, **settings)
    stream = AuditLogs(TapSentryAudit(config=fast))
    return [record["id"] for record in stream.get_records({"organization": "acme"})]


@FOREIGN
@pytest.mark.parametrize("old_body", [False, True])
@pytest.mark.parametrize("count", [0, 1, 5, 99, 100, 101, 200, 1000])
def test_every_entry_comes_once_and_oldest_first(
    foreign: Foreign, count: int, *, old_body: bool
) -> None:
    log = Log(entries.even(count))
    with FakeSentry({"acme": log}, foreign_cursors=foreign, old_body=old_body) as sentry:
        assert delivered(sentry) == expected(log)


@FOREIGN
def test_a_run_says_so_and_succeeds(foreign: Foreign) -> None:
    log = Log(entries.even(250))
    with FakeSentry({"acme": log}, foreign_cursors=foreign) as sentry:
        run = run_tap(config(sentry))

    assert run.returncode == 0
    assert run.ids == expected(log)
    [warning] = run.log("WARNING")
    assert warning.startswith(WARNING)


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


def test_with_a_start_date_what_lies_long_before_is_not_asked_for() -> None:
    log = Log(entries.even(3000))
    with FakeSentry({"acme": log}, foreign_cursors="refuse") as sentry:
        delivered(sentry, start_date="2024-12-31T00:00:00Z")

        assert len(sentry.requests) <= 4


@FOREIGN
def test_the_next_run_sends_only_what_is_new(foreign: Foreign) -> None:
    log = Log(entries.even(350))
    with FakeSentry({"acme": log}, foreign_cursors=foreign) as sentry:
        first = run_tap(config(sentry))
        new = log.add([NEW_YEAR - 1, *range(NEW_YEAR, NEW_YEAR + 120)])
        second = run_tap(config(sentry), state=first.state)

    assert first.ids + second.ids == expected(log)
    assert second.ids == new
    assert second.returncode == 0


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("count", [100, 101, 1000])
def test_an_ignored_cursor_is_found_out(count: int, width: int) -> None:
    log = Log(entries.even(count))
    with FakeSentry({"acme": log}, foreign_cursors="ignore") as sentry:
        fetch = fetch_from(TapSentryAudit(config=config(sentry)).client, "acme", "")

        with pytest.raises(CursorIgnoredError):
            list(read_range(fetch, None, None, lambda _: width))


def test_an_ignored_cursor_is_found_out_if_the_newest_page_is_all_null_rows() -> None:
    log = Log(range(NEW_YEAR, NEW_YEAR + 150))
    for number in range(100):
        log.put(None, NEW_YEAR + DAY + number)
    with FakeSentry({"acme": log}, foreign_cursors="ignore") as sentry:
        assert delivered(sentry) == expected(log)


@FOREIGN
@pytest.mark.parametrize("count", [0, 5, 250])
def test_without_backfill_a_first_run_takes_a_position(foreign: Foreign, count: int) -> None:
    log = Log(entries.even(count))
    with FakeSentry({"acme": log}, foreign_cursors=foreign) as sentry:
        first = run_tap(config(sentry, backfill=False))
        new = log.add([NEW_YEAR + DAY])
        second = run_tap(config(sentry, backfill=False), state=first.state)

    assert (first.returncode, first.ids) == (0, [])
    assert (second.returncode, second.ids) == (0, new)
