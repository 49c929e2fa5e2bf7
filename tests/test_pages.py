"""The audit-log endpoint: queries, and what is read out of a page."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tap_sentry_audit.api.exceptions import InvalidBodyError
from tap_sentry_audit.audit_log.pages import Page, parse_page
from testing import recorded


def page_of(*fields: bytes) -> Page:
    """A page of one entry with these fields."""
    row = b", ".join([b'"id": "1", "dateCreated": "2026-01-01T00:00:00Z"', *fields])
    return parse_page(b"[{%s}]" % row, {})


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


@pytest.mark.parametrize(("count", "more"), [(99, False), (100, True)])
def test_without_a_link_header_a_full_page_has_more_after_it(count: int, *, more: bool) -> None:
    rows = [b"null", *[b'{"id": 1, "dateCreated": "2026-01-01T00:00:00Z"}'] * (count - 1)]
    page = parse_page(b"[%s]" % b",".join(rows), {})

    assert (len(page.entries), page.null_rows) == (count - 1, 1)
    assert page.more_newer == more


ROWS = [
    b"5",
    b'{"id": "1"}',
    b'{"dateCreated": "2026-01-01T00:00:00Z"}',
    b'{"id": "1", "dateCreated": "soon"}',
    b'{"id": "1", "dateCreated": null}',
    b'{"id": "1", "dateCreated": "0001-01-01T00:00:00+02:00"}',
]
BODIES = [
    b"",
    b"<html></html>",
    b"5",
    b'"rows"',
    b"{}",
    b'{"rows": {}}',
    b"\xff\xfe",
    b"[" * 100_000,
]


@pytest.mark.parametrize("body", [*BODIES, *(b'{"rows": [%s]}' % row for row in ROWS)])
def test_what_is_no_page_is_an_invalid_body(body: bytes) -> None:
    with pytest.raises(InvalidBodyError):
        parse_page(body, {})


def test_the_servers_clock_is_the_end_of_the_second_that_it_names() -> None:
    page = parse_page(b"[]", {"Date": "Sun, 15 Nov 2026 07:48:34 GMT"})

    assert page.server_time == datetime(2026, 11, 15, 7, 48, 35, tzinfo=UTC)


@pytest.mark.parametrize("headers", [{}, {"Date": "soon"}])
def test_without_the_servers_clock_ours_is_taken(headers: dict[str, str]) -> None:
    before = datetime.now(UTC)

    assert before <= parse_page(b"[]", headers).server_time <= datetime.now(UTC)


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
    [entry] = page_of(b'"note": "%s"' % escape).entries

    assert entry.row["note"] == text


@pytest.mark.parametrize(
    ("written", "number"),
    [
        (b"0.1234567890123456789", Decimal("0.1234567890123456789")),
        (b"1e400", Decimal("1E+400")),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b"7" * 5000, Decimal("7" * 5000)),
    ],
)
def test_numbers_stay_exact(written: bytes, number: Decimal | int) -> None:
    [entry] = page_of(b'"data": [%s]' % written).entries

    assert entry.row["data"] == [number]
