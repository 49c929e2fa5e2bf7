"""What is measured, and what must come out on a machine with two cores."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from threading import Event, Thread
from typing import TYPE_CHECKING

from benchmarks.measure import (
    PATIENCE,
    TOKEN,
    Asked,
    StandIn,
    Usage,
    Written,
    keep_state,
    last_line,
    read_events,
    read_mapped,
    read_written,
    received,
    receiver,
    run_mapper,
    run_tap,
    run_target,
    seconds_to_map,
    select,
    stand_in,
    start_up,
    state_sizes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Meanwhile = Callable[[StandIn, Event], None]

PAGE = 100
MB = 1_000_000
LATENCY = 0.2
RATE = 40
SLOW_RATE = 10
CLOSE = 1.3
"""How much longer than the best a run may take that has to find out what the limit is."""

UNHINDERED = {"requests_per_second": 1000}


@dataclass(frozen=True, slots=True)
class Check:
    """A criterion, and whether it is met."""

    what: str
    measured: str
    limit: str
    is_met: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What a case has measured.

    `is_exact` tells that each entry was written once, in order; `best` is the seconds that the
    server's limits ask for, `page` the entries of a request, and `start` what starting alone
    takes, if that is not the tap's.
    """

    entries: int
    usage: Usage
    asked: Asked
    is_exact: bool
    checks: tuple[Check, ...]
    best: float | None = None
    note: str = ""
    page: int = PAGE
    start: Usage | None = None

    @property
    def is_met(self) -> bool:
        """Whether all criteria are met."""
        return all(check.is_met for check in self.checks)

    @property
    def entries_per_second(self) -> float:
        """Entries in a second, start-up included."""
        return self.entries / self.usage.wall

    @property
    def requests_per_page(self) -> float:
        """Requests for each page that is needed."""
        return self.asked.requests / _pages(self.entries, self.page)

    @property
    def cpu_per_entry(self) -> float | None:
        """Microseconds of a processor for each entry, start-up aside."""
        spent = self.usage.cpu - (self.start or start_up()).cpu
        return 1_000_000 * spent / self.entries if self.entries else None

    def takes_at_most(self, seconds: float, best: float | None = None) -> Report:
        """Judge the wall time."""
        check = _at_most("wall time", self.usage.wall, seconds, "{:.2f} s")
        return replace(self, best=best, checks=(*self.checks, check))

    def must(self, *checks: Check) -> Report:
        """Judge by further criteria."""
        return replace(self, checks=self.checks + checks)


def backfill(folder: Path) -> Report:
    """20,000 entries at 200 ms a request and 40 requests a second."""
    report = read(folder, 20_000, latency=LATENCY, rate_limit=RATE)
    note = "measured elsewhere: airbyte-cdk low-code source 43.4 s, dlt 43.3 s"
    report = replace(report, note=note)
    return report.takes_at_most(6.5, best=5.0).must(_no_429(report))


def backfill_100k(folder: Path) -> Report:
    """100,000 entries, the same way."""
    report = read(folder, 100_000, latency=LATENCY, rate_limit=RATE)
    return report.takes_at_most(27, best=25.0).must(_no_429(report))


def bursts(folder: Path) -> Report:
    """100,000 entries, most in minutes of 5,000 between quiet weeks, the same way."""
    report = read(folder, 100_000, shape="bursty", latency=LATENCY, rate_limit=RATE)
    asked = _at_most("requests for a page needed", report.requests_per_page, 1.2, "{:.2f}")
    return report.takes_at_most(1.25 * 25, best=25.0).must(asked)


def unhindered(folder: Path) -> Report:
    """500,000 entries without latency or limit."""
    small = read(folder / "small", 20_000, settings=UNHINDERED)
    report = read(folder / "large", 500_000, settings=UNHINDERED)
    memory = report.usage.memory / MB
    more = memory - small.usage.memory / MB
    return report.must(
        _at_most("peak memory", memory, 100, "{:.1f} MB"),
        _at_most("more than with 20,000 entries", more, 10, "{:.1f} MB"),
        _at_most("CPU for an entry", report.cpu_per_entry or 0, 50, "{:.1f} µs"),
    )


