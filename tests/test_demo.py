"""The incidents of `make demo`, and what it says of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from demo.incidents import STORY, found, incidents

if TYPE_CHECKING:
    from pathlib import Path


def test_each_step_of_the_story_is_found_but_the_harmless_invitation(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    rows = [row | {"organization": "acme"} for row in incidents(now)]
    file = tmp_path / "audit_logs.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    told = "\n".join(found(file, now))
    for title in (
        "Two-factor requirement switched off",
        "Member raised to owner or manager",
        "API key with write or admin scopes",
        "Data scrubbing weakened",
        "Project deleted",
    ):
        assert told.count(title) == 1
    assert len(rows) == len(STORY)
    assert "data scrubber: from True to False\n" in told
    assert max(map(len, told.splitlines())) < 80


def test_nothing_is_said_to_be_found_where_nothing_is(tmp_path: Path) -> None:
    file = tmp_path / "audit_logs.jsonl"
    file.write_text("")

    assert found(file, datetime.now(UTC))[-1] == "    and nothing else"
