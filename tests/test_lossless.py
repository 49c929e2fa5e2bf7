"""Nothing lost and nothing twice, whatever the log, the server or the machine does."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_sentry_audit.api.exceptions import SentryError
from tap_sentry_audit.api.timestamps import EPOCH, parse_time
from tap_sentry_audit.audit_log.pages import fetch_from
from tap_sentry_audit.audit_log.reader import read_range
from tap_sentry_audit.tap import TapSentryAudit
from testing.fake_sentry import FakeSentry, Log, entries, faults
from testing.reading import MILLISECOND, START, asking, by_links, expected
from testing.sentry_tap import command, config, run_tap, without_waits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tap_sentry_audit.audit_log.pages import Fetch, Page, Query

SECOND = 1_000 * MILLISECOND
HOUR = 3_600 * SECOND


def read_ids(
    fetch: Fetch, width: int = 1, start: datetime | None = None, end: datetime | None = None
) -> list[str]:
    chunks = list(read_range(fetch, start, end, lambda _: width))
    assert not any(chunk.problem for chunk in chunks)
    return [entry.id for chunk in chunks for entry in chunk.entries]


# Ties


def tied(count: int, within: int = 1) -> Log:
    """So many entries inside of so many microseconds, and two before and behind them."""
    tie = [START + n * 37 % within for n in range(count)]
    return Log(
        [START - SECOND, START - 1, *tie, START + MILLISECOND, START + HOUR], ties="shuffled"
    )


TIES = [
    *[(count, per_page) for count in (2, 30) for per_page in (1, 2, 7, 29, 30, 31, 100)],
    *[(count, per_page) for count in (99, 100, 101) for per_page in (7, 50, 99, 100)],
    *[(count, per_page) for count in (250, 1000) for per_page in (50, 100)],
]


@pytest.mark.parametrize("within", [1, MILLISECOND])
@pytest.mark.parametrize(("count", "per_page"), TIES)
def test_a_tie_of_any_width_comes_whole_and_in_order(
    count: int, per_page: int, within: int
) -> None:
    log = tied(count, within)

    assert read_ids(asking(log, per_page)) == expected(log)


@pytest.mark.parametrize(("count", "per_page"), [(30, 7), (101, 50), (250, 100), (1000, 100)])
def test_sentrys_own_pagination_loses_entries_of_the_same_ties(count: int, per_page: int) -> None:
    log = tied(count)

    assert set(by_links(log, per_page)) < set(expected(log))


def test_a_run_delivers_a_log_full_of_ties_whole_and_sentrys_pagination_does_not() -> None:
    log = Log([*entries.ties(3000, width=30), *[START] * 1000], ties="shuffled")
    with FakeSentry({"acme": log}) as sentry:
        run = run_tap(config(sentry, requests_per_second=1000))

    assert run.returncode == 0
    assert run.ids == expected(log)
    assert set(by_links(log, 100)) < set(run.ids)


# Logs, ranges and requests at once, drawn


TIMES = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 5, 20, 1_000, 60_000, 86_400_000]),  # ms after those before
        st.integers(1, 40),  # entries
        st.sampled_from([1, MILLISECOND, 20 * MILLISECOND, 10 * SECOND]),  # that they lie within
    ),
    max_size=8,
)
PAGE_SIZES = st.sampled_from([2, 3, 7, 30, 100])
CLOCKS = st.sampled_from(["newest", "now"])


def times_of(drawn: list[tuple[int, int, int]]) -> list[int]:
    times: list[int] = []
    at = START
    for gap, count, within in drawn:
        at += gap * MILLISECOND
        times += [at + n * 7_919 % within for n in range(count)]
        at = max(times)
    return times


def slow(fetch: Fetch, seed: int, clock: datetime | None = None) -> Fetch:
    """Let answers come out of order, with another time by the server's clock."""
    rng = Random(seed)  # noqa: S311

    def slowed(query: Query) -> Page:
        page = fetch(query)
        time.sleep(rng.choice([0, 0, 0.0005, 0.002]))
        return replace(page, server_time=clock or page.server_time)

    return slowed


