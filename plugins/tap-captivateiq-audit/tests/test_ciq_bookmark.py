"""Run after run over a living log: each entry once, whatever the server and whatever breaks off."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_captivateiq_audit.bookmark import VALUE, Bookmark
from tap_captivateiq_audit.reader import read_entries
from testing.captivateiq_tap import SERVERS, Api
from testing.fake_captivateiq import Log, row

if TYPE_CHECKING:
    from collections.abc import Mapping

LOOKBACK = timedelta(days=1)
START = datetime(2026, 3, 1, tzinfo=UTC)


def run(log: Log, state: dict[str, Any], now: datetime, stops_after: int) -> list[str]:
    """Send what is new to nobody, and change the state, as the stream does."""
    bookmark = Bookmark(LOOKBACK, since=START)
    if VALUE in state:
        bookmark = Bookmark.from_state(state, LOOKBACK)
    sent: list[str] = []
    assert bookmark.start
    api = Api(log)
    for entries in read_entries(api, bookmark.start, now.date(), api.flaws):
        for entry in entries:
            if bookmark.has(entry.id):
                continue
            if len(sent) == stops_after:
                return sent
            sent.append(entry.id)
            bookmark.add(entry.id, entry.created, now)
            bookmark.write_to(state)
    return sent


@settings(deadline=None, max_examples=60)
@given(
    servers=st.fixed_dictionaries(SERVERS),
    runs=st.lists(
        st.fixed_dictionaries(
            {
                "hours": st.integers(1, 100),
                "new": st.integers(0, 12),
                "late": st.integers(0, 3),
                "stops_after": st.sampled_from([3, 1000]),
            }
        ),
        max_size=6,
    ),
)
def test_runs_over_a_living_log_send_each_entry_once(
    servers: dict[str, object], runs: list[Mapping[str, int]]
) -> None:
    log = Log([], **servers)  # type: ignore[arg-type]
    state: dict[str, Any] = {}
    sent: list[str] = []
    now, number = START + timedelta(days=3), 0
    for one in [*runs, {"hours": 1, "new": 1, "late": 0, "stops_after": 1000}]:
        before, now = now, now + timedelta(hours=one["hours"])
        times = [before + (now - before) * share / 13 for share in range(one["new"])]
        # Handed over hours later than what lies behind them.
        times += [before - timedelta(hours=7 * (late + 1)) for late in range(one["late"])]
        for at in times:
            number += 1
            log.rows.append(row(number, at.replace(microsecond=0)))
        state = json.loads(json.dumps(state))
        sent += run(log, state, now, one["stops_after"])

    assert sorted(sent) == sorted(each["id"] for each in log.rows)


def test_the_state_holds_no_ids_that_no_run_looks_at_again() -> None:
    bookmark = Bookmark(LOOKBACK)
    for hour in range(100):
        bookmark.add(str(hour), START + timedelta(hours=hour), START + timedelta(days=9))
    state: dict[str, Any] = {}
    bookmark.write_to(state)

    assert list(state["lookback"]["ids"]) == [str(hour) for hour in range(75, 100)]
    assert state["lookback"]["since"] == "2026-03-04T03:00:00.000000Z"


def test_a_longer_lookback_sends_nothing_again() -> None:
    bookmark = Bookmark(LOOKBACK)
    bookmark.add("1", START, START)
    state: dict[str, Any] = {}
    bookmark.write_to(state)

    assert Bookmark.from_state(state, timedelta(days=20)).start == START - LOOKBACK


@pytest.mark.parametrize("days", [-20, -2, 0.5])
def test_a_time_that_was_set_by_hand_is_gone_on_from(days: float) -> None:
    bookmark = Bookmark(timedelta(days=9))
    bookmark.add("1", START, START)
    state: dict[str, Any] = {}
    bookmark.write_to(state)
    at = START + timedelta(days=days)
    again = Bookmark.from_state(state | {VALUE: at.isoformat()}, timedelta(days=9))

    assert again.start == at
    assert not again.has("1")


def test_an_entry_in_the_future_moves_the_bookmark_to_the_servers_clock_and_never_back() -> None:
    bookmark = Bookmark(LOOKBACK)
    bookmark.add("1", START + timedelta(days=9), START)
    bookmark.add("2", START - timedelta(hours=5), START)

    assert bookmark.newest == START
    assert bookmark.has("1")
    assert bookmark.has("2")
