"""The audit-log endpoint, from a query to an answer, apart from any sockets."""

import re
import uuid
from urllib.parse import urlencode

import msgspec

from .answers import Answer, json_answer
from .log import Log
from .paging import Cursor, parse

Query = list[tuple[str, str]]

INTEGER = re.compile(r"-?\d+")
CURSOR = re.compile(r"-?\d+(\.\d*)?:-?\d+:-?\d+")
MAX_ACTOR = 2**31 - 1
MAX_PER_PAGE = 100


def answer(log: Log, url: str, query: Query, *, old_body: bool = False) -> Answer:
    asked = {"per_page": str(MAX_PER_PAGE)} | dict(query)
    # Empty is as good as not there, except for per_page.
    event, actor = asked.get("event") or None, asked.get("actor") or None
    cursor = asked.get("cursor") or "0:0:0"
    complaint = _complaint(actor or "0", asked["per_page"], cursor)
    if complaint:
        return json_answer(400, complaint)
    try:
        page = log.page(parse(cursor), int(asked["per_page"]), (event, actor))
    except (ArithmeticError, LookupError, ValueError):
        return internal_error()
    body = log.render(page.stamps)
    if not old_body:
        options = msgspec.json.encode(log.options()).decode()
        body = f'{{"rows":{body},"options":{options}}}'
    previous, following = (page.previous, page.has_previous), (page.next, page.has_next)
    return json_answer(200, body.encode(), Link=link(url, query, previous, following))


def complaint_of_paging(per_page: str, cursor: str) -> dict[str, object] | None:
    if not INTEGER.fullmatch(per_page):
        return {"detail": "Invalid per_page parameter."}
    if int(per_page) > MAX_PER_PAGE:
        return {"detail": f"Invalid per_page value. Cannot exceed {MAX_PER_PAGE}."}
    if not CURSOR.fullmatch(cursor):
        return {"detail": "Invalid cursor parameter."}
    return None


def link(
    url: str, query: Query, previous: tuple[Cursor, bool], following: tuple[Cursor, bool]
) -> str:
    kept = urlencode([(name, value) for name, value in query if name != "cursor"])
    ways = [("previous", *previous), ("next", *following)]
    return ", ".join(
        f'<{url}?{kept}&cursor={cursor}>; rel="{rel}"; '
        f'results="{str(more).lower()}"; cursor="{cursor}"'
        for rel, cursor, more in ways
    )


def internal_error() -> Answer:
    return json_answer(500, {"detail": "Internal Error", "errorId": uuid.uuid4().hex})


def _complaint(actor: str, per_page: str, cursor: str) -> dict[str, object] | None:
    if not INTEGER.fullmatch(actor):
        return {"actor": ["A valid integer is required."]}
    if int(actor) > MAX_ACTOR:
        return {"actor": [f"Ensure this value is less than or equal to {MAX_ACTOR}."]}
    return complaint_of_paging(per_page, cursor)
