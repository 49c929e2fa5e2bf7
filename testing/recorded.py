"""Answers of a real Sentry 23.7.1, recorded."""

from __future__ import annotations

import json
from email.parser import Parser
from pathlib import Path
from typing import Any

from requests.structures import CaseInsensitiveDict

FOLDER = Path(__file__).parent / "recorded_data" / "sentry-23.7.1"


def body(name: str) -> bytes:
    return (FOLDER / f"{name}.json").read_bytes()


def headers(name: str) -> CaseInsensitiveDict[str]:
    _, _, text = (FOLDER / f"{name}.headers").read_text().partition("\n")
    return CaseInsensitiveDict(Parser().parsestr(text).items())


def status(name: str) -> int:
    return int((FOLDER / f"{name}.headers").read_text().split(maxsplit=2)[1])


def audit_rows() -> list[dict[str, Any]]:
    """Every recorded audit entry, once."""
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted(FOLDER.glob("*.json")):
        text = path.read_text()
        answer = json.loads(text) if text.startswith("{") else {}
        rows.update((row["id"], row) for row in answer.get("rows", []) if row)
    return list(rows.values())
