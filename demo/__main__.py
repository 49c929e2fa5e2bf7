"""Run the tap twice through Meltano, incidents in between, and show the result."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from demo import ROOT
from demo.incidents import STORY, found, incidents
from demo.project import Project
from demo.summary import Record, Run, summary
from testing.fake_sentry import FakeSentry, Inventory, Log, entries

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ROOT / "output" / "demo"
FILE = FOLDER / "audit_logs.jsonl"
MEMBERS_FILE = FOLDER / "members.jsonl"
PROJECT = Project(
    FOLDER,
    {
        "TAP_SENTRY_AUDIT_AUTH_TOKEN": "token",
        "TAP_SENTRY_AUDIT_ORGANIZATION": "acme",
        "TAP_SENTRY_AUDIT__SELECT": '["audit_logs.*", "members.*"]',
        "TARGET_JSONL_DESTINATION_PATH": ".",
    },
)

ENTRIES = 5_000
NEW_ENTRIES = 12
MEMBERS = 60
DAYS = 90


def main() -> None:
    """Show the whole way, from an API to a file."""
    PROJECT.start_afresh()
    log = Log(entries.even(ENTRIES, DAYS, until=datetime.now(UTC)))
    acme = Inventory.made("acme", members=MEMBERS)
    with FakeSentry({"acme": log}, inventories={"acme": acme}) as sentry:
        _say(f"\nA stand-in for Sentry at {sentry.host} holds {ENTRIES:,} audit entries.")
        first = _run(sentry.host)
        _say(
            f"Meanwhile {NEW_ENTRIES + len(STORY)} new entries arrive, some from a stolen session."
        )
        now = datetime.now(UTC)
        newest = entries.micros(now)
        log.add(newest - seconds * 1_000_000 for seconds in range(NEW_ENTRIES))
        for incident in incidents(now):
            log.put(incident)
        second = _run(sentry.host)
    held = [row["id"] for row in log.rows() if row]
    lines, is_exact = summary(first, second, held, _members())
    _say("\n".join(["", *lines, "", *found(FILE, now), *_where_to_go()]))
    sys.exit(not is_exact)


def _run(host: str) -> Run:
    offset = FILE.stat().st_size if FILE.exists() else 0
    start = time.monotonic()
    _meltano("run", "tap-sentry-audit", "target-jsonl", host=host)
    seconds = time.monotonic() - start
    with FILE.open("rb") as file:
        file.seek(offset)
        return Run([json.loads(line) for line in file], seconds)


def _members() -> list[Record]:
    with MEMBERS_FILE.open("rb") as file:
        return [json.loads(line) for line in file]


def _meltano(*arguments: str, host: str) -> None:
    _say(f"$ meltano {' '.join(arguments)}")
    if PROJECT.meltano(*arguments, TAP_SENTRY_AUDIT_HOST=host):
        with PROJECT.log.open(encoding="utf-8") as file:
            tail = "".join(deque(file, maxlen=25))
        sys.exit(f"{tail}\nThat did not work. The whole log is in {_shown(PROJECT.log)}.")


def _where_to_go() -> list[str]:
    return [
        "",
        f"  The entries are in {_shown(FILE)},",
        f"  and Meltano's own log is {_shown(PROJECT.log)}.",
        "",
        "  All 25 detections over all entries:",
        "",
        f"    .venv/bin/sentry-audit-detections {_shown(FILE)} --since 90d",
        "",
        "  Next, your own Sentry. This asks for its address, your organization, and a token:",
        "",
        "    .venv/bin/tap-sentry-audit --connect",
        "    .venv/bin/meltano run tap-sentry-audit target-duckdb",
        "",
    ]


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
