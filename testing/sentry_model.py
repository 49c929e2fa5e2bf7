"""A second model of Sentry's audit-log endpoint, small and apart from the stand-in.

It follows the recorded facts about the API alone: cursors, ties in a new order for each request,
filters, null rows and rate limits. Entries come and go while it is read. It shares no code with
the tap or the stand-in, so an error that those two have in common shows up here.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from random import Random
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

from testing.local_server import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Answer = tuple[int, dict[str, str], bytes]

TOO_MANY = b'"You are attempting to use this endpoint too frequently."'

FAULTS: dict[str, Answer | Literal["reset", "cut"]] = {
    "reset": "reset",
    "cut": "cut",
    "500": (500, {}, b'{"detail": "Internal Error"}'),
    "502": (502, {}, b"<html>Bad gateway</html>"),
    "503 with Retry-After": (503, {"Retry-After": "0"}, b""),
    "429": (429, {}, TOO_MANY),
    "429 with Retry-After": (429, {"Retry-After": "0"}, TOO_MANY),
    "429 with a date": (429, {"Retry-After": "Thu, 01 Jan 2026 00:00:00 GMT"}, TOO_MANY),
    "429 with a long number": (429, {"X-Sentry-Rate-Limit-Reset": "9" * 400}, TOO_MANY),
    "half of a body": (200, {}, b'{"rows": [{"id": "1", '),
    "no UTF-8": (200, {}, b'{"rows": [{"id": "\xff", "dateCreated": "2026-01-01"}]}'),
    "nested deeply": (200, {}, b'{"rows": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"),
}
"""What can come in the place of an answer; "cut" breaks off the answer itself."""

BUSY: Answer = (429, {"Retry-After": "1"}, TOO_MANY)
BUSY_SECONDS = 1.0

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """One entry; `at` is in microseconds since 1970, `more` are other fields of its row."""

    at: int
    id: str
    event: str = "member.invite"
    actor: int | None = 7
    more: Mapping[str, Any] = field(default_factory=dict)
    is_null: bool = False
    """Whether Sentry fails to serialize it: `null` stands in its row's place (23.7.1)."""

    @property
    def date_created(self) -> str:
        """The time as Sentry writes it: no fraction where it is zero."""
        moment = EPOCH + timedelta(microseconds=self.at)
        return moment.isoformat().replace("+00:00", "Z")

    def row(self) -> dict[str, Any] | None:
        if self.is_null:
            return None
        return {
            "id": self.id,
            "actor": {"name": "SCIM"} if self.actor is None else {"id": str(self.actor)},
            "event": self.event,
            "ipAddress": None,
            "note": "",
            "targetObject": None,
            "targetUser": None,
            "data": {},
            "dateCreated": self.date_created,
            **self.more,
        }


@dataclass
class Organization:
    """The log of an organization; `before_answer` is called with each request's parameters."""

    entries: dict[str, Entry] = field(default_factory=dict)
    known: dict[str, Entry] = field(default_factory=dict)
    """All that there ever were, those included that have been taken away."""
    before_answer: Callable[[dict[str, str]], None] = lambda _: None
    requests: int = 0

    @property
    def shown(self) -> dict[str, Entry]:
        """The entries that the server can show, by id."""
        return {key: entry for key, entry in self.entries.items() if not entry.is_null}

    def add(self, entries: Iterable[Entry]) -> None:
        new = {entry.id: entry for entry in entries}
        self.entries |= new
        self.known |= new


@dataclass(frozen=True)
class RateLimit:
    """So many requests in each second of the server's clock, and so many at once."""

    requests: int
    at_once: int


