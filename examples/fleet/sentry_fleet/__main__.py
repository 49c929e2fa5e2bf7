"""Run one of the tasks by hand or from cron: `python -m sentry_fleet --help`."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import NoReturn

import psycopg

from sentry_fleet.database import one_line
from sentry_fleet.handover import hand_over
from sentry_fleet.loads import load_group, load_shard
from sentry_fleet.settings import FleetError, read_fleet


def main() -> None:
    """Run a command; exit with 1 if something was not loaded or handed over."""
    asked = _parser().parse_args()
    for number in signal.SIGTERM, signal.SIGINT:
        # A shell lets what runs in its background ignore Ctrl-C.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        problems = _run(asked)
    except FleetError as error:
        problems = [str(error)]
    except psycopg.Error as error:
        problems = [f"PostgreSQL: {one_line(error)}"]
    except OSError as error:
        problems = [one_line(error)]
    sys.exit("\n".join(problems) or None)


def _run(asked: argparse.Namespace) -> list[str]:
    fleet = read_fleet()
    match asked.command:
        case "group":
            load_group(fleet, asked.name)
        case "shard":
            if not load_shard(fleet, asked.organization, asked.range):
                sys.stderr.write(
                    f"{asked.organization}, the range to {asked.range}: loaded before, so not read"
                    " again; to read it again, delete its row in fleet.shards\n"
                )
        case "handover":
            return hand_over(fleet, replace=asked.replace)
    return []


def _stop(number: int, _: object) -> NoReturn:
    """End, and let the programs end: the first process of a container has to hear of it itself."""
    name = signal.Signals(number).name
    sys.stderr.write(f"stopped by {name}: the next run reads the same again\n")
    sys.exit(128 + number)


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