def clock_of(name: str, times: list[int]) -> datetime | None:
    return at_micros(max(times)) if times and name == "newest" else None


def at_micros(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


@settings(max_examples=60, deadline=None)
@given(drawn=TIMES, per_page=PAGE_SIZES, clock=CLOCKS, seed=st.integers(0, 99))
def test_requests_at_once_lose_and_repeat_nothing(
    drawn: list[tuple[int, int, int]], per_page: int, clock: str, seed: int
) -> None:
    times = times_of(drawn)
    log = Log(times, ties="shuffled", seed=seed)
    fetch = slow(asking(log, per_page), seed, clock_of(clock, times))

    assert read_ids(fetch, width=8) == expected(log)


@pytest.mark.parametrize("width", [2, 8])
def test_a_quiet_end_behind_a_busy_start_is_read_whole(width: int) -> None:
    busy = range(START, START + SECOND, 10 * MILLISECOND)
    quiet = range(START + HOUR, START + HOUR + 50 * SECOND, SECOND)
    log = Log([*busy, *quiet])
    asked: list[Query] = []

    def fetch(query: Query) -> Page:
        asked.append(query)
        time.sleep(0.01 * min(len(asked), 3))  # those ahead are answered last
        return asking(log)(query)

    assert read_ids(fetch, width) == expected(log)


def test_a_reader_that_nobody_takes_from_stops_asking() -> None:
    log = Log(range(START, START + 3000 * SECOND, SECOND))
    asked: list[Query] = []

    def fetch(query: Query) -> Page:
        asked.append(query)
        time.sleep(0.0005)
        return asking(log, 3)(query)

    reading = read_range(fetch, None, None, lambda _: 4)
    for _ in range(3):
        next(reading)
    time.sleep(1.5)

    count = len(asked)
    del reading  # its threads end

    assert count < 500


@settings(max_examples=80, deadline=None)
@given(
    drawn=TIMES,
    per_page=PAGE_SIZES,
    width=st.sampled_from([1, 4]),
    data=st.data(),
)
def test_a_range_has_exactly_the_entries_from_its_start_on_and_before_its_end(
    drawn: list[tuple[int, int, int]], per_page: int, width: int, data: st.DataObject
) -> None:
    times = times_of(drawn)
    log = Log(times, ties="shuffled")
    near = st.builds(
        lambda at, off: at_micros(at + off),
        st.sampled_from([START, *times]),
        st.sampled_from([-MILLISECOND, -1, 0, 1, MILLISECOND]),
    )
    start, end = data.draw(near), data.draw(near)
    inside = {
        row["id"] for row in log.rows() if row and start <= parse_time(row["dateCreated"]) < end
    }
    found = read_ids(asking(log, per_page), width, start, end)

    assert found == [entry_id for entry_id in expected(log) if entry_id in inside]


@settings(max_examples=60, deadline=None)
@given(drawn=TIMES, per_page=PAGE_SIZES, data=st.data())
def test_shards_that_meet_anywhere_give_everything_once(
    drawn: list[tuple[int, int, int]], per_page: int, data: st.DataObject
) -> None:
    times = times_of(drawn)
    log = Log(times, ties="shuffled")
    border = at_micros(
        data.draw(st.sampled_from([START, *times])) + data.draw(st.sampled_from([-1, 0, 1]))
    )
    older = read_ids(asking(log, per_page), end=border)
    newer = read_ids(asking(log, per_page), start=border)

    assert older + newer == expected(log)


@settings(max_examples=60, deadline=None)
@given(
    drawn=TIMES,
    per_page=PAGE_SIZES,
    width=st.sampled_from([1, 4]),
    coming=st.lists(st.sampled_from([0, 1, MILLISECOND, SECOND, HOUR]), max_size=60),
)
def test_entries_that_come_while_a_run_reads_disturb_nothing(
    drawn: list[tuple[int, int, int]], per_page: int, width: int, coming: list[int]
) -> None:
    times = times_of(drawn)
    log = Log(times, ties="shuffled")
    at_the_start = expected(log)
    newest = [max(times, default=START)]
    to_come = iter(coming)

    def fetch(query: Query) -> Page:
        page = asking(log, per_page)(query)
        for gap in to_come:
            newest.append(newest[-1] + gap)
            log.add([newest[-1]])
            break
        return page

    found = [e for s in read_range(fetch, None, None, lambda _: width) for e in s.entries]
    found_ids = [entry.id for entry in found]

    assert len(set(found_ids)) == len(found_ids)
    assert [entry_id for entry_id in found_ids if entry_id in set(at_the_start)] == at_the_start
    assert all(a.created <= b.created for a, b in pairwise(found))


# Rows that the server cannot show


def log_with_nulls(is_null: list[bool], step: int = MILLISECOND) -> Log:
    log = Log()
    for number, null in enumerate(is_null):
        at = START + number * step
        if null:
            log.put(None, at)
        else:
            log.add([at])
    return log


def read_with_nulls(log: Log, per_page: int, width: int) -> tuple[list[str], int]:
    asked: list[Query] = []

    def fetch(query: Query) -> Page:
        asked.append(query)
        assert len(asked) < 50 * len(log) + 500, "an endless loop"
        return asking(log, per_page)(query)

    chunks = list(read_range(fetch, None, None, lambda _: width))
    ids = [entry.id for chunk in chunks for entry in chunk.entries]
    return ids, sum(chunk.null_rows for chunk in chunks)


@settings(max_examples=100, deadline=None)
@given(
    runs=st.lists(st.tuples(st.booleans(), st.integers(1, 25)), max_size=6),
    per_page=st.sampled_from([2, 3, 7]),
    width=st.sampled_from([1, 4]),
    step=st.sampled_from([0, 1, MILLISECOND]),
)
def test_null_rows_anywhere_hide_nothing(
    runs: list[tuple[bool, int]], per_page: int, width: int, step: int
) -> None:
    is_null = [null for null, count in runs for _ in range(count)]
    log = log_with_nulls(is_null, step)
    found, nulls = read_with_nulls(log, per_page, width)

    assert found == expected(log)
    assert nulls >= sum(is_null)


@pytest.mark.parametrize("before", [0, 1, 99, 100, 150])
@pytest.mark.parametrize("nulls", [99, 100, 101, 350])
@pytest.mark.parametrize("behind", [0, 1, 150])
def test_whole_pages_of_null_rows_hide_nothing(before: int, nulls: int, behind: int) -> None:
    log = log_with_nulls([False] * before + [True] * nulls + [False] * behind)
    found, counted = read_with_nulls(log, 100, 1)

    assert found == expected(log)
    assert counted >= nulls


@pytest.mark.parametrize("seed", [*range(10), 14])
def test_a_tie_of_a_page_of_null_rows_and_some_entries_hides_none(seed: int) -> None:
    log = Log([START] * 3, ties="shuffled", seed=seed)
    for _ in range(130):
        log.put(None, START)
    log.add([START + MILLISECOND])
    found, nulls = read_with_nulls(log, 100, 1)

    assert found == expected(log)
    assert nulls >= 130


# Faults


def chunks_by_stream(sentry: FakeSentry) -> Iterator[list[str]]:
    """The entries of the stand-in's log, several requests at once."""
    fast = config(sentry, requests_per_second=1000)
    client = without_waits(fast).client

    fetch = fetch_from(client, "acme", "")
    for chunk in read_range(fetch, None, None, client.rate_limiter.width):
        yield [entry.id for entry in chunk.entries]


FAULTS: dict[str, faults.Fault] = {
    "503": faults.status(503),
    "429": faults.status(429),
    "reset": "reset",
    "truncated": "truncated",
    "html": faults.HTML,
}
PAGES = 8


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_at_any_of_several_requests_at_once_loses_nothing(name: str) -> None:
    log = Log(entries.even(PAGES * 80))
    for number in range(1, PAGES + 2):
        clock = entries.UNTIL.timestamp()
        with FakeSentry(
            {"acme": log},
            faults={number: FAULTS[name]},
            latency=0.02,
            rate_limit=1000,
            clock=lambda clock=clock: clock,  # type: ignore[misc]
        ) as sentry:
            found = [entry_id for ids in chunks_by_stream(sentry) for entry_id in ids]

        assert found == expected(log), f"request {number}"
        assert sentry.max_concurrent > 1
        assert len(sentry.requests) > number


@pytest.mark.parametrize("number", [1, 2, 5, 9, 14])
def test_an_error_that_lasts_comes_after_a_part_of_the_log_without_gaps(number: int) -> None:
    log = Log(entries.even(2000))
    found: list[str] = []
    with FakeSentry({"acme": log}, latency=0.02, rate_limit=1000) as sentry:
        sentry.faults = lambda n, _: faults.status(403) if n >= number else None
        with pytest.raises(SentryError):
            found.extend(entry_id for ids in chunks_by_stream(sentry) for entry_id in ids)

    assert found == expected(log)[: len(found)]


class BrokenPageError(Exception):
    """The stand-in's answer for a page with a certain entry."""


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 600),
    per_page=st.sampled_from([7, 30]),
    width=st.sampled_from([1, 2, 8]),
    data=st.data(),
)
def test_an_error_comes_only_after_all_that_lies_before_its_page(
    count: int, per_page: int, width: int, data: st.DataObject
) -> None:
    times = range(START, START + count * SECOND, SECOND)
    log = Log(times)
    ids = expected(log)
    broken = data.draw(st.integers(0, count - 1))
    answer = slow(asking(log, per_page), broken, at_micros(max(times)))

    def fetch(query: Query) -> Page:
        page = answer(query)
        if ids[broken] in {entry.id for entry in page.entries}:
            raise BrokenPageError
        return page

    found: list[str] = []
    with pytest.raises(BrokenPageError):
        found.extend(
            entry.id
            for chunk in read_range(fetch, None, None, lambda _: width)
            for entry in chunk.entries
        )

    assert found == ids[: len(found)]
    assert broken - per_page < len(found) <= broken


