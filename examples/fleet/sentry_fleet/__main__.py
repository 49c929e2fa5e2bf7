"""Run one of the tasks by hand or from cron: `python -m sentry_fleet --help`."""

from __future__ import annotations

import argparse
import sys

from sentry_fleet.handover import hand_over
from sentry_fleet.loads import load_group, load_shard
from sentry_fleet.settings import FleetError, read_fleet


def main() -> None:
    """Run a command; exit with 1 if something was not loaded or handed over."""
    asked = _parser().parse_args()
    problems: list[str] = []
    try:
        fleet = read_fleet()
        match asked.command:
            case "group":
                load_group(fleet, asked.name)
            case "shard":
                load_shard(fleet, asked.organization, asked.range)
            case "handover":
                problems = hand_over(fleet, replace=asked.replace)
    except FleetError as error:
        problems = [str(error)]
    sys.exit("\n".join(problems) or None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sentry_fleet", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    group = commands.add_parser("group", help="load what is new of a group")
    group.add_argument("name")
    shard = commands.add_parser("shard", help="load one range of an organization")
    shard.add_argument("organization")
    shard.add_argument("range", help="its end, such as 2026-01-01T00:00:00Z")
    handover = commands.add_parser("handover", help="make the groups' states from the shards")
    handover.add_argument("--replace", action="store_true", help="bookmarks that are there, too")
    return parser


if __name__ == "__main__":
    main()
