# ruff: noqa: INP001  (a script by itself)
"""Counts the audit entries on stdin by day, each once: `2026-11-21 1234`.

It reads what tap-sentry-audit writes, and whatever a receiver has written with an entry's body in
it, such as Fluent Bit's file output. Days are in UTC, from an entry's `dateCreated`. How many came
more than once goes to stderr. It needs nothing but Python.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def entries(value: object) -> Iterator[dict[str, object]]:
    """Yield the audit entries in a JSON value, from within texts of JSON too."""
    if isinstance(value, str):
        yield from entries_in(value) if value.startswith("{") else ()
    elif isinstance(value, list):
        for item in value:
            yield from entries(item)
    elif isinstance(value, dict):
        # In a SCHEMA it is not text.
        if isinstance(value.get("dateCreated"), str) and {"id", "organization"} <= value.keys():
            yield value
        else:
            yield from entries(list(value.values()))


def entries_in(line: str) -> Iterator[dict[str, object]]:
    """Yield the audit entries in a line, in which other text may stand between JSON values."""
    begin = line.find("{")
    while begin >= 0:
        try:
            value, end = json.JSONDecoder().raw_decode(line, begin)
        except ValueError:
            end = begin + 1
        else:
            yield from entries(value)
        begin = line.find("{", end)


def main() -> None:
    """Print a line for each day."""
    once: set[tuple[str, ...]] = set()
    count = 0
    for line in sys.stdin:
        for entry in entries_in(line):
            count += 1
            once.add((str(entry["dateCreated"])[:10], str(entry["organization"]), str(entry["id"])))
    for day, number in sorted(Counter(day for day, *_ in once).items()):
        sys.stdout.write(f"{day} {number}\n")
    sys.stderr.write(f"{len(once):,} entries; {count - len(once):,} came again\n")


if __name__ == "__main__":
    main()