# Runs that are ended


def run_and_stop(
    folder: Path, sentry: FakeSentry, after: int, ending: signal.Signals, state: object = None
) -> list[dict[str, Any]]:
    """The messages of a run that gets a signal after so many lines; half a line is none."""
    files = {"config": config(sentry, requests_per_second=1000), "state": state}
    options = []
    for name, content in files.items():
        if content:
            path = folder / f"{name}.json"
            path.write_text(json.dumps(content))
            options += [f"--{name}", str(path)]
    lines: list[str] = []
    with subprocess.Popen(
        command(*options), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
    ) as tap:
        assert tap.stdout
        for line in tap.stdout:
            lines.append(line)
            if len(lines) == after:
                tap.send_signal(ending)
    if ending is not signal.SIGKILL:
        assert all(line.endswith("\n") for line in lines)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def ids_of(messages: list[dict[str, Any]]) -> list[str]:
    return [m["record"]["id"] for m in messages if m["type"] == "RECORD"]


def until_the_last_state(
    messages: list[dict[str, Any]],
) -> tuple[list[dict[str, Any]], object]:
    """The messages that a target has for sure, and the state that says so."""
    last = max((n for n, m in enumerate(messages) if m["type"] == "STATE"), default=None)
    return ([], None) if last is None else (messages[:last], messages[last]["value"])


