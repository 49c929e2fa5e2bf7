"""Whatever the server does that nobody knows: no entry is lost, none comes twice, all in order."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tap_captivateiq_audit.days import read_days
from tap_captivateiq_audit.entries import Days, parse_page
from tap_captivateiq_audit.exceptions import ApiError
from tap_captivateiq_audit.reader import first_day, read_entries
from testing.captivateiq_tap import SERVERS, Api
from testing.fake_captivateiq import Log, row

if TYPE_CHECKING:
    from tap_captivateiq_audit.entries import Entry, Page
    from testing.fake_captivateiq import Row

TODAY = datetime(2026, 3, 31, tzinfo=UTC)


def read(log: Log, since: datetime) -> list[Entry]:
    api = Api(log)
    parts = read_entries(api, since, TODAY.date(), api.flaws)
    return [entry for part in parts for entry in part]


def whole(api: Api) -> dict[str, Entry]:
    return read_days(api, Days(None, None), api.flaws)


def at_random(count: int, days: int, seed: int) -> list[Row]:
    """Rows of the last days, some at the same time."""
    dice = Random(seed)  # noqa: S311  (no secret)
    seconds = [dice.randrange(days * 86_400) for _ in range(count)]
    seconds = [second - second % dice.choice([1, 3600]) for second in seconds]
    return [
        row(number, TODAY + timedelta(hours=20) - timedelta(seconds=second))
        for number, second in enumerate(seconds)
    ]


@settings(deadline=None, max_examples=60)
@given(
    servers=st.fixed_dictionaries(SERVERS),
    count=st.integers(0, 60),
    days=st.integers(1, 30),
    arriving=st.integers(0, 15),
    seed=st.integers(),
)
def test_every_entry_comes_once_and_in_order(
    servers: dict[str, object], count: int, days: int, arriving: int, seed: int
) -> None:
    rows = at_random(count, days, seed)
    since = TODAY - timedelta(days=days // 2)
    there = [one for one in rows if datetime.fromisoformat(one["created_at"]) >= since]
    log = Log(rows, **servers)  # type: ignore[arg-type]
    # What comes in meanwhile is of today, or of a day that may have been read already.
    log.arriving = [
        row(1000 + number, TODAY + timedelta(hours=20, minutes=number))
        for number in range(arriving)
    ]

    found = read(log, since)

    ids = [entry.id for entry in found]
    assert len(set(ids)) == len(ids)
    assert set(ids) >= {one["id"] for one in there}
    assert [entry.created for entry in found] == sorted(entry.created for entry in found)


@settings(deadline=None, max_examples=100)
@given(
    server=st.sampled_from(["ascending", "descending", "arbitrary"]).flatmap(
        lambda order: st.tuples(st.just(order), st.sampled_from(["all", "nothing"]))
    )
    # The entries of a server that shuffles them can only be counted.
    | st.just(("shuffled", "all")),
    following=st.sampled_from(["url", "never", "always"]),
    varying=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    seed=st.integers(0, 10_000),
)
def test_pages_may_have_another_size_and_order_each_time(
    server: tuple[str, str], following: str, varying: list[int], seed: int
) -> None:
    order, counts = server
    log = Log(at_random(20, 3, seed), order, next=following, counts=counts, varying=varying)
    log.dice = Random(seed)  # noqa: S311  (no secret)

    assert whole(Api(log)).keys() == {one["id"] for one in log.rows}


@settings(deadline=None, max_examples=200)
@given(
    order=st.sampled_from(["ascending", "descending", "arbitrary"]),
    most=st.integers(2, 10),
    undisturbed=st.integers(0, 8),
    leaving=st.integers(0, 4),
    arriving=st.integers(0, 4),
    at_once=st.integers(1, 3),
    seed=st.integers(0, 10_000),
)
def test_whatever_comes_and_goes_what_stays_is_found(  # noqa: PLR0913, PLR0917
    order: str,
    most: int,
    undisturbed: int,
    leaving: int,
    arriving: int,
    at_once: int,
    seed: int,
) -> None:
    log = Log(at_random(25, 3, seed), order, most=most, leaving=leaving)
    log.undisturbed, log.at_once = undisturbed, at_once
    log.arriving = [row(1000 + number, TODAY + timedelta(days=1)) for number in range(arriving)]
    there = {one["id"] for one in log.rows}

    found = whole(Api(log))

    assert found.keys() >= there & {one["id"] for one in log.rows}


def test_a_server_that_does_not_count_is_read_until_it_shows_the_same_twice() -> None:
    log = Log(at_random(250, 3, 1), "descending", counts="nothing")
    log.arriving = [row(1000 + number, TODAY) for number in range(2)]
    everything = {one["id"] for one in [*log.rows, *log.arriving]}

    assert whole(Api(log)).keys() == everything


def test_a_server_that_counts_only_the_page_is_read_to_its_end() -> None:
    log = Log(at_random(250, 3, 1), "descending", most=30, counts="page")

    assert len(whole(Api(log))) == 250


def test_no_day_of_the_future_is_asked_for() -> None:
    api = Api(Log(at_random(50, 30, 1)))

    list(read_entries(api, TODAY - timedelta(days=30), TODAY.date(), api.flaws))

    assert max(span.end for span in api.spans if span.end) < TODAY.date()
    assert api.spans[-1].end is None


def test_what_comes_in_on_top_while_pages_are_read_costs_one_request_more() -> None:
    log = Log(at_random(250, 3, 1), "descending")
    api = Api(log)
    log.arriving = [row(1000, TODAY), row(1001, TODAY)]

    assert len(whole(api)) == 252
    assert api.requests == 3 + 1 + 1  # one looks behind what the server counts


@pytest.mark.parametrize("count", [0, 5, 100, 250])
@pytest.mark.parametrize("order", ["ascending", "descending", "arbitrary"])
def test_a_count_that_is_always_too_high_is_reported_and_the_entries_come(
    order: str, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    api = Api(Log(at_random(count, 3, 1), order, hidden=1))

    assert len(whole(api)) == count
    assert api.flaws.has_any
    (line,) = caplog.messages
    assert line == (
        f"the server counts {count + 1} entries from the beginning to now but never shows more "
        f"than {count}, all of which were read: ask CaptivateIQ what the others are, and tell us"
    )


def test_what_ends_at_a_round_number_may_be_limited_and_is_an_error() -> None:
    with pytest.raises(ApiError, match=r"counts 1,500 .* shows 1,000 .* which may be the most"):
        whole(Api(Log(at_random(1000, 3, 1), hidden=500)))


MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(("counts", "hidden"), [("all", 0), ("all", 3), ("nothing", 0), (50, 0)])
@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_what_comes_in_with_every_request_does_not_prolong_the_reading(
    order: str, counts: str | int, hidden: int
) -> None:
    rows = [row(number, TODAY - number * MINUTE) for number in range(130)]
    busy = Log(list(rows), order, counts=counts, hidden=hidden)
    busy.arriving = [row(1000 + number, TODAY + number * MINUTE) for number in range(1, 1000)]
    api = Api(busy, until=TODAY)

    assert whole(api).keys() >= {one["id"] for one in rows}
    assert api.requests <= 20


def test_what_comes_in_while_a_long_log_is_read_is_caught_up_with() -> None:
    rows = [row(number, TODAY - number * MINUTE) for number in range(2000)]
    log = Log(list(rows), "descending", most=20)
    log.arriving = [row(5000 + number, TODAY + number * MINUTE) for number in range(1, 1000)]
    api = Api(log, until=TODAY)

    assert whole(api).keys() >= {one["id"] for one in rows}
    assert api.requests <= 2000 / 18 + 20


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_what_comes_in_as_fast_as_it_is_read_is_an_error_in_words(order: str) -> None:
    log = Log(at_random(130, 3, 1), order, most=10, counts="nothing", next="never")
    log.at_once = 9 if order == "descending" else 1
    later = TODAY + timedelta(days=1)
    log.arriving = [row(1000 + number, later + number * MINUTE) for number in range(4000)]
    api = Api(log)

    with pytest.raises(ApiError, match=r"does not count .* come in as fast as they are read"):
        whole(api)
    assert api.requests <= 60


@pytest.mark.parametrize("counts", ["all", "nothing"])
def test_whole_pages_of_equal_rows_without_ids_stop_nothing(counts: str) -> None:
    rows = [row(number, TODAY + number * MINUTE) for number in range(250)]
    log = Log(rows, counts=counts, odd=dict.fromkeys(range(120, 270)))

    assert len(whole(Api(log))) == 250


@pytest.mark.parametrize("minutes", [0, 1, 200])
@pytest.mark.parametrize("counts", ["all", "nothing"])
@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_an_id_of_two_entries_is_reported_and_the_last_comes(
    order: str, counts: str, minutes: int, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row(number, TODAY + number * MINUTE) for number in range(250)]
    last = row(20, TODAY + (20 + minutes) * MINUTE, version=7)
    api = Api(Log([*rows, last], order, counts=counts))

    found = whole(api)

    assert len(found) == 250
    if minutes:
        assert found[last["id"]].row["version"] == 7
    assert api.flaws.has_any
    (line,) = caplog.messages
    assert line == (
        "1 id has several entries from the beginning to now, of which the last is sent: ask "
        "CaptivateIQ why, and tell us"
    )


def test_a_row_that_is_listed_twice_is_no_flaw() -> None:
    rows = [row(number, TODAY + number * MINUTE) for number in range(250)]
    api = Api(Log([*rows, rows[20]]))

    assert len(whole(api)) == 250
    assert not api.flaws.has_any


def test_a_shuffled_log_that_was_shown_whole_is_taken_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = Api(Log(at_random(500, 3, 1), "shuffled", most=8))

    assert len(whole(api)) == 500
    assert not api.flaws.has_any
    (line,) = caplog.messages
    assert line == (
        "the server shows the entries from the beginning to now in a different order at each "
        "request, at most 8 per page. All 500 that it counts were shown and are sent; one that "
        "arrived while another one disappeared would go unnoticed"
    )


@pytest.mark.parametrize("following", ["url", "never", "always"])
@pytest.mark.parametrize("counts", ["all", "nothing", 150])
def test_a_server_that_ignores_the_offset_is_an_error_and_no_endless_loop(
    following: str, counts: str | int
) -> None:
    class Stuck(Log):
        def answer(self, _: object) -> dict[str, object]:
            return super().answer({"offset": "0"})

    api = Api(Stuck(at_random(250, 3, 1), next=following, counts=counts))
    with pytest.raises(
        ApiError, match=r"same entries .* besides these 100\. .* offset has no effect"
    ):
        whole(api)
    assert api.requests < 30


@pytest.mark.parametrize("order", ["ties", "ties by page"])
@pytest.mark.parametrize("counts", ["all", "nothing", 100])
def test_entries_of_one_time_may_change_places(order: str, counts: str | int) -> None:
    rows = [row(number, TODAY - timedelta(minutes=number // 10)) for number in range(250)]
    log = Log(rows, order, counts=counts, most=25)

    assert len(whole(Api(log))) == 250


@pytest.mark.parametrize("following", ["url", "never", "always"])
def test_a_count_that_has_a_limit_is_not_the_end(following: str) -> None:
    log = Log(at_random(250, 3, 1), counts=100, next=following)

    assert len(whole(Api(log))) == 250


@pytest.mark.parametrize("counts", ["all", "nothing", 100])
def test_a_log_that_is_never_shown_whole_is_given_up_in_words(counts: str | int) -> None:
    log = Log(at_random(500, 3, 1), "shuffled", most=10, counts=counts)
    log.arriving = [row(1000 + number, TODAY) for number in range(1000)]
    log.leaving = 500
    api = Api(log)

    with pytest.raises(ApiError) as caught:
        whole(api)

    assert api.requests <= 501
    what = "counts" if counts == "all" else "does not count the entries from .*, lists"
    assert re.match(
        rf"the server {what} [\d,]+.* different ones in 500 requests: the order changes from "
        r"request to request, at most 10 per page\. Run again later; .* order or larger pages,",
        str(caught.value),
    )


@pytest.mark.parametrize(("common", "gone_at"), [(1, 0), (12, 5)], ids=["few", "not by time"])
def test_pages_that_join_by_chance_prove_nothing(common: int, gone_at: int) -> None:
    minute = timedelta(minutes=1)
    stay = [row(number, TODAY + number * minute) for number in range(1, common + 1)]
    gone, moved, new = (
        row(100 + number, TODAY + at * minute) for number, at in enumerate([gone_at, 30, 40])
    )
    requests = 0

    def fetch(_: Days, offset: int) -> Page:
        nonlocal requests
        requests += 1
        rows = [gone, *stay, moved] if requests == 1 else [moved, *stay, new]
        shown = rows[offset : offset + common + 1]
        return parse_page({"data": shown, "total_count": len(rows), "next": None})

    assert moved["id"] in read_days(fetch, Days(None, None), Api(Log([])).flaws)


def test_a_row_without_a_time_that_moves_hides_no_entry() -> None:
    log = Log(at_random(12, 3, 0), most=5, odd={4: {"id": "odd"}}, undisturbed=1, leaving=1)
    log.arriving = [row(1000, TODAY + timedelta(days=1))]
    there = {one["id"] for one in log.rows}

    found = whole(Api(log))

    assert found.keys() >= there & {one["id"] for one in log.rows}


@settings(deadline=None, max_examples=300)
@given(
    order=st.sampled_from(
        ["ascending", "descending", "arbitrary", "shuffled", "ties", "ties by page"]
    ),
    counts=st.sampled_from(["all", "nothing"]) | st.integers(11, 30),
    following=st.sampled_from(["url", "never", "always"]),
    count=st.integers(0, 40),
    most=st.integers(1, 10),
    undisturbed=st.integers(0, 20),
    leaving=st.integers(0, 8),
    arriving=st.integers(0, 8),
    at_once=st.integers(1, 3),
    hidden=st.sampled_from([0, 0, 2]),
    until=st.sampled_from([None, TODAY + timedelta(hours=20)]),
    odd=st.dictionaries(st.integers(0, 5), st.sampled_from([None, {"id": "odd"}]), max_size=2),
    seed=st.integers(0, 10_000),
)
def test_what_is_there_all_the_while_is_found_or_the_run_fails(  # noqa: PLR0913, PLR0917
    order: str,
    counts: str | int,
    following: str,
    count: int,
    most: int,
    undisturbed: int,
    leaving: int,
    arriving: int,
    at_once: int,
    hidden: int,
    until: datetime | None,
    odd: dict[int, object],
    seed: int,
) -> None:
    # Whether an entry has changed places with one of the same time, and another one has gone and
    # one more come, all between two requests, no server shows; nor which row without an id moved.
    is_hidden = (leaving and arriving) or None in odd.values()
    assume(not (is_hidden and order.startswith("ties")))
    log = Log(at_random(count, 3, seed), order, most=most, counts=counts, next=following)
    log.undisturbed, log.at_once, log.leaving = undisturbed, at_once, min(leaving, count)
    log.arriving = [row(1000 + number, TODAY + timedelta(days=1)) for number in range(arriving)]
    log.odd, log.hidden = odd, hidden
    log.dice = Random(seed)  # noqa: S311  (no secret)
    there = {one["id"] for one in log.rows}
    api = Api(log, until)

    with suppress(ApiError):
        assert whole(api).keys() >= there & {one["id"] for one in log.rows}

    assert api.requests <= 600


def test_quiet_years_take_few_requests() -> None:
    rows = [row(number, TODAY - timedelta(days=number * 30)) for number in range(60)]
    api = Api(Log(rows))

    found = list(read_entries(api, TODAY - timedelta(days=1830), TODAY.date(), api.flaws))

    assert sum(map(len, found)) == 60
    assert api.requests < 50


def test_after_a_busy_span_days_are_read_one_by_one() -> None:
    api = Api(Log(at_random(5000, 24, 1), most=1000))

    list(read_entries(api, TODAY - timedelta(days=40), TODAY.date(), api.flaws))

    widths = [(span.end - span.start).days for span in api.spans if span.start and span.end]
    assert widths[:4] == [1, 2, 4, 8]
    assert widths[-3:] == [1, 1, 1]


@pytest.mark.parametrize("is_inclusive", [True, False])
@pytest.mark.parametrize("zone", [-12, 0, 14])
@pytest.mark.parametrize("age", [1, 2, 100, 5000])
def test_the_first_day_is_found(age: int, zone: float, is_inclusive: bool) -> None:  # noqa: FBT001
    first = TODAY - timedelta(days=age)
    log = Log([row(1, first), row(2, TODAY)], zone=zone, is_inclusive=is_inclusive)
    api = Api(log)

    day = first_day(api, TODAY.date())

    assert timedelta(days=-1) <= first - datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert first.date() - day <= timedelta(days=3)
    assert api.requests < 20


def test_an_entry_with_a_date_of_long_ago_is_no_reason_to_leave_one_out() -> None:
    log = Log([row(1, datetime(1970, 1, 2, tzinfo=UTC)), row(2, TODAY)])

    assert first_day(Api(log), TODAY.date()).year == 1970


def test_the_first_day_of_an_empty_log_is_about_today() -> None:
    assert TODAY.date() - first_day(Api(Log([])), TODAY.date()) <= timedelta(days=1)
