"""Cursors, the `Link` header, and plain lists: what an answer must have, and where it leads."""

from __future__ import annotations

from itertools import cycle, islice

import pytest

from tap_sentry_audit.api.exceptions import InvalidBodyError, SentryError
from tap_sentry_audit.api.pagination import (
    Cursor,
    Link,
    ListPage,
    pages,
    parse_detail,
    parse_links,
    parse_list,
)
from tap_sentry_audit.api.timestamps import EPOCH
from testing import recorded

FULL = b"[" + b",".join([b'{"id": "1"}'] * 100) + b"]"


def link(*, results: bool, cursor: str = "100:1:0") -> dict[str, str]:
    text = f'<http://x/>; rel="next"; results="{str(results).lower()}"; cursor="{cursor}"'
    return {"Link": text}


@pytest.mark.parametrize(
    ("cursor", "text"),
    [
        (Cursor.at(1776121200218), "1776121200217:0:1"),
        (Cursor.at(0), "0:0:1"),
        (Cursor(1776121200218, 9, towards_newer=False), "1776121200218:9:0"),
    ],
)
def test_a_cursor_is_written_as_sentry_does(cursor: Cursor, text: str) -> None:
    assert str(cursor) == text


def test_a_link_header_gives_cursors_and_whether_rows_lie_behind_them() -> None:
    assert parse_links(recorded.headers("first_page")["Link"]) == {
        "previous": Link("1795205567095:0:1", has_results=False),
        "next": Link("1793531088258:9:0", has_results=True),
    }


@pytest.mark.parametrize("header", ["", "nonsense", '<https://sentry.io>; rel="next"'])
def test_a_link_header_without_cursors_gives_none(header: str) -> None:
    assert parse_links(header) == {}


def test_the_server_says_if_more_rows_follow() -> None:
    assert parse_list(FULL, link(results=True)).older == "100:1:0"
    assert parse_list(FULL, link(results=False)).older is None


@pytest.mark.parametrize("headers", [{}, link(results=True, cursor="")])
def test_a_full_page_without_a_word_of_what_follows_is_invalid(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidBodyError, match="nothing says"):
        parse_list(FULL, headers)


def test_null_rows_are_left_out_and_counted() -> None:
    page = parse_list(b'[null, {"id": "1"}, null ]', {})

    assert (page.rows, page.null_rows) == ([{"id": "1"}], 2)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"5", b"[5]", b"[{}]", b'[{"id": null}]', b'[{"id": "1"}', b"<html>", b"[" * 9999],
)
def test_what_is_no_list_of_rows_with_ids_is_invalid(body: bytes) -> None:
    with pytest.raises(InvalidBodyError):
        parse_list(body, {}, "id")


@pytest.mark.parametrize("time", ["null", "5", '"soon"', "{}"])
def test_a_row_needs_the_time_that_it_is_read_by(time: str) -> None:
    with pytest.raises(InvalidBodyError):
        parse_list(f'[{{"lastSeen": {time}}}]'.encode(), {}, time="lastSeen")


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[]", b"{},{}", b'{"id": null}'])
def test_what_is_no_object_with_an_id_is_no_detail(body: bytes) -> None:
    with pytest.raises(InvalidBodyError):
        parse_detail(body, {})


@pytest.mark.parametrize("cursors", [["a"], ["a", "b"]])
def test_a_server_that_leads_in_a_circle_is_an_error(cursors: list[str]) -> None:
    leading = cycle(cursors)

    with pytest.raises(SentryError, match="already"):
        list(islice(pages(lambda _: ListPage([], next(leading), EPOCH, None, None, b"")), 9))