def up_to_date(folder: Path) -> Report:
    """Nothing new since the run before, 50 ms a request."""
    entries, until = 10_000, datetime.now(UTC).isoformat()
    read(folder, entries, settings=UNHINDERED, until=until)
    keep_state(folder)
    # Both runs write to one file: none of its entries may come twice.
    report = replace(read(folder, entries, latency=0.05, until=until), entries=0)
    requests = report.asked.requests
    asked = Check("requests", f"{requests}", "= 1", is_met=requests == 1)
    return report.takes_at_most(0.8, best=0.05).must(asked)


def dense(folder: Path) -> Report:
    """100,000 entries of the last hour, without latency or limit: bytes of STATE."""
    entries = 100_000
    report = read(folder, entries, settings=UNHINDERED, days=0.99 / 24)
    *before, last = state_sizes(folder)
    first_run = (sum(before) + last) / entries
    keep_state(folder)
    (folder / "stdout").unlink()
    # The later ones are not in the state.
    later = read(folder, entries, settings=UNHINDERED, days=0.99 / 24)
    *repeated, _ = state_sizes(folder)
    allowed = 100 * later.entries + 10_000
    return report.must(
        _at_most("bytes of STATE for a record", first_run, 100, "{:.1f}"),
        _at_most("of the last one for an id", last / entries, 25, "{:.1f}"),
        _at_most("before the last, in a second run", sum(repeated), allowed, "{:,.0f}"),
    )


def organizations(folder: Path) -> Report:
    """200 organizations with nothing new, 200 ms a request, 40 requests a second."""
    until = datetime.now(UTC).isoformat()
    _read_organizations(folder, [3] * 200, settings=UNHINDERED, until=until)
    keep_state(folder)
    report = _read_organizations(folder, [3] * 200, latency=LATENCY, rate_limit=RATE, until=until)
    report = replace(report, entries=0)
    return report.takes_at_most(7, best=5.0).must(_no_429(report), _most_of_one(report, 1))


def organizations_first(folder: Path) -> Report:
    """Three entries of each of 200 organizations in a first run, the same way."""
    report = _read_organizations(folder, [3] * 200, latency=LATENCY, rate_limit=RATE)
    return report.takes_at_most(10, best=5.0).must(_no_429(report), _most_of_one(report, 2))


def organizations_1000(folder: Path) -> Report:
    """1,000 organizations with three entries, one of them with 100,000, 20 ms a request."""
    small = _read_organizations(folder / "small", [3, 100_000], settings=UNHINDERED, latency=0.02)
    counts = [3] * 500 + [100_000] + [3] * 499
    report = _read_organizations(folder / "large", counts, settings=UNHINDERED, latency=0.02)
    more = (report.usage.memory - small.usage.memory) / MB
    sizes = state_sizes(folder / "large")
    return report.must(
        _at_most("peak memory", report.usage.memory / MB, 100, "{:.1f} MB"),
        _at_most("more than with two organizations", more, 10, "{:.1f} MB"),
        _at_most("STATE before the last", sum(sizes[:-1]) / report.entries, 100, "{:.1f} B"),
    )


def at_once_25(folder: Path) -> Report:
    """20,000 entries, 25 requests at once allowed, 40 a second, 200 ms each."""
    report = read(folder, 20_000, latency=LATENCY, rate_limit=RATE, concurrent_limit=25)
    best = _pages(20_000) / RATE
    return report.takes_at_most(CLOSE * best, best)


def at_once_5(folder: Path) -> Report:
    """20,000 entries, 5 requests at once allowed, 40 a second, 200 ms each."""
    report = read(folder, 20_000, latency=LATENCY, rate_limit=RATE, concurrent_limit=5)
    best = _pages(20_000) * LATENCY / 5
    return report.takes_at_most(CLOSE * best, best)


def changing(folder: Path) -> Report:
    """20,000 entries, 40 requests a second, 10 from second 2 to 6, then 40 again."""
    report = read(folder, 20_000, _slow_down, latency=LATENCY, rate_limit=RATE)
    best = 6 + (_pages(20_000) - 2 * RATE - 4 * SLOW_RATE) / RATE
    return report.takes_at_most(CLOSE * best, best)


