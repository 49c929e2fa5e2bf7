"""Plain lists: what an answer must have, and how far its cursors are followed."""

from __future__ import annotations

from itertools import cycle

import pytest

from tap_sentry_audit.api.exceptions import InvalidBodyError, SentryError
from tap_sentry_audit.api.pagination import ListPage, pages, parse_detail, parse_list
from tap_sentry_audit.api.timestamps import EPOCH

NEXT = {"Link": '<http://x/>; rel="next"; results="true"; cursor="100:1:0"'}
LAST = {"Link": '<http://x/>; rel="next"; results="false"; cursor="100:1:0"'}
FULL = b"[" + b",".join([b'{"id": "1"}'] * 100) + b"]"


def leading_to(cursor: str | None) -> ListPage:
    return ListPage([], cursor, EPOCH, None, None, b"[]")


def test_the_server_says_if_more_rows_follow() -> None:
    assert parse_list(FULL, NEXT).older == "100:1:0"
    assert parse_list(FULL, LAST).older is None


def test_a_full_page_without_a_word_of_what_follows_is_no_answer() -> None:
    with pytest.raises(InvalidBodyError, match="Link"):
        parse_list(FULL, {})


def test_null_rows_are_left_out_and_counted() -> None:
    page = parse_list(b'[null, {"id": "1"}, null ]', LAST)

    assert (page.rows, page.null_rows) == ([{"id": "1"}], 2)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"5", b"[5]", b"[{}]", b'[{"id": null}]', b'[{"id": "1"}', b"<html>"]
)
def test_what_is_no_list_of_rows_with_ids_is_no_answer(body: bytes) -> None:
    with pytest.raises(InvalidBodyError):
        parse_list(body, LAST, "id")


@pytest.mark.parametrize("time", ["null", "5", '"soon"', "{}"])
def test_a_row_needs_the_time_that_it_is_read_by(time: str) -> None:
    with pytest.raises(InvalidBodyError):
        parse_list(f'[{{"lastSeen": {time}}}]'.encode(), LAST, time="lastSeen")


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[]", b"{},{}", b'{"id": null}'])
def test_what_is_no_object_with_an_id_is_no_detail(body: bytes) -> None:
    with pytest.raises(InvalidBodyError):
        parse_detail(body, {})


@pytest.mark.parametrize("cursors", [["a"], ["a", "b"]])
def test_a_server_that_leads_in_a_circle_is_an_error(cursors: list[str]) -> None:
    leading = cycle(cursors)

    with pytest.raises(SentryError, match="already"):
        list(pages(lambda _: leading_to(next(leading))))
