"""Run the stand-in by itself: python -m testing.fake_sentry --help."""

import argparse
import json
import signal
import sys
from datetime import UTC, datetime

from . import FakeSentry, Inventory, Log, entries
from .log import FIRST_ID, IDS

SHAPES = {"even": entries.even, "bursty": entries.bursty}
ENDINGS = (signal.SIGINT, signal.SIGTERM)
KEYS = ["projects", "teams", "members", "releases", "issues", "events"]


def main() -> None:
    asked = _arguments().parse_args()
    # Before there are threads, so that they all leave these signals to sigwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    logs, inventories = {}, {}
    for number, organization in enumerate(asked.organization or ["acme=1000"]):
        slug, _, count = organization.partition("=")
        until = asked.until or datetime.now(UTC)
        times = SHAPES[asked.shape](int(count), asked.days, until=until)
        logs[slug] = Log(times, first_id=FIRST_ID + number * IDS)
        if asked.inventory:
            inventories[slug] = Inventory.made(
                slug, days=asked.days, until=until, **dict(asked.inventory)
            )
    sentry = FakeSentry(
        logs,
        latency=asked.latency,
        rate_limit=asked.rate_limit,
        concurrent_limit=asked.concurrent_limit,
        inventories=inventories,
    )
    with sentry:
        _say(sentry.url)
        signal.sigwait(ENDINGS)
    _say(json.dumps(sentry.stats()))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fake_sentry", description=__doc__)
    add = parser.add_argument
    add("--organization", metavar="SLUG=COUNT", action="append", help="repeatable")
    add("--inventory", type=_counted, metavar="KEY=NUMBER", action="append", help="repeatable")
    add("--days", type=float, default=30, help="how far back the entries go")
    add("--until", type=datetime.fromisoformat, metavar="TIME", help="their end; default: now")
    add("--shape", choices=SHAPES, default="even", help="of the entries over time")
    add("--latency", type=float, default=0, metavar="SECONDS")
    add("--rate-limit", type=int, metavar="N", help="requests a second")
    add("--concurrent-limit", type=int, metavar="N", help="requests at once")
    return parser


def _counted(text: str) -> tuple[str, int]:
    key, _, number = text.partition("=")
    if key not in KEYS or not number.isdecimal():
        wanted = f"one of {', '.join(KEYS)} with a number, such as {KEYS[0]}=3"
        raise argparse.ArgumentTypeError(wanted)
    return key, int(number)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