def shared(folder: Path) -> Report:
    """20,000 entries, 40 requests a second, a third of them taken by another client."""
    answers: list[int] = []
    clients = [partial(_ask, answers, number * 0.075) for number in range(4)]
    report = read(folder, 20_000, *clients, latency=LATENCY, rate_limit=RATE)
    refused = answers.count(HTTPStatus.TOO_MANY_REQUESTS)
    asked = report.asked
    ours = Asked(asked.requests - len(answers), asked.too_many - refused, asked.at_once)
    note = f"the other client, counted in at once, sent {len(answers)} requests; {refused} got 429"
    best = _pages(20_000) / (RATE - RATE / 3)
    return replace(report, asked=ours, note=note).takes_at_most(CLOSE * best, best)


def events(folder: Path) -> Report:
    """Events of 300 projects, 100 each, at 100 ms a request and 40 requests a second."""
    projects, each = 300, 100
    select("events", folder)
    inventory = [f"projects={projects}", f"events={each}"]
    with stand_in(0, inventory=inventory, latency=0.1, rate_limit=RATE) as server:
        usage = run_tap(server, folder)
        asked = server.asked()
    total = projects * each
    written = read_events(folder, projects, each)
    report = _report(folder, total, usage, asked, written)
    # One for each project, the pages that list them, and one to find the region.
    best = (projects + projects / PAGE + 1) / RATE
    return report.takes_at_most(CLOSE * best, best).must(_no_429(report))


