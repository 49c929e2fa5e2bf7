"""A second model of Sentry's audit-log endpoint, small and apart from the stand-in.

It knows only `../shared/facts/sentry-audit-api.md`: cursors, ties in another order for each
request, and filters. Its entries come and go while it is read. So what the tap, its tests and the
stand-in agree on is not what decides here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from random import Random
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

from local_server import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Answer = tuple[int, dict[str, str], bytes]

FAULTS: list[Answer | Literal["reset"]] = [
    "reset",
    (500, {}, b'{"detail": "Internal Error"}'),
    (502, {}, b"<html>Bad gateway</html>"),
    (503, {"Retry-After": "0"}, b""),
    (429, {}, b'"You are attempting to use this endpoint too frequently."'),
    (200, {}, b'{"rows": [{"id": "1", '),
]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """One entry; `at` is in microseconds since 1970."""

    at: int
    id: str
    event: str = "member.invite"
    actor: int | None = 7

    def row(self) -> dict[str, Any]:
        moment = EPOCH + timedelta(microseconds=self.at)
        return {
            "id": self.id,
            "actor": {"name": "SCIM"} if self.actor is None else {"id": str(self.actor)},
            "event": self.event,
            "ipAddress": None,
            "note": "",
            "targetObject": None,
            "targetUser": None,
            "data": {},
            "dateCreated": moment.isoformat().replace("+00:00", "Z"),
        }


@dataclass
class Organization:
    """The log of an organization; `before_answer` is called with each request's parameters."""

    entries: dict[str, Entry] = field(default_factory=dict)
    known: dict[str, Entry] = field(default_factory=dict)
    """All that there ever were, those included that have been taken away."""
    before_answer: Callable[[dict[str, str]], None] = lambda _: None
    requests: int = 0

    def add(self, entries: Iterable[Entry]) -> None:
        new = {entry.id: entry for entry in entries}
        self.entries |= new
        self.known |= new


class SentryModel(LocalServer):
    """Serves organizations by slug while its context lasts."""

    def __init__(self, organizations: dict[str, Organization], seed: int = 0) -> None:
        self.organizations = organizations
        self.fault_rate = 0.0
        self._random = Random(seed)  # noqa: S311
        self._lock = Lock()
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                fault = model.fault()
                if fault == "reset":
                    self.close_connection = True
                    return
                status, headers, body = fault or model.answer(self.path)
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Date", formatdate(usegmt=True))
                self.send_header("Content-Type", "application/json")
                is_cut = fault is None and model.cuts()
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if is_cut else body)
                self.close_connection = is_cut

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(Handler)

    def fault(self) -> Answer | Literal["reset"] | None:
        """What comes in the place of an answer, now and then."""
        with self._lock:
            if self._random.random() >= self.fault_rate:
                return None
            return self._random.choice(FAULTS)

    def cuts(self) -> bool:
        """Whether the connection breaks in the middle of an answer."""
        with self._lock:
            return self._random.random() < self.fault_rate / 4

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
        # No tie-breaker: PostgreSQL may order ties anew for each request.
        self._random.shuffle(rows)
        rows.sort(key=lambda entry: entry.at)
        if is_prev:
            rows = [entry for entry in rows if entry.at >= value * 1000]
            if rows and value and rows[0].at // 1000 == value:
                rows = rows[1:]
            page, is_more = rows[offset:][:size][::-1], len(rows) > offset + size
            newer, older = is_more, True
        else:
            rows = [entry for entry in rows if not value or entry.at <= value * 1000][::-1]
            page, is_more = rows[offset:][:size], len(rows) > offset + size
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