def most_between_states(messages: list[dict[str, Any]]) -> int:
    most = count = 0
    for message in messages:
        count = count + 1 if message["type"] == "RECORD" else 0
        most = max(most, count)
    return most


@pytest.mark.parametrize("seed", [1, 2])
def test_runs_that_are_killed_at_any_moment_lose_nothing_and_repeat_only_what_no_state_holds(
    seed: int, tmp_path: Path
) -> None:
    log = Log(entries.ties(5000, width=3), ties="shuffled")
    rng = Random(seed)  # noqa: S311
    kept: list[str] = []
    state: object = None
    with FakeSentry({"acme": log}, latency=0.03) as sentry:
        for _ in range(3):
            messages = run_and_stop(
                tmp_path, sentry, rng.randint(1, 2000), signal.SIGKILL, state=state
            )
            sent = ids_of(messages)
            assert sent == expected(log)[len(kept) :][: len(sent)]
            assert most_between_states(messages) <= 1000
            held, newer = until_the_last_state(messages)
            kept += ids_of(held)
            state = newer or state
        rest = run_tap(config(sentry, requests_per_second=1000), state=state)

    assert kept + rest.ids == expected(log)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_runs_that_are_asked_to_stop_end_with_a_state_of_all_they_sent(
    ending: signal.Signals, tmp_path: Path
) -> None:
    log = Log(entries.ties(4000, width=3), ties="shuffled")
    sent: list[str] = []
    state: object = None
    with FakeSentry({"acme": log}, latency=0.03) as sentry:
        for after in (1, 2, 100, 777, 1003)[:: 1 if ending is signal.SIGTERM else 2]:
            messages = run_and_stop(tmp_path, sentry, after, ending, state=state)
            held, newer = until_the_last_state(messages)
            assert ids_of(held) == ids_of(messages)
            sent += ids_of(messages)
            state = newer or state
        rest = run_tap(config(sentry, requests_per_second=1000), state=state)

    assert sent + rest.ids == expected(log)


