"""A bookmark across runs: what it reads again, and what it knows to be delivered."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sentry_audit.streams.bookmark import Bookmark

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def after_restart(bookmark: Bookmark, lookback: timedelta = HOUR) -> Bookmark:
    """What the next run makes of the state that this one wrote."""
    return Bookmark.from_state(json.loads(json.dumps(bookmark.to_state())), lookback)


def holding(created: datetime, server_time: datetime, since: datetime | None = None) -> Bookmark:
    """A bookmark after the delivery of one entry, "1"."""
    bookmark = Bookmark(HOUR, since)
    bookmark.add("1", created, server_time)
    return bookmark


def test_a_new_bookmark_starts_at_the_first_entry_of_all_or_where_it_is_told() -> None:
    assert Bookmark(HOUR).start is None
    assert Bookmark(HOUR, since=NOON).start == NOON


def test_after_an_entry_the_next_run_looks_back() -> None:
    bookmark = after_restart(holding(NOON, server_time=NOON))

    assert bookmark.start == NOON - HOUR
    assert bookmark.has("1")


def test_looking_back_stops_where_the_first_run_began() -> None:
    bookmark = holding(NOON + MINUTE, server_time=NOON + HOUR, since=NOON)

    assert bookmark.start == after_restart(bookmark).start == NOON


def test_a_longer_lookback_does_not_reach_back_to_where_ids_are_forgotten() -> None:
    bookmark = after_restart(holding(NOON, server_time=NOON), lookback=24 * HOUR)

    assert bookmark.start == NOON - HOUR


@pytest.mark.parametrize(
    "form",
    [
        *("2026-01-01T12:00:00Z", "2026-01-01T12:00:00.000000Z", "2026-01-01T14:00:00+02:00"),
        *("2026-01-01 12:00:00", "2026-01-01T12:00:00"),
    ],
)
def test_a_state_without_ids_starts_at_its_time_in_whatever_form(form: str) -> None:
    bookmark = Bookmark.from_state({"replication_key_value": form}, HOUR)

    assert bookmark.start == bookmark.newest == NOON


@pytest.mark.parametrize(
    "lookback", [{"seconds": 3600, "since": "2206-01-01"}, {"seconds": -36000}]
)
def test_a_bookmark_set_back_by_hand_starts_at_its_time(lookback: dict[str, object]) -> None:
    state = {"replication_key_value": "2026-01-01T12:00:00Z", "lookback": lookback | {"ids": {}}}

    assert Bookmark.from_state(state, HOUR).start == NOON


def test_a_bookmark_never_moves_back() -> None:
    bookmark = holding(NOON, server_time=NOON)
    bookmark.add("2", NOON - 5 * MINUTE, server_time=NOON)

    assert bookmark.newest == NOON


def test_a_bookmark_is_never_ahead_of_the_servers_clock_or_ours() -> None:
    soon = datetime.now(UTC) + 48 * HOUR
    by_server, by_us = holding(soon, server_time=NOON), holding(soon, server_time=soon)

    assert by_server.newest == NOON
    for newest in by_us.newest, Bookmark.at(soon, HOUR).newest:
        assert newest
        assert newest <= datetime.now(UTC)
    assert after_restart(by_us).has("1")


def test_an_entry_of_the_future_does_not_keep_older_ids_from_being_forgotten() -> None:
    bookmark = holding(NOON + 9_000 * HOUR, server_time=NOON)
    for number in range(100):
        bookmark = after_restart(bookmark)
        bookmark.add(f"later {number}", NOON + number * HOUR, NOON + number * HOUR)

    assert len(json.dumps(bookmark.to_state())) < 350


MINUTES = st.integers(min_value=0, max_value=600)


@given(
    log=st.lists(st.tuples(MINUTES, MINUTES), max_size=40),
    polls=st.lists(MINUTES, max_size=12),
)
def test_polls_deliver_each_entry_once_if_it_is_late_by_less_than_the_lookback(
    log: list[tuple[int, int]], polls: list[int]
) -> None:
    """Entries (minute of the action, delay until they can be read) and polls in any order."""
    delivered: list[str] = []
    bookmark = Bookmark(HOUR)
    for poll in [*sorted(polls), 10_000]:
        readable = sorted(
            (NOON + minute * MINUTE, str(number))
            for number, (minute, delay) in enumerate(log)
            if minute + min(delay, 60) <= poll
        )
        for created, entry_id in readable:
            is_asked_for = bookmark.start is None or created >= bookmark.start
            if is_asked_for and not bookmark.has(entry_id):
                delivered.append(entry_id)
                bookmark.add(entry_id, created, server_time=NOON + poll * MINUTE)
        bookmark = after_restart(bookmark) if bookmark.newest else Bookmark(HOUR)

    assert sorted(delivered, key=int) == [str(number) for number in range(len(log))]
