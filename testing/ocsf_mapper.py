"""The mapper as users run it: a process between a tap and a target."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mapper_sentry_ocsf.events import EventMapper
from testing import forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from testing.forked import Message, Run

PLUGIN = Path(__file__).parents[1] / "plugins" / "mapper-sentry-ocsf"

# Without the settings of whoever runs the tests.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith("MAPPER_SENTRY_OCSF_")
}

_NULLABLE = ["actor", "ipAddress", "note", "targetObject", "targetUser", "targetUserDetail", "data"]

SCHEMA: Message = {
    "type": "SCHEMA",
    "stream": "audit_logs",
    "schema": {
        "type": "object",
        "properties": {
            name: {} for name in ("id", "organization", "event", "dateCreated", *_NULLABLE)
        },
    },
    "key_properties": ["id"],
}


def as_the_tap_writes(row: Message, organization: str = "acme") -> Message:
    """An entry as Sentry answers it, with the fields of the tap's schema."""
    user = row.get("targetUser")
    detail = user if isinstance(user, dict) else None
    uid = detail["id"] if detail else user if user is None else str(user)
    own = {"organization": organization, "targetUser": uid, "targetUserDetail": detail}
    return dict.fromkeys(_NULLABLE) | row | own | {"additionalFields": None}


def entry(number: int = 1, event: str = "org.edit", **others: Any) -> Message:  # noqa: ANN401
    """A record of the tap."""
    row = {
        "id": str(number),
        "event": event,
        "dateCreated": "2026-01-31T08:00:00.123456Z",
        "actor": {"id": "7", "name": "Ada Byron", "username": "ada", "email": "ada@example.com"},
        "ipAddress": "203.0.113.9",
        "note": "did something",
        "data": {},
    }
    return as_the_tap_writes(row) | others


def mapped(record: Message, *, with_raw_data: bool = True, **severities: int) -> Message:
    """The event of a record, as it comes out, without a process of its own."""
    mapper = EventMapper(severities, with_raw_data=with_raw_data)
    event = mapper.map(msgspec.Raw(json.dumps(record).encode()))
    found: Message = json.loads(msgspec.json.encode(event))
    return found


def record(number: int = 1, stream: str = "audit_logs", **others: Any) -> Message:  # noqa: ANN401
    return {"type": "RECORD", "stream": stream, "record": entry(number, **others)}


def state(number: int) -> Message:
    return {"type": "STATE", "value": {"done": number}}


def lines(messages: Iterable[Message]) -> bytes:
    return "".join(f"{json.dumps(message)}\n" for message in messages).encode()


def run_mapper(
    messages: Iterable[Message] | bytes | None,
    *arguments: str,
    meanwhile: Callable[[int], None] | None = None,
    **config: object,
) -> Run:
    """Give messages to the mapper and let it run to its end; None is an input that stays open."""
    stdin = messages if isinstance(messages, bytes | None) else lines(messages)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.json")
        path.write_text(json.dumps(config))
        given = [f"--config={path}", *arguments]
        return forked.run("mapper_sentry_ocsf", given, ENVIRONMENT, stdin, meanwhile=meanwhile)


def events(*entries: Message, **config: Any) -> list[Message]:  # noqa: ANN401  (settings)
    """The events that the mapper makes of entries."""
    messages = [{"type": "RECORD", "stream": "audit_logs", "record": each} for each in entries]
    run = run_mapper([SCHEMA, *messages], **config)
    assert run.returncode == 0, run.stderr
    assert len(run.records) == len(entries)
    return run.records