def otlp(folder: Path) -> Report:
    """target-otlp: 100,000 audit entries in batches of 500 to a local receiver."""
    entries, least = 100_000, 15_000
    _, _, empty = _deliver(folder / "empty", 0)
    _, _, small = _deliver(folder / "small", entries // 10)
    counts, state, usage = _deliver(folder / "large", entries)
    is_exact = usage.exit_code == 0 and counts["in_order"] == counts["records"] == entries
    asked = Asked(counts["requests"], too_many=0, at_once=1)
    each = Check(
        "records, each once, in order", f"{counts['in_order']:,}", f"= {entries:,}", is_exact
    )
    more = (usage.memory - small.memory) / MB
    rate = entries / usage.cpu
    report = Report(entries, usage, asked, is_exact, (each,), page=500, start=empty)
    return report.must(
        Check("last state", "out" if state else "kept", "out", state),
        Check("records/s of CPU, start-up too", f"{rate:,.0f}", f"≥ {least:,}", rate >= least),
        _at_most("more memory than with a tenth", more, 5, "{:.1f} MB"),
    )


def ocsf(folder: Path) -> Report:
    """mapper-sentry-ocsf: 100,000 audit entries from a file to a file."""
    entries = 100_000
    _, empty = _map(folder / "empty", 0)
    _, small = _map(folder / "small", entries // 10)
    mapped, usage = _map(folder / "large", entries)
    is_exact = usage.exit_code == 0 and mapped == entries
    each = Check("events, each once, in order", f"{mapped:,}", f"= {entries:,}", is_exact)
    report = Report(entries, usage, Asked(0, too_many=0, at_once=0), is_exact, (each,), start=empty)
    mapping = 1_000_000 * seconds_to_map(folder / "small" / "stdout")
    return report.must(
        _at_most("mapping alone, CPU for an entry", mapping, 40, "{:.1f} µs"),
        _at_most("whole process, CPU for an entry", report.cpu_per_entry or 0, 100, "{:.1f} µs"),
        _at_most(
            "more memory than with a tenth", (usage.memory - small.memory) / MB, 5, "{:.1f} MB"
        ),
    )


def _map(folder: Path, entries: int) -> tuple[int, Usage]:
    """Let the tap read a log, and the mapper map it; return the number of events, and the usage."""
    folder.mkdir()
    with stand_in(entries) as server:
        run_tap(server, folder, **UNHINDERED)
    usage = run_mapper(folder, folder / "stdout")
    return read_mapped(folder), usage


def _deliver(folder: Path, entries: int) -> tuple[dict[str, int], bool, Usage]:
    """Let the tap read a log, and the target deliver it.

    Return what the receiver counted, whether the tap's last state came out, and what the target
    took.
    """
    folder.mkdir()
    with stand_in(entries) as server:
        run_tap(server, folder, **UNHINDERED)
    with receiver() as server:
        usage = run_target(server, folder, folder / "stdout", max_batch_size=500)
        counts = received(server)
    last_message = json.loads(last_line(folder / "stdout"))
    state = json.loads(last_line(folder / "states") or "null")
    return counts, state == last_message["value"], usage


CASES: dict[str, Callable[[Path], Report]] = {
    "backfill": backfill,
    "backfill-100k": backfill_100k,
    "bursts": bursts,
    "unhindered": unhindered,
    "up-to-date": up_to_date,
    "dense": dense,
    "organizations": organizations,
    "first-run-200": organizations_first,
    "organizations-1000": organizations_1000,
    "at-once-25": at_once_25,
    "at-once-5": at_once_5,
    "changing": changing,
    "shared": shared,
    "events": events,
    "otlp": otlp,
    "ocsf": ocsf,
}


def read(
    folder: Path,
    entries: int,
    *meanwhile: Meanwhile,
    settings: dict[str, int] | None = None,
    **options: object,
) -> Report:
    """Read a log into a folder, and compare what was written with it."""
    folder.mkdir(exist_ok=True)
    with stand_in(entries, **options) as server:
        with _running(server, meanwhile):
            usage = run_tap(server, folder, **settings or {})
        asked = server.asked()
    return _report(folder, entries, usage, asked, read_written(folder, entries))


def _read_organizations(
    folder: Path, counts: list[int], settings: dict[str, int] | None = None, **options: object
) -> Report:
    """Read logs of so many entries, one for each organization, as `read` reads one."""
    folder.mkdir(exist_ok=True)
    slugs = [f"organization-{number:03}" for number in range(len(counts))]
    logs = [f"{slug}={count}" for slug, count in zip(slugs, counts, strict=True)]
    with stand_in(0, organization=logs, **options) as server:
        usage = run_tap(server, folder, organization=None, organizations=slugs, **settings or {})
        asked = server.asked()
    return _report(folder, sum(counts), usage, asked, read_written(folder, *counts))


def _most_of_one(report: Report, limit: int) -> Check:
    return _at_most("requests for an organization", report.asked.most_of_one, limit, "{}")


def _report(folder: Path, entries: int, usage: Usage, asked: Asked, written: Written) -> Report:
    """Report a run that had to write so many."""
    measured, limit = f"{written.records:,}", f"= {entries:,}"
    is_exact = usage.exit_code == 0 and written.is_exact
    if not is_exact:
        limit += f": {written}, exit code {usage.exit_code}, {last_line(folder / 'stderr')}"
    check = Check("entries, each once, in order", measured, limit, is_exact)
    return Report(entries, usage, asked, is_exact, (check,))


@contextmanager
def _running(server: StandIn, tasks: tuple[Meanwhile, ...]) -> Iterator[None]:
    stopped = Event()
    threads = [Thread(target=task, args=(server, stopped)) for task in tasks]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _slow_down(server: StandIn, stopped: Event) -> None:
    while not server.asked().requests:
        if stopped.wait(0.02):
            return
    for seconds, rate in ((2, SLOW_RATE), (4, RATE)):
        if stopped.wait(seconds):
            return
        server.set(rate_limit=rate)


def _ask(answers: list[int], delay: float, server: StandIn, stopped: Event) -> None:
    """Send one request every 0.3 seconds, as one of four do: a third of 40 a second."""
    connection = server.connection()
    due = time.monotonic() + delay
    end = due + PATIENCE
    while due < end and not stopped.wait(max(0, due - time.monotonic())):
        due += 0.3
        connection.request(
            "GET",
            "/api/0/organizations/acme/audit-logs/?per_page=1",
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        with connection.getresponse() as answer:
            answer.read()
        answers.append(answer.status)


def _pages(entries: int, page: int = PAGE) -> int:
    """Return the pages needed: one, where nothing is there, to know that."""
    return max(1, -(-entries // page))


def _no_429(report: Report) -> Check:
    return _at_most("429s", report.asked.too_many, 0, "{}")


def _at_most(what: str, value: float, limit: float, form: str) -> Check:
    return Check(what, form.format(value), f"≤ {form.format(limit)}", value <= limit)