class SentryModel(LocalServer):
    """Serves organizations by slug while its context lasts.

    Faults come at `fault_rate`, one of `faults` each time. `on_request` is called before each
    request, with its number. From the request with the number `busy_at` on, everybody is asked to
    wait for a second, and `impatient` counts the other requests that come meanwhile.
    """

    def __init__(self, organizations: dict[str, Organization], seed: int = 0) -> None:
        self.organizations = organizations
        self.fault_rate = 0.0
        self.faults = list(FAULTS)
        self.rate_limit: RateLimit | None = None
        self.requests = 0
        self.on_request: Callable[[int], None] = lambda _: None
        self.busy_at: int | None = None
        self.impatient = 0
        self._busy_until = 0.0
        self._random = Random(seed)  # noqa: S311
        self._lock = Lock()
        self._running = 0
        self._window = (0, 0)
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Otherwise the body waits for the ACK of the headers: 40 ms for each answer.
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                fault = model.begin()
                if fault == "reset":
                    self.close_connection = True
                    return
                replaced = None if fault == "cut" else fault
                status, headers, body = model.limited(self.path, replaced)
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Date", formatdate(usegmt=True))
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
                self.close_connection = fault == "cut"

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(Handler)

    def begin(self) -> Answer | Literal["reset", "cut"] | None:
        """Count a request; return what comes in the place of its answer, if anything does."""
        with self._lock:
            self.requests += 1
            self.on_request(self.requests)
            if time.monotonic() < self._busy_until:
                self.impatient += 1
                return BUSY
            if self.requests == self.busy_at:
                self._busy_until = time.monotonic() + BUSY_SECONDS
                return BUSY
            if self._random.random() >= self.fault_rate:
                return None
            return FAULTS[self._random.choice(self.faults)]

    def limited(self, target: str, fault: Answer | None) -> Answer:
        """Return the answer, or a 429 where the rate limit is used up, with its headers."""
        limit = self.rate_limit
        if limit is None:
            return fault or self.answer(target)
        with self._lock:
            second = int(time.time())
            used = 1 + (self._window[1] if self._window[0] == second else 0)
            self._window = second, used
            self._running += 1
            running = self._running
        refused = used > limit.requests or running > limit.at_once
        try:
            answer = (429, {}, TOO_MANY) if refused else fault or self.answer(target)
        finally:
            with self._lock:
                self._running -= 1
        names = ("Limit", "Remaining", "Reset", "ConcurrentLimit", "ConcurrentRemaining")
        remaining = max(0, limit.requests - used)
        # ConcurrentRemaining can be the word None (Sentry 23.7.1).
        concurrent = None if refused else limit.at_once - running
        values = (limit.requests, remaining, second + 1, limit.at_once, concurrent)
        headers = {
            f"X-Sentry-Rate-Limit-{name}": str(value)
            for name, value in zip(names, values, strict=True)
        }
        return answer[0], headers | answer[1], answer[2]

    def answer(self, target: str) -> Answer:
        url = urlsplit(target)
        path = re.fullmatch(r"/api/0/organizations/([^/]+)/audit-logs/", url.path)
        if path is None or path[1] not in self.organizations:
            return 404, {}, b'{"detail": "The requested resource does not exist"}'
        organization = self.organizations[path[1]]
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        with self._lock:
            organization.requests += 1
            organization.before_answer(asked)
            return self._page(organization, asked)

    def _page(self, organization: Organization, asked: dict[str, str]) -> Answer:
        event, actor, size = asked.get("event"), asked.get("actor"), int(asked["per_page"])
        rows = [
            entry
            for entry in organization.entries.values()
            if event in (None, entry.event) and actor in (None, str(entry.actor))
        ]
        value, offset, is_prev = map(int, asked.get("cursor", "0:0:0").split(":"))
        edge = value * 1000
        rows = [e for e in rows if not value or (e.at >= edge if is_prev else e.at <= edge)]
        # No tie-breaker: PostgreSQL may order ties differently for each request.
        self._random.shuffle(rows)
        rows.sort(key=lambda entry: entry.at, reverse=not is_prev)
        if is_prev and rows and value and rows[0].at // 1000 == value:
            rows = rows[1:]
        page, is_more = rows[offset:][:size], len(rows) > offset + size
        if is_prev:
            page, newer, older = page[::-1], is_more, True
        else:
            newer, older = bool(value), is_more
        first = page[0].at // 1000 if page else value
        last = -(-page[-1].at // 1000) if page else value
        link = ", ".join(
            f'<http://elsewhere.invalid/?cursor={cursor}>; rel="{rel}"; '
            f'results="{str(results).lower()}"; cursor="{cursor}"'
            for rel, cursor, results in (
                ("previous", f"{first}:0:1", newer),
                ("next", f"{last}:0:0", older),
            )
        )
        names = ["org.edit", "member.invite", "member.edit", "project.create", "team.create"]
        body = {"rows": [entry.row() for entry in page], "options": names}
        return 200, {"Link": link}, json.dumps(body).encode()
