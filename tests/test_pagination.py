"""Cursors, the `Link` header, and plain lists: what an answer must have, and where it leads."""

from __future__ import annotations

from itertools import cycle, islice

import pytest

from tap_sentry_audit.api.exceptions import InvalidBodyError, SentryError
from tap_sentry_audit.api.pagination import (
    ListPage,
    pages,
    parse_detail,
    parse_links,
    parse_list,
)
from tap_sentry_audit.api.timestamps import EPOCH

NOWHERE = '<http://x/>; rel="next"; results="true"; cursor=""'
FULL = b"[" + b",".join([b'{"id": "1"}'] * 100) + b"]"


@pytest.mark.parametrize("header", ["", "nonsense", '<https://sentry.io>; rel="next"'])
def test_a_link_header_without_cursors_gives_none(header: str) -> None:
    assert parse_links(header) == {}


@pytest.mark.parametrize("headers", [{}, {"Link": NOWHERE}])
def test_a_full_page_without_a_word_of_what_follows_is_invalid(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidBodyError, match="nothing says"):
        parse_list(FULL, headers)


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
