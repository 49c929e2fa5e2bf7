"""Compare a real log with `events.yaml`: `tap-sentry-audit … | python -m testing.event_keys`.

Each event of the log is one line: how many entries, and which keys of their `data` are not listed
(`+`) or always there according to the file and missing (`-`), each with the number of entries.
The exit code is 1 if there is any of these, or an event that is not listed.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from generate.events import events

if TYPE_CHECKING:
    from collections.abc import Iterable


def compare(messages: Iterable[str]) -> dict[str, Counter[str]]:
    """For each event the number of its entries, as `entries`, and of each difference."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for message in map(json.loads, messages):
        if message["type"] == "RECORD" and message["stream"] == "audit_logs":
            found[message["record"]["event"]].update(["entries", *_differences(message["record"])])
    return dict(found)


def _differences(record: dict[str, Any]) -> list[str]:
    if record["event"] not in events():
        return ["not listed"]
    event, data = events()[record["event"]], record["data"] or {}
    return [f"+{key}" for key in sorted(event.unlisted(data))] + [
        f"-{key}" for key in sorted(event.missing(data))
    ]


def main() -> int:
    """Print the events of the log that comes by stdin."""
    found = compare(sys.stdin)
    for name, counts in sorted(found.items()):
        entries, *others = sorted(counts.items(), key=lambda count: count[0] != "entries")
        told = " ".join(f"{difference}:{count}" for difference, count in others)
        sys.stdout.write(f"{entries[1]:7,} {name} {told}".rstrip() + "\n")
    differing = sum(len(counts) > 1 for counts in found.values())
    total = sum(counts["entries"] for counts in found.values())
    sys.stdout.write(f"{total:7,} entries, {len(found)} events, {differing} with a difference\n")
    return differing > 0


if __name__ == "__main__":
    sys.exit(main())
