from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import strategies as st

from tap_sentry_audit.api.exceptions import InvalidBodyError
from tap_sentry_audit.api.pagination import Cursor, Link, parse_links
from tap_sentry_audit.audit_log.pages import Query, parse_page, path
from testing import recorded

MOMENTS = st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  (a bound)


def test_a_cursor_reads_from_its_millisecond_on() -> None:
    assert str(Cursor.at(1776121200218)) == "1776121200217:0:1"


def test_the_first_cursor_of_all_starts_at_the_first_entry() -> None:
    assert str(Cursor.at(0)) == "0:0:1"


def test_a_cursor_towards_older_skips_its_offset() -> None:
    assert str(Cursor(1776121200218, 9, towards_newer=False)) == "1776121200218:9:0"


def test_a_link_header_gives_cursors_and_whether_rows_lie_behind_them() -> None:
    assert parse_links(recorded.headers("first_page")["Link"]) == {
        "previous": Link("1795205567095:0:1", has_results=False),
        "next": Link("1793531088258:9:0", has_results=True),
    }


@pytest.mark.parametrize("header", ["", "nonsense", '<https://sentry.io>; rel="next"'])
def test_a_link_header_without_cursors_gives_none(header: str) -> None:
    assert parse_links(header) == {}


def test_a_query_names_only_what_it_asks_for() -> None:
    assert Query(cursor=None).parameters() == {"per_page": "100"}
    assert Query(Cursor.at(5), "org.edit", 7).parameters() == {
        "per_page": "100",
        "cursor": "4:0:1",
        "event": "org.edit",
        "actor": "7",
    }


def test_the_path_has_its_last_slash() -> None:
    assert path("acme") == "organizations/acme/audit-logs/"


@pytest.mark.parametrize(
    ("name", "count", "more"),
    [
        ("small_p1", 100, False),
        ("small_p2", 100, True),
        ("small_p3", 50, True),
        ("empty_org", 0, False),
        ("cursor_zero_prev", 2, True),
        ("cursor_prev_empty", 0, False),
    ],
)
def test_recorded_pages_are_read_oldest_first(name: str, count: int, *, more: bool) -> None:
    page = parse_page(recorded.body(name), recorded.headers(name))

    assert len(page.entries) == count
    assert page.more_newer == more
    assert {"member.invite", "org-auth-token.remove"} < set(page.event_names)
    created = [entry.created for entry in page.entries]
    assert created == sorted(created)


def test_null_rows_are_counted() -> None:
    body = b'{"rows": [null, {"id": "1", "dateCreated": "2026-01-01T00:00:00Z"}, null]}'
    page = parse_page(body, {})

    assert (len(page.entries), page.null_rows) == (1, 2)


def test_a_bare_list_is_a_page_too() -> None:
    page = parse_page(b'[{"id": 1, "dateCreated": "2026-01-01T00:00:00Z"}]', {})

    assert [entry.id for entry in page.entries] == ["1"]
    assert not page.more_newer


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"5",
        b'"rows"',
        b"{}",
        b'{"rows": {}}',
        b'{"rows": [5]}',
        b'{"rows": [{"id": "1"}]}',
        b'{"rows": [{"dateCreated": "2026-01-01T00:00:00Z"}]}',
        b'{"rows": [{"id": "1", "dateCreated": "soon"}]}',
        b'{"rows": [{"id": "1", "dateCreated": null}]}',
        b'{"rows": [{"id": "1", "dateCreated": "0001-01-01T00:00:00+02:00"}]}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_page_is_unreadable(body: bytes) -> None:
    with pytest.raises(InvalidBodyError):
        parse_page(body, {})


def test_the_servers_clock_is_the_end_of_the_second_that_it_names() -> None:
    page = parse_page(b"[]", {"Date": "Sun, 15 Nov 2026 07:48:34 GMT"})

    assert page.server_time == datetime(2026, 11, 15, 7, 48, 35, tzinfo=UTC)


@pytest.mark.parametrize("headers", [{}, {"Date": "soon"}])
def test_without_the_servers_clock_ours_is_taken(headers: dict[str, str]) -> None:
    age = datetime.now(UTC) - parse_page(b"[]", headers).server_time

    assert abs(age) < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("escape", "text"),
    [
        (rb"\ud83d\ude00", "😀"),
        (rb"\ud800", r"\ud800"),
        (rb"\uDFFF!", r"\uDFFF!"),
        (rb"\ude00\ud83d", r"\ude00\ud83d"),
        (rb"\ud83d\ud83d\ude00", "\\ud83d😀"),
        (rb"\\ud800", r"\ud800"),
        (rb"\u0041\n", "A\n"),
    ],
)
def test_a_lone_surrogate_becomes_the_text_of_its_escape(escape: bytes, text: str) -> None:
    row = b'{"id": "1", "dateCreated": "2026-01-01T00:00:00Z", "note": "%s"}' % escape
    [entry] = parse_page(b"[%s]" % row, {}).entries

    assert entry.row["note"] == text


def test_an_integer_of_thousands_of_digits_is_kept() -> None:
    row = b'{"id": "1", "dateCreated": "2026-01-01T00:00:00Z", "data": {"n": %s}}' % (b"7" * 5000)
    [entry] = parse_page(b"[%s]" % row, {}).entries

    assert entry.row["data"] == {"n": Decimal("7" * 5000)}


def test_numbers_stay_exact() -> None:
    numbers = b"[0.1234567890123456789, 1e400, 123456789012345678901234567890]"
    row = b'{"id": "1", "dateCreated": "2026-01-01T00:00:00Z", "data": %s}' % numbers
    [entry] = parse_page(b"[%s]" % row, {}).entries

    assert entry.row["data"] == [
        Decimal("0.1234567890123456789"),
        Decimal("1E+400"),
        123456789012345678901234567890,
    ]
