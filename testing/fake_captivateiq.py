"""A stand-in for CaptivateIQ's audit-log API, with a choice for each thing that is not known."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from testing.local_server import LocalServer

if TYPE_CHECKING:
    from collections.abc import Mapping

Row = dict[str, Any]

TOKEN = "secret-token"  # noqa: S105  (the stand-in's)


@dataclass
class Log:
    """An organization's audit log and how the server shows it; `zone` is in hours.

    `arriving` comes in by itself, `at_once` rows before each request; `leaving` is how many of the
    oldest rows go away so, as a retention would let them. The first `undisturbed` requests see
    neither.
    Pages have at most `most` rows, or at most one of `varying`. In the order `ties`, rows of the
    same time are in another order each time; in `ties by page`, in one that depends on the offset.
    `counts` can be a number that the count does not exceed; then `next` ends there, too. `odd` are
    rows that are shown at an index, whatever days are asked for. `hidden` rows are counted only.
    """

    rows: list[Row]
    order: str = "ascending"
    is_inclusive: bool = False
    zone: float = 0
    most: int = 100
    next: str = "url"
    counts: str | int = "all"
    odd: Mapping[int, object] = field(default_factory=dict)
    hidden: int = 0
    arriving: list[Row] = field(default_factory=list)
    leaving: int = 0
    at_once: int = 1
    undisturbed: int = 0
    varying: list[int] = field(default_factory=list)
    requests: int = 0
    dice: Random = field(default_factory=lambda: Random(1))  # noqa: S311  (no secret)

    def answer(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        """The body for a request's parameters."""
        self.requests += 1
        for _ in range(self.at_once if self.requests > self.undisturbed else 0):
            self.rows += [self.arriving.pop(0)] if self.arriving else []
            if self.leaving:
                self.leaving -= 1
                self.rows.remove(min(self.rows, key=_created))
        found: list[Any] = [row for row in self.rows if self._is_in(row, parameters)]
        offset = int(parameters.get("offset", 0))
        self._sort(found, offset)
        for index, odd in self.odd.items():
            found.insert(index, odd)
        most = self.dice.choice(self.varying) if self.varying else self.most
        end = offset + min(int(parameters.get("limit", most)), most)
        count = min(self.counts, len(found)) if isinstance(self.counts, int) else len(found)
        following = {"url": end < count, "never": False, "always": True}[self.next]
        shown = found[offset:end]
        totals = {"nothing": {}, "page": {"total_count": len(shown)}}
        return {
            "object": "list",
            **totals.get(str(self.counts), {"total_count": count + self.hidden}),
            "next": f"?offset={end}" if following else None,
            "previous": None,
            "data": shown,
        }

    def _is_in(self, row: Row, parameters: Mapping[str, str]) -> bool:
        day = (_created(row) + timedelta(hours=self.zone)).date()
        start, end = parameters.get("start_date"), parameters.get("end_date")
        if start and day < date.fromisoformat(start):
            return False
        if not end:
            return True
        last = date.fromisoformat(end)
        return day <= last if self.is_inclusive else day < last

    def _sort(self, rows: list[Row], offset: int) -> None:
        if self.order == "shuffled":
            self.dice.shuffle(rows)
        elif self.order.startswith("ties"):
            dice = self.dice if self.order == "ties" else Random(offset)  # noqa: S311  (no secret)
            dice.shuffle(rows)
            rows.sort(key=_created)
        elif self.order == "arbitrary":
            rows.sort(key=lambda row: str(row["id"])[::-1])
        else:
            rows.sort(key=_created, reverse=self.order == "descending")


def _created(row: Row) -> datetime:
    created = datetime.fromisoformat(row["created_at"])
    return created if created.tzinfo else created.replace(tzinfo=UTC)


def row(number: int, at: datetime | str, **changes: object) -> Row:
    """An entry as in CaptivateIQ's documentation."""
    created = at if isinstance(at, str) else f"{at:%Y-%m-%dT%H:%M:%S}Z"
    return {
        "id": f"550e8400-e29b-41d4-a716-{number:012}",
        "object": "audit_log",
        "organization_id": "org_123456",
        "organization_name": "Acme Corp",
        "user_id": "user_001",
        "user_name": "John Smith",
        "user_email": "john.smith@example.com",
        "logged_in_user_id": "admin_001",
        "logged_in_user_name": "Jane Admin",
        "logged_in_user_email": "jane.admin@example.com",
        "ip_address": "203.0.113.45",
        "created_at": created,
        "event_type": "user.login",
        "version": 0,
        "object_id": "obj_789012",
        "object_name": "Sales Dashboard",
        "object_type": "report",
        "parent_objects": [],
        "data": {},
        **changes,
    }


@dataclass(frozen=True)
class Reply:
    """An answer in the place of the log's; `after_seconds` delays it.

    Its part `drips`, "headers" or "body", comes byte by byte.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    after_seconds: float = 0
    drips: str = ""


class FakeCaptivateIQ(LocalServer):
    """The API over HTTP while its context lasts; first it gives the replies, one a request."""

    def __init__(self, log: Log, *replies: Reply) -> None:
        self.log = log
        self.replies = list(replies)
        self.fails_from: int | None = None
        """From which request on the token is no longer good."""
        self.hangs_from: int | None = None
        """From which request on an answer takes longer than anybody waits."""
        self.ahead = timedelta()
        """How far the server's clock is ahead of ours."""
        self.requests: list[dict[str, str]] = []
        self.authorizations: set[str | None] = set()
        self.times: list[float] = []
        super().__init__(_handler(self))
        self.url += "/ciq/v1"

    def take(self, url: str, authorization: str | None) -> Reply:
        """Take a request in, and return what to answer."""
        self.times.append(time.monotonic())
        parts = urlsplit(url)
        self.requests.append(dict(parse_qsl(parts.query)))
        self.authorizations.add(authorization)
        if self.fails_from is not None and len(self.requests) > self.fails_from:
            return Reply(401)
        if self.hangs_from is not None and len(self.requests) > self.hangs_from:
            return Reply(502, after_seconds=60)
        if self.replies:
            return self.replies.pop(0)
        if parts.path != "/ciq/v1/audit-logs/":
            return Reply(404)
        body = json.dumps(self.log.answer(self.requests[-1])).encode()
        return Reply(200, body, {"Content-Type": "application/json"})


def _handler(server: FakeCaptivateIQ) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            reply = server.take(self.path, self.headers["Authorization"])
            time.sleep(reply.after_seconds)
            with suppress(ConnectionError):
                self.send_response(reply.status)
                if reply.drips == "headers":
                    self.flush_headers()
                    self.drip(b"X-Slow: " + bytes(100))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                if reply.drips == "body":
                    self.drip(reply.body)
                self.wfile.write(reply.body)

        def drip(self, content: bytes) -> None:
            for byte in content:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)

        def date_time_string(self, timestamp: float | None = None) -> str:
            now = time.time() if timestamp is None else timestamp
            return super().date_time_string(now + server.ahead.total_seconds())

        def log_message(self, *_: object) -> None:
            pass

    return Handler
