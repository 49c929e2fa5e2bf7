"""The server: access, limits and faults around the endpoints."""

import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from email.utils import formatdate
from ssl import SSLContext
from threading import Lock, Thread
from typing import Any, Literal, Self, TypedDict
from urllib.parse import parse_qsl, urlsplit

from . import endpoint, inventory_endpoints
from .answers import Answer, detail, json_answer
from .connections import Server
from .faults import Fault
from .inventory import Inventory
from .limits import Limiter, Limits
from .log import Log
from .releases import ReleaseList

Access = Literal["ok", "expired", "forbidden", "member", "outsider"]
"""Whose a token is: a plain member may read no audit log, an outsider nothing."""

ROUTE = re.compile(
    r"(?P<index>)"
    r"|organizations/(?P<of>[^/]+)/"
    r"(?:(?P<resource>audit-logs|projects|teams|members|releases|issues)/)?"
    r"|projects/(?P<owner>[^/]+)/(?P<project>[^/]+)/(?P<events>events)/"
)
SCOPES = {
    # Whatever the documentation says of projects and teams: so does Sentry 23.7.1.
    "organization": {"org:read", "org:write"},
    "audit-logs": {"org:write"},
    "projects": {"org:read", "org:write"},
    "teams": {"org:read", "org:write"},
    "members": {"member:read"},
    "releases": {"project:releases", "project:read"},
    "issues": {"event:read"},
    "events": {"event:read"},
}
ALL_SCOPES = set[str]().union(*SCOPES.values())
SERVES = {
    "all": SCOPES.keys(),
    "control": {"organization", "audit-logs"},
    "region": SCOPES.keys() - {"audit-logs"},
}
UNAUTHENTICATED = {
    "none": "Authentication credentials were not provided.",
    "unknown": "Invalid token",
    "expired": "Token expired",
}


