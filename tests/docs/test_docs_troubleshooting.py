"""The messages that the troubleshooting pages quote: each is said where the page says that it is.

For each quote there is a scene: what has to happen, by words that are in no other quote of the
page. A message that takes minutes to provoke is looked for in the source.
"""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import re
import ssl
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import pytest
import requests
import trustme

from tap_captivateiq_audit.client import Client as CaptivateIQClient
from tap_captivateiq_audit.clock import Clock
from tap_captivateiq_audit.config import parse_settings
from tap_captivateiq_audit.days import read_days
from tap_captivateiq_audit.entries import Days
from tap_captivateiq_audit.exceptions import ApiError
from tap_captivateiq_audit.rate_limit import RateLimiter
from tap_sentry_audit.api.exceptions import SentryError, error_of
from tap_sentry_audit.audit_log.pages import Query, fetch_from
from testing import captivateiq_tap, fake_captivateiq
from testing.captivateiq_tap import Api, hours
from testing.fake_captivateiq import FakeCaptivateIQ
from testing.fake_receiver import FakeReceiver, Reply, partial_success, refuses
from testing.fake_sentry import Answer, FakeSentry, Inventory, Log, ReleaseList, entries, faults
from testing.otlp_target import record, run_target, run_target_in, schema, state
from testing.recipes import ROOT
from testing.sentry_tap import command, config, run_tap, selecting, without_waits
from testing.standing_clock import StandingClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from testing.forked import Message

    Scene = Callable[[], str]

_ROW = re.compile(r"^\| (`.+?) \| .+ \| .+ \|$", re.MULTILINE)


def quoted(page: str, *others: str) -> list[str]:
    """The messages that a page quotes, but for those that other programs write."""
    cells = _ROW.findall((ROOT / page).read_text("utf-8"))
    quotes = [quote for cell in cells for quote in re.findall(r"`([^`]+)`", cell)]
    assert set(others) <= set(quotes)
    return [quote for quote in quotes if quote not in others]


def is_said(quote: str, said: str) -> bool:
    """Whether a message is there, with anything, or nothing, in the places of its ellipses."""
    return bool(re.search(".*?".join(map(re.escape, re.split(" ?…", quote))), said))


def scene_of(quote: str, scenes: Mapping[str, Scene]) -> Scene:
    [found] = [scene for words, scene in scenes.items() if words in quote]
    return found