def test_a_signal_breaks_off_no_state(tmp_path: Path) -> None:
    # More ids than a pipe holds: the last STATE stands in it for a while.
    log = Log([START + number * MILLISECOND for number in range(6000)])
    with FakeSentry({"acme": log}) as sentry:
        settings = config(sentry, requests_per_second=1000)
        (tmp_path / "config.json").write_text(json.dumps(settings))
        with subprocess.Popen(
            command(f"--config={tmp_path / 'config.json'}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout
            records, lines = 0, []
            while records < 6000:
                lines.append(process.stdout.readline())
                records += lines[-1].startswith(b'{"type":"RECORD"')
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            lines += process.stdout
    states = [json.loads(line) for line in lines if line.startswith(b'{"type":"STATE"')]

    assert process.returncode == 0
    (partition,) = states[-1]["value"]["bookmarks"]["audit_logs"]["partitions"]
    assert len(partition["lookback"]["ids"]) == 6000


# Polls


def poll(
    sentry: FakeSentry,
    monkeypatch: pytest.MonkeyPatch,
    state: object,
    **more: object,
) -> tuple[list[str], object]:
    """Run the tap in this process; return the ids of what it sent, and the last state."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        # As text and back, as between two runs.
        given = json.loads(json.dumps(state)) if state else None
        fast = config(sentry, requests_per_second=1000, **more)
        TapSentryAudit(config=fast, state=given).sync_all()
        out.flush()
    out.seek(0)
    messages = [json.loads(line) for line in out]
    _, newer = until_the_last_state(messages)
    return ids_of(messages), newer or state


@pytest.mark.parametrize("seed", [1, 2])
def test_a_hundred_polls_over_a_living_log_send_each_entry_once(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = Random(seed)  # noqa: S311
    log = Log(entries.ties(300, days=1, width=3), ties="shuffled")
    newest = entries.micros(entries.UNTIL)
    sent: list[str] = []
    state: object = None
    with FakeSentry({"acme": log}) as sentry:
        for number in range(100):
            ids, state = poll(sentry, monkeypatch, state, lookback_seconds=600)
            sent += ids
            # None comes later than the lookback, seen from the newest that was sent.
            reached = newest
            newest += rng.choice([0, 1, MILLISECOND, SECOND, 600 * SECOND])
            late = [reached - rng.randrange(600 * SECOND) for _ in range(rng.choice([0, 1, 3]))]
            log.add([*late, *[newest] * (120 if number == 50 else rng.choice([0, 1, 2]))])
        ids, state = poll(sentry, monkeypatch, state, lookback_seconds=600)
        sent += ids

    assert sorted(sent) == sorted(expected(log))


def test_a_poll_of_nothing_new_leaves_the_state_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log([START + n for n in range(150)])
    with FakeSentry({"acme": log}) as sentry:
        first, state = poll(sentry, monkeypatch, None)
        again, same = poll(sentry, monkeypatch, state)

    assert first == expected(log)
    assert again == []
    assert same == state