@dataclass(frozen=True, slots=True)
class Request:
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Named in lower case."""
    organization: str | None
    at: float
    """Seconds of the monotonic clock."""
    status: int = 0
    """Stays 0 while there is no answer, or where a fault gives none."""
    resource: str | None = None
    """Such as audit-logs, issues or, for an organization itself, organization."""
    project: str | None = None


Faults = Sequence[Fault | None] | Mapping[int, Fault] | Callable[[int, Request], Fault | None]
"""Faults for the first requests, or by number of request (from 1), or as it says."""


@dataclass(eq=False)
class FakeSentry:
    """Serve organizations while the context lasts; settings may change meanwhile."""

    organizations: Mapping[str, Log]
    _: KW_ONLY
    tokens: Mapping[str, Access] = field(default_factory=lambda: {"token": "ok"})
    latency: float = 0
    rate_limit: int | None = None
    concurrent_limit: int | None = None
    old_body: bool = False
    foreign_cursors: Literal["obey", "refuse", "ignore"] = "obey"
    """What becomes of a cursor that this server never handed out."""
    sends_links: bool = True
    """Whether pages of an audit log have a Link header."""
    page_size: int | None = None
    """How many rows a page of an audit log has at most, whatever is asked for."""
    knows_newer: bool = True
    """Whether a cursor's third field turns the direction."""
    endless: Literal["no", "same", "empty"] = "no"
    """What follows an audit log's last page: its last page again, or pages without rows."""
    faults: Faults = ()
    clock: Callable[[], float] = time.time
    access_prefix: str = ""
    url_prefix: str | None = None
    """Scheme and host of Link URLs, where they are not the server's own."""
    tls: SSLContext | None = None
    inventories: Mapping[str, Inventory] = field(default_factory=dict)
    scopes: Mapping[str, Collection[str]] = field(default_factory=dict)
    """By token; one that is not in it has them all."""
    region_url: str | None = None
    """Where an organization says that it lives."""
    serves: Literal["all", "control", "region"] = "all"
    honours_dates: bool = True
    """Whether events know start and end; those of Sentry 23.7.1 do not."""
    release_list: ReleaseList = field(default_factory=ReleaseList)

    port: int = field(default=0, init=False)
    requests: list[Request] = field(default_factory=list, init=False)
    max_concurrent: int = field(default=0, init=False)
    _concurrent: int = field(default=0, init=False)
    _cursors: set[str] = field(default_factory=set, init=False)
    _limiter: Limiter = field(default_factory=Limiter, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)

    def __enter__(self) -> Self:
        self._server = Server(self.reply, self.control)
        self.port = self._server.server_address[1]
        if self.tls:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        # Closing waits for one turn of this loop: half a second, if not told.
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return self.host + self.access_prefix

    @property
    def count_429(self) -> int:
        return sum(request.status == 429 for request in list(self.requests))

    def stats(self) -> dict[str, Any]:
        requests = list(self.requests)
        return {
            "requests": len(requests),
            "count_429": self.count_429,
            "max_concurrent": self.max_concurrent,
            "status": Counter(str(request.status) for request in requests),
            "most_of_one": max(Counter(r.organization for r in requests).values(), default=0),
        }

    def reply(self, target: str, headers: dict[str, str]) -> tuple[Answer | None, Fault | None]:
        """Record a request, then answer it; a fault goes before the answer."""
        url = urlsplit(target)
        query = parse_qsl(url.query, keep_blank_values=True)
        request = Request(
            url.path,
            dict(query),
            headers,
            at=time.monotonic(),
            **_route(url.path.removeprefix(f"{self.access_prefix}/api/0/")),
        )
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
            self._concurrent += 1
            self.max_concurrent = max(self.max_concurrent, self._concurrent)
        answer = None
        try:
            fault = self._fault(number, request)
            if isinstance(fault, Answer):
                answer = fault
            elif fault in (None, "truncated"):
                answer = self._limited(request, query)
        finally:
            # Before the answer is out: by then its client may send the next request.
            with self._lock:
                self._concurrent -= 1
                status = answer.status if answer else 0
                self.requests[number - 1] = replace(request, status=status)
        if answer:
            date = {"Date": formatdate(self.clock(), usegmt=True)}
            answer = replace(answer, headers=answer.headers | date)
        return answer, fault

    def control(self, command: str, wanted: dict[str, Any]) -> Answer:
        """Obey benchmarks, which run in a process of their own."""
        match command:
            case "stats":
                return json_answer(200, self.stats())
            case "set" if wanted.keys() <= {"rate_limit", "latency", "concurrent_limit"}:
                for name, value in wanted.items():
                    setattr(self, name, value)
                return json_answer(200, wanted)
        return detail(400, f"Cannot {command} {wanted}")

    def _fault(self, number: int, request: Request) -> Fault | None:
        if callable(self.faults):
            return self.faults(number, request)
        if isinstance(self.faults, Mapping):
            return self.faults.get(number)
        return self.faults[number - 1] if number <= len(self.faults) else None

    def _limited(self, request: Request, query: endpoint.Query) -> Answer:
        limits = Limits(self.rate_limit, self.concurrent_limit)
        refusal, headers = self._limiter.enter(limits, self.clock())
        if refusal:
            return replace(refusal, headers=refusal.headers | headers)
        try:
            time.sleep(self.latency)
            answer = self._answer(request, query)
        finally:
            self._limiter.leave()
        return replace(answer, headers=answer.headers | headers)

    def _answer(self, request: Request, query: endpoint.Query) -> Answer:
        found = self._find(request)
        if isinstance(found, Answer):
            return found
        cursor = request.query.get("cursor")
        if cursor and self.foreign_cursors != "obey" and cursor not in self._cursors:
            if self.foreign_cursors == "refuse":
                return detail(400, "Invalid cursor parameter.")
            query = [pair for pair in query if pair[0] != "cursor"]
        host = self.url_prefix or self.host
        if isinstance(found, Inventory):
            answer = inventory_endpoints.answer(found, self._asked(request, host, query))
        else:
            answer = self._log_page(found, host + request.path, query)
        if self.foreign_cursors != "obey":
            link = answer.headers.get("Link", "")
            self._cursors.update(re.findall('; cursor="([^"]+)"', link))
        return answer

    def _log_page(self, log: Log, url: str, query: endpoint.Query) -> Answer:
        asked = dict(query)
        if self.page_size:
            asked["per_page"] = str(self.page_size)
        if not self.knows_newer and "cursor" in asked:
            asked["cursor"] = re.sub("1$", "0", asked["cursor"])
        if self.endless == "empty" and asked.get("cursor", "").startswith("77"):
            log = Log()
        answer = endpoint.answer(log, url, list(asked.items()), old_body=self.old_body)
        link = answer.headers.get("Link", "")
        if self.endless != "no" and 'results="false"' in link:
            number = f"77{len(self.requests)}:0:0" if self.endless == "empty" else r"\1"
            link = re.sub(
                r'results="false"; cursor="([^"]*)"', f'results="true"; cursor="{number}"', link
            )
        headers = answer.headers | ({"Link": link} if link else {})
        if not self.sends_links:
            headers.pop("Link", None)
        return replace(answer, headers=headers)

    def _asked(
        self, request: Request, host: str, query: endpoint.Query
    ) -> inventory_endpoints.Asked:
        return inventory_endpoints.Asked(
            resource=request.resource or "",
            project=request.project,
            host=host,
            path=request.path,
            query=query,
            region_url=self.region_url,
            honours_dates=self.honours_dates,
            release_list=self.release_list,
            is_plain_member=self._access(request)[0] == "member",
        )

    def _find(self, request: Request) -> Answer | Log | Inventory:  # noqa: PLR0911  (so many checks)
        """Check route and access in the order in which Sentry does."""
        if not request.path.endswith("/"):
            return _no_slash(request.path)
        if request.resource is None:
            return Answer(404, headers={"Content-Type": "text/html; charset=utf-8"})
        access, token = self._access(request)
        if access in UNAUTHENTICATED:
            header = {"WWW-Authenticate": 'xBasic realm="api"'}
            return detail(401, UNAUTHENTICATED[access], **header)
        scopes = self.scopes.get(token)
        if request.resource == "index":
            known = sorted(ALL_SCOPES if scopes is None else scopes)
            return json_answer(200, {"version": "0", "auth": {"scopes": known}})
        lacking = scopes is not None and SCOPES[request.resource].isdisjoint(scopes)
        found = self._held(request, request.resource)
        if found is None and not lacking:
            return detail(404, "The requested resource does not exist")
        is_refused = access in {"forbidden", "outsider"}
        if access == "member":
            is_refused = request.resource == "audit-logs"
        if found is None or lacking or is_refused:
            return detail(403, "You do not have permission to perform this action.")
        return found

    def _access(self, request: Request) -> tuple[str, str]:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return "none", ""
        return self.tokens.get(token, "unknown"), token

    def _held(self, request: Request, resource: str) -> Log | Inventory | None:
        slug = request.organization or ""
        if resource not in SERVES[self.serves]:
            return None
        if resource == "audit-logs":
            return self.organizations.get(slug)
        inventory = self.inventories.get(slug)
        if inventory and request.project is not None:
            known = any(row["slug"] == request.project for row in inventory.projects)
            return inventory if known else None
        return inventory


class Route(TypedDict):
    organization: str | None
    resource: str | None
    project: str | None


def _route(path: str) -> Route:
    match = ROUTE.fullmatch(path)
    if not match:
        return Route(organization=None, resource=None, project=None)
    return Route(
        organization=match["of"] or match["owner"],
        resource=match["resource"]
        or match["events"]
        or ("organization" if match["of"] else "index"),
        project=match["project"],
    )


def _no_slash(path: str) -> Answer:
    text = "Route not found, did you forget a trailing slash?"
    body = f"{text}\n\ntry: {path}/\n{'^':>{len(path) + 6}}\n"
    return Answer(404, body.encode(), {"Content-Type": "text/plain"})