@cache
def texts(package: str) -> str:
    """All texts in the source of a package; what is filled in later is an ellipsis."""
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [getattr(part, "value", None) for part in node.values]
                found.append("".join(part if isinstance(part, str) else "…" for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


# tap-sentry-audit

TEN = Log(entries.even(10))
FROM_SOURCE = (
    "the server returns issues that it was not asked for",
    "entries may be missing: the millisecond",
    "… of … projects",
)


def tap(
    *options: str,
    server: Mapping[str, Any] | None = None,
    files: Message | None = None,
    **given: Any,  # noqa: ANN401  (settings)
) -> str:
    """What the tap says in a run."""
    with FakeSentry(**({"organizations": {"acme": TEN}} | dict(server or {}))) as sentry:
        return run_tap(config(sentry, **given), *options, **(files or {})).stderr


def with_rows(*rows: Any) -> str:  # noqa: ANN401  (whatever a server sends)
    """What the tap says of rows among good ones."""
    log = Log(entries.even(300))
    for row in rows:
        log.put(row, entries.micros(entries.UNTIL))
    return tap(server={"organizations": {"acme": log}})


def client(fault: faults.Fault | None = None, scheme: str = "", **given: Any) -> str:  # noqa: ANN401  (settings)
    """What a client says that waits for nothing: retries are over at once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    tls = context if scheme == "tls" else None
    with FakeSentry({"acme": TEN}, tls=tls, faults=lambda *_: fault) as sentry:
        hosts = {"tls": f"127.0.0.1:{sentry.port}", "https": sentry.url.replace("http", "https")}
        address = {"host": hosts[scheme]} if scheme else {}
        fetch = fetch_from(without_waits(config(sentry, **address | given)).client, "acme")
        with pytest.raises(SentryError) as raised:
            fetch(Query(cursor=None))
    return str(raised.value)


def on_a_region() -> str:
    response = requests.Response()
    response.status_code = 404
    response.url = "https://us.sentry.io/api/0/organizations/acme/audit-logs/"
    response.raw = io.BytesIO(b'{"detail":"The requested resource does not exist"}')
    return str(error_of(response))


def behind_a_proxy() -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HTTP_PROXY", "127.0.0.1:1")
        return client(host="http://sentry.invalid")


def refused(is_mute: bool) -> str:  # noqa: FBT001  (whether the server names no scopes)
    """Where the audit log alone is refused."""

    def judge(_: int, request: Any) -> Answer | None:  # noqa: ANN401  (the stand-in's)
        if request.resource == "audit-logs":
            return Answer(403, b'{"detail": "no"}')
        return Answer(200, b"{}") if is_mute and request.resource == "index" else None

    inventories = {"acme": Inventory.made()}
    return tap(server={"faults": judge, "inventories": inventories})


def hidden_releases() -> str:
    inventory = Inventory.made(projects=1, releases=0, events=0)
    [project] = inventory.projects
    ids = inventory.add_releases([entries.micros("2026-01-01T00:00:00Z")] * 236, project["slug"])
    way = ReleaseList(hidden=frozenset(ids[100:102]))
    server = {"inventories": {"acme": inventory}, "release_list": way}
    return tap(server=server, files={"catalog": selecting("releases")})


def piped(into: str) -> str:
    with FakeSentry({"acme": TEN}) as sentry:
        given = {f"TAP_SENTRY_AUDIT_{n.upper()}": str(v) for n, v in config(sentry).items()}
        line = f"{' '.join(command('--config=ENV'))} {into}"
        done = subprocess.run(
            ["/bin/bash", "-c", line], env=os.environ | given, capture_output=True, check=False
        )
    return done.stderr.decode()


def catalog(**changes: str) -> Message:
    found = selecting("audit_logs")
    for stream in found["streams"]:
        if stream["tap_stream_id"] == "audit_logs":
            stream.update(changes)
            for metadata in stream["metadata"]:
                if not metadata["breadcrumb"]:
                    metadata["metadata"] |= {
                        f"forced-{name.replace('_', '-')}": value for name, value in changes.items()
                    }
    return found


def with_bookmark(value: object) -> Message:
    mark = {"replication_key": "dateCreated", "replication_key_value": value}
    partition = {"context": {"organization": "acme"}, **mark}
    return {"state": {"bookmarks": {"audit_logs": {"partitions": [partition]}}}}


def mapping(**properties: str) -> Message:
    return {"stream_maps": {"audit_logs": properties}}


def only(*scopes: str) -> Message:
    return {"scopes": {"token": set(scopes)}}


def waiting() -> str:
    once = iter([faults.status(429, retry_after="11")])
    with FakeSentry({"acme": TEN}, faults=lambda *_: next(once, None)) as sentry:
        fetch = fetch_from(without_waits(config(sentry)).client, "acme")
        fetch(Query(cursor=None))
    return ""


TAP: dict[str, Scene] = {
    "does not know this auth_token": partial(tap, auth_token="wrong"),  # noqa: S106
    "has expired": partial(tap, server={"tokens": {"token": "expired"}}),
    "Sentry saw no token": partial(
        client, Answer(401, b'{"detail":"Authentication credentials were not provided."}')
    ),
    "is an organization auth token": partial(tap, auth_token="sntrys_0123456789"),  # noqa: S106
    "lacks the scope org:write": partial(tap, server=only("org:read")),
    "lacks the scope …": partial(tap, server=only("org:read")),
    "the role of the token's user": partial(
        tap, server={"tokens": {"token": "member"}, "inventories": {"acme": Inventory.made()}}
    ),
    "is not a member of this organization": partial(
        tap, server={"tokens": {"token": "outsider"}, "inventories": {"acme": Inventory.made()}}
    ),
    "although the scopes and the role suffice": partial(refused, False),  # noqa: FBT003
    "the token may not read audit_logs": partial(refused, True),  # noqa: FBT003
    "there is no such organization": partial(tap, server={"organizations": {}}),
    "no such audit log on us.sentry.io": on_a_region,
    "sent an HTML page": partial(client, faults.HTML),
    "the server redirects to": partial(client, faults.redirect("http://127.0.0.1:1/")),
    "cannot be found: check host": partial(client, host="http://sentry.invalid"),
    "refused the connection": partial(client, host="http://127.0.0.1:1"),
    "does not speak TLS": partial(client, scheme="https"),
    "The certificate of": partial(client, scheme="tls"),
    "The proxy in front of": behind_a_proxy,
    "; trying again": partial(client, faults.status(503)),
    "rate limit is used up": partial(client, faults.status(429)),
    "Sentry failed to answer": partial(client, faults.status(503)),
    "could not show … entries": partial(with_rows, None, None),
    "1 row is left out": partial(with_rows, {"dateCreated": str(entries.UNTIL)}),
    "the catalog's replication": lambda: tap(files={"catalog": catalog(replication_method="X")}),
    "the catalog cannot be used": partial(tap, files={"catalog": "no catalog"}),
    "stream_map_config has no salt": partial(
        tap, **mapping(actor_hash="sha256(config['salt'] + actor['email'])")
    ),
    "what reads the messages": partial(piped, "| true"),
    "No space left on device": partial(piped, "> /dev/full"),
    "an expression fails on a record": partial(tap, **mapping(who="actor['nobody']")),
    "did not answer within": partial(tap, server={"latency": 3}, request_deadline_seconds=1),
    "Waiting for": waiting,
    "audit_logs is not selected": lambda: tap(files={"catalog": selecting("members")}),
    "some rows may be missing": hidden_releases,
    "the state cannot be used": partial(tap, files={"state": {"bookmarks": {"others": {}}}}),
    "is ahead of the server's clock": partial(tap, files=with_bookmark("2100-01-01T00:00:00Z")),
    "the bookmark in the state cannot be read": partial(tap, files=with_bookmark("yesterday")),
    "auth_token is missing": partial(tap, auth_token=None),
}


@pytest.mark.parametrize(
    "quote",
    quoted(
        "docs/troubleshooting.md",
        "Could not set lock on file",
        "table job already exists",
        "state.json: No such file",
        ".env",
    ),
)
def test_the_tap_says_what_its_page_quotes(quote: str, caplog: pytest.LogCaptureFixture) -> None:
    if any(words in quote for words in FROM_SOURCE):
        source = texts("tap_sentry_audit")
        assert [part for part in re.split("…|: ", quote) if part not in source] == []
        return
    caplog.set_level(logging.INFO)
    said = scene_of(quote, TAP)()
    assert is_said(quote, f"{said}\n{caplog.text}")


# target-otlp

ONE = [schema(), record(1), state(1)]
KEYED = schema() | {"key_properties": ["id"]}
MAPPED = {"mapping": {"*": {"id": "$.id"}}}
MANY = [KEYED, *map(record, range(1, 11)), state(1)]


def target(*replies: Reply, messages: list[Message] | bytes = ONE, **given: Any) -> str:  # noqa: ANN401  (settings)
    """What the target says in a run."""
    judge = given.pop("judge", lambda _: None)
    settings = {"max_retry_seconds": 0} | given
    with FakeReceiver(*replies, judge=judge) as receiver:
        return run_target(messages, **{"endpoint": receiver.url} | settings).stderr


def disabled() -> str:
    environment = {"OTEL_SDK_DISABLED": "true"}
    return run_target_in(environment, ONE, endpoint="http://127.0.0.1:1").stderr


def untrusted() -> str:
    with FakeReceiver(tls=trustme.CA()) as receiver:
        return run_target(ONE, endpoint=receiver.url).stderr


def unread_state(sleeps: str) -> str:
    """Where nobody reads the target's stdout, or has closed it."""
    with FakeReceiver() as receiver:
        text = "".join(f"{json.dumps(message)}\n" for message in ONE)
        line = f"{sys.executable} -m target_otlp --config=ENV {sleeps}"
        return subprocess.run(
            ["/bin/bash", "-c", line],
            env=os.environ | {"TARGET_OTLP_ENDPOINT": receiver.url},
            input=text,
            capture_output=True,
            encoding="utf-8",
            check=False,
        ).stderr


def rejecting(tmp_path: Path, *ids: str, **given: Any) -> str:  # noqa: ANN401  (settings)
    path = str(tmp_path / "rejected.jsonl")
    judge = refuses(*ids)
    return target(judge=judge, messages=MANY, rejected_records_path=path, **MAPPED, **given)


OTLP: dict[str, Callable[[Path], str]] = {
    "endpoint is missing": lambda _: run_target(ONE).stderr,
    "OTEL_SDK_DISABLED": lambda _: disabled(),
    "cannot be reached": lambda _: target(Reply(hangs_up=True), Reply(), max_retry_seconds=10),
    "cannot be trusted": lambda _: untrusted(),
    "answered 401": lambda _: target(Reply(401)),
    "answered 403": lambda _: target(Reply(403)),
    "answered 404": lambda _: target(Reply(404)),
    "answered 405": lambda _: target(Reply(405)),
    "answered 200": lambda _: target(Reply(body=b"<html>")),
    "redirects are not followed": lambda _: target(Reply(302, headers={"Location": "/login"})),
    "answered 400": lambda _: target(Reply(400)),
    "answered 415": lambda _: target(Reply(415)),
    "lower max_batch_size": lambda _: target(Reply(413), Reply(), messages=MANY),
    "even a single record": lambda _: target(Reply(413)),
    "it accepts others": lambda _: target(judge=refuses("3"), messages=MANY, **MAPPED),
    "1 record was rejected": lambda folder: rejecting(folder, "3"),
    "… were rejected": lambda folder: rejecting(folder, "3", "4"),
    "(max_rejected_records)": lambda folder: rejecting(folder, "3", "4", max_rejected_records=1),
    "… rejected …": lambda _: target(Reply(body=partial_success(3, "too old")), messages=MANY),
    "answered 503": lambda _: target(Reply(503, headers={"Retry-After": "3600"})),
    "500 levels deep": lambda _: target(
        messages=json.dumps(schema()).encode()
        + b'\n{"type":"RECORD","stream":"audit_logs","record":{"id":'
        + b"[" * 600
        + b"]" * 600
        + b"}}\n"
    ),
    "is not a JSON message": lambda _: target(messages=b"hello\n"),
    "cannot be written to stdout (": lambda _: unread_state("> /dev/full"),
    "no time at the path": lambda _: target(mapping={"*": {"time": "$.nowhere"}}),
}


@pytest.mark.parametrize("quote", quoted("plugins/target-otlp/docs/troubleshooting.md"))
def test_the_target_says_what_its_page_quotes(quote: str, tmp_path: Path) -> None:
    if "nobody read it" in quote:  # after seconds: its own tests wait for them
        assert "nobody read it for " in texts("plugins/target-otlp/target_otlp")
        return
    [scene] = [each for words, each in OTLP.items() if words in quote]
    assert is_said(quote, scene(tmp_path))


# tap-captivateiq-audit

NOW = datetime.now(UTC).replace(microsecond=0)


def captivateiq(*replies: fake_captivateiq.Reply, state: object = None, **given: Any) -> str:  # noqa: ANN401  (settings)
    """What the tap says in a run."""
    with FakeCaptivateIQ(fake_captivateiq.Log(hours(3)), *replies) as server:
        return captivateiq_tap.run_tap(captivateiq_tap.config(server, **given), state=state).stderr


def asking(*replies: fake_captivateiq.Reply, timeout: float = 60) -> str:
    """What a client says that waits for nothing."""
    clock = StandingClock()
    with FakeCaptivateIQ(fake_captivateiq.Log(hours(3)), *replies) as server:
        settings = parse_settings({"api_token": "token", "api_url": server.url})
        limiter = RateLimiter(1000, 10_000)
        own = CaptivateIQClient(settings, limiter, Clock(clock.monotonic, clock.sleep), timeout)
        try:
            own.fetch(Days(date(2026, 1, 1), date(2026, 1, 9)), 0)
        except ApiError as error:
            return str(error)
    return ""


def reading(log: fake_captivateiq.Log) -> str:
    """What the reader says of a log."""
    api = Api(log)
    try:
        read_days(api, Days(None, None), api.flaws)
    except ApiError as error:
        return str(error)
    return ""


def entries_of(count: int, **more: Any) -> fake_captivateiq.Log:  # noqa: ANN401  (settings)
    rows = [fake_captivateiq.row(n, NOW - timedelta(minutes=count - n)) for n in range(count)]
    return fake_captivateiq.Log(rows, **more)


def never_whole(counts: str) -> fake_captivateiq.Log:
    log = entries_of(500, order="shuffled", most=10, counts=counts)
    log.arriving = [fake_captivateiq.row(1000 + number, NOW) for number in range(1000)]
    log.leaving = 500
    return log


class Stuck(fake_captivateiq.Log):
    """A log whose server ignores the offset."""

    def answer(self, _: object) -> dict[str, object]:
        return super().answer({"offset": "0"})


def bookmark(value: str) -> Message:
    return {"bookmarks": {"audit_logs": {"replication_key_value": value}}}


def stopped() -> str:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    given = "import tap_captivateiq_audit.__main__"
    done = subprocess.run(
        [sys.executable, "-c", f"{given}; {code}"], capture_output=True, check=False
    )
    return done.stderr.decode()


def dotenv(tmp_path: Path) -> str:
    (tmp_path / ".env").write_bytes(b"\xff\xfe\xff")
    done = subprocess.run(
        [sys.executable, "-m", "tap_captivateiq_audit", "--config=ENV"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    return done.stderr.decode()


REPLY = fake_captivateiq.Reply
CAPTIVATEIQ: dict[str, Callable[[Path], str]] = {
    "api_token is not accepted": lambda _: captivateiq(REPLY(401)),
    "api_token may not read": lambda _: captivateiq(REPLY(403)),
    "a firewall in front": lambda _: captivateiq(REPLY(403, b"<html>")),
    "(429)": lambda _: asking(REPLY(429)),
    "answered 502": lambda _: asking(REPLY(502)),
    "in full within": lambda _: asking(REPLY(200, b" " * 99, drips="body"), timeout=0.3),
    "gave up after": lambda _: asking(*[REPLY(500)] * 200),
    "does not accept these days": lambda _: captivateiq(REPLY(400)),
    "which is not followed": lambda _: captivateiq(REPLY(302, headers={"Location": "/"})),
    "is ahead of the server's clock": lambda _: captivateiq(state=bookmark("2100-01-01T00:00:00Z")),
    "the state file is not JSON": lambda _: captivateiq(state=b'{"bookmarks": {'),
    "the state is another tap's": lambda _: captivateiq(state={"bookmarks": {"events": {}}}),
    "in the state cannot be read": lambda _: captivateiq(state=bookmark("yesterday")),
    "batch_config": lambda _: captivateiq(batch_config={"encoding": {"format": "jsonl"}}),
    "correct or remove it": dotenv,
    "was stopped by": lambda _: stopped(),
    "1 entry is left out": lambda _: reading(entries_of(3, odd={1: {"id": None}})),
    "1 id has several entries": lambda _: reading(
        fake_captivateiq.Log(
            [fake_captivateiq.row(1, NOW), fake_captivateiq.row(1, NOW, event_type="other")]
        )
    ),
    "but never shows more": lambda _: reading(entries_of(5, hidden=1)),
    "the server counts … entries from … but shows": lambda _: reading(never_whole("all")),
    "the server does not count": lambda _: reading(never_whole("nothing")),
    "at any offset": lambda _: reading(Stuck(entries_of(250).rows)),
    "in a different order": lambda _: reading(entries_of(500, order="shuffled", most=8)),
}


@pytest.mark.parametrize("quote", quoted("plugins/tap-captivateiq-audit/docs/troubleshooting.md"))
def test_the_captivateiq_tap_says_what_its_page_quotes(
    quote: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    [scene] = [each for words, each in CAPTIVATEIQ.items() if words in quote]
    assert is_said(quote, f"{scene(tmp_path)}\n{caplog.text}")
