"""The golden files, and what a run differs from them in."""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path
from typing import Any

from golden.cases import CASES
from golden.player import Player

FILES = Path(__file__).parent / "files"

NEW_FIELD = "additionalFields"
"""A field that audit_logs is to get. Where a golden line lacks it, it may be there."""

NAMES = {"audit_logs", "audit"}
"""What the stream is called, in the case of stream maps too."""

SHOWN = 300
"""How many characters of a line that differs to show."""


def path(name: str) -> Path:
    """Return the file of a case."""
    return FILES / f"{name}.jsonl"


def played(name: str) -> list[str]:
    """Play a case."""
    player = Player()
    CASES[name](player)
    return player.lines


def difference(name: str, lines: list[str]) -> str | None:
    """Return the first line in which a run differs from the case's file, or None."""
    kept = path(name).read_text("utf-8").split("\n")[:-1] if path(name).exists() else []
    for number, (was, now) in enumerate(zip_longest(kept, lines, fillvalue=""), start=1):
        if was != now and _exact(was) != _exact(now, without_new=NEW_FIELD not in was):
            at = next(n for n in range(len(was) + len(now)) if was[n : n + 1] != now[n : n + 1])
            begin = max(0, at - SHOWN // 3)
            return (
                f"line {number} differs from character {at} on\n"
                f"  was: {was[begin : begin + SHOWN]}\n  now: {now[begin : begin + SHOWN]}"
            )
    return None


def _exact(line: str, *, without_new: bool = False) -> object:
    """Return a line's JSON with the order of its keys and its numbers as they are written."""
    if not line:
        return None
    message = json.loads(line, parse_float=str, parse_int=lambda text: f"int {text}")
    if without_new:
        _take_out_new(message)
    return json.dumps(message)


def _take_out_new(message: dict[str, Any]) -> None:
    """Take the new field out of a RECORD, a SCHEMA or a catalog."""
    if message.get("stream") in NAMES:
        message.get("record", {}).pop(NEW_FIELD, None)
        message.get("schema", {}).get("properties", {}).pop(NEW_FIELD, None)
    for stream in message.get("streams", ()):
        if stream["tap_stream_id"] == "audit_logs":
            stream["schema"]["properties"].pop(NEW_FIELD, None)
            stream["metadata"] = [
                about for about in stream["metadata"] if about["breadcrumb"][-1:] != [NEW_FIELD]
            ]
