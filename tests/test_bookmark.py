from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tap_sentry_audit.audit_log.pages import Entry
from tap_sentry_audit.streams.bookmark import Bookmark

HOUR = timedelta(hours=1)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def entry(created: datetime, entry_id: str = "1") -> Entry:
    return Entry(created, entry_id, b"{}")


def state_of(bookmark: Bookmark) -> dict[str, object]:
    return bookmark.to_state()


def after_restart(bookmark: Bookmark, lookback: timedelta = HOUR) -> Bookmark:
    """What the next run makes of the state that this one wrote."""
    return Bookmark.from_state(json.loads(json.dumps(state_of(bookmark))), lookback)


def test_a_new_bookmark_starts_at_the_first_entry_of_all() -> None:
    assert Bookmark(HOUR).start is None


def test_a_new_bookmark_starts_where_it_is_told() -> None:
    assert Bookmark(HOUR, since=NOON).start == NOON


def test_after_an_entry_the_next_run_looks_back() -> None:
    bookmark = Bookmark(HOUR)
    bookmark.add("1", NOON, server_time=NOON)

    assert after_restart(bookmark).start == NOON - HOUR
    assert after_restart(bookmark).has(entry(NOON).id)


def test_looking_back_stops_at_what_was_asked_for_first() -> None:
    bookmark = Bookmark(HOUR, since=NOON)
    bookmark.add("1", NOON + timedelta(minutes=1), server_time=NOON + HOUR)

    assert after_restart(bookmark).start == NOON


def test_a_lookback_made_longer_does_not_reach_where_ids_are_forgotten() -> None:
    bookmark = Bookmark(HOUR)
    bookmark.add("1", NOON, server_time=NOON)

    assert after_restart(bookmark, lookback=24 * HOUR).start == NOON - HOUR


def test_a_state_without_ids_starts_at_its_time() -> None:
    bookmark = Bookmark.from_state({"replication_key_value": "2026-01-01T12:00:00Z"}, HOUR)

    assert bookmark.start == bookmark.newest == NOON


def test_the_bookmark_never_moves_back() -> None:
    bookmark = Bookmark(HOUR)
    bookmark.add("1", NOON, server_time=NOON)
    bookmark.add("2", NOON - timedelta(minutes=5), server_time=NOON)

    assert bookmark.newest == NOON


def test_the_bookmark_is_never_ahead_of_the_servers_clock() -> None:
    bookmark = Bookmark(HOUR)
    bookmark.add("1", NOON + timedelta(days=400), server_time=NOON)

    assert bookmark.newest == NOON
    assert after_restart(bookmark).has("1")


def test_an_entry_of_the_future_does_not_keep_older_ids_from_being_forgotten() -> None:
    bookmark = Bookmark(HOUR)
    bookmark.add("future", NOON + timedelta(days=400), server_time=NOON)
    for number in range(100):
        bookmark = after_restart(bookmark)
        bookmark.add(str(number), NOON + number * HOUR, server_time=NOON + number * HOUR)

    assert len(json.dumps(state_of(bookmark))) < 300


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
    state: dict[str, object] | None = None
    for poll in [*sorted(polls), 10_000]:
        server_time = NOON + timedelta(minutes=poll)
        bookmark = Bookmark.from_state(state, HOUR) if state else Bookmark(HOUR)
        readable = sorted(
            (NOON + timedelta(minutes=minute), str(number))
            for number, (minute, delay) in enumerate(log)
            if minute + min(delay, 60) <= poll
        )
        for created, entry_id in readable:
            if bookmark.start and created < bookmark.start:
                continue
            if not bookmark.has(entry_id):
                delivered.append(entry_id)
                bookmark.add(entry_id, created, server_time)
        state = json.loads(json.dumps(state_of(bookmark))) if bookmark.newest else None

    assert sorted(delivered, key=int) == [str(number) for number in range(len(log))]
