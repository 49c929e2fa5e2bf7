"""The tap and a stand-in for Sentry, each a process of its own, and what a run took."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import TYPE_CHECKING, Any

import msgspec

from mapper_sentry_ocsf.events import EventMapper
from testing.fake_sentry.log import FIRST_ID, IDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

TOKEN = "token"  # noqa: S105  (the stand-in's)
DAYS = 365
PATIENCE = 120
"""Seconds after which a run is killed."""

EXAMPLE = Path(__file__).parents[1] / "plugins/target-otlp/examples/sentry-audit.json"

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024

# Without the settings and proxies of whoever runs this, and without what changes Python: an
# ordinary user has no PYTHONDONTWRITEBYTECODE, with which start-up may compile everything again.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("PYTHON", "TAP_SENTRY_AUDIT", "TARGET_OTLP", "OTEL_", "MAPPER_"))
    and not name.lower().endswith("_proxy")
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a server was asked: requests, how many of them it refused, how many ran at once.

    `most_of_one` counts those for the organization that was asked for most often.
    """

    requests: int
    too_many: int
    at_once: int
    most_of_one: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run took, start-up included: seconds and bytes."""

    exit_code: int
    wall: float
    cpu: float
    memory: int


@dataclass(frozen=True, slots=True)
class StandIn:
    """A server that runs."""

    port: int

    def connection(self) -> HTTPConnection:
        """Return a connection to it, past any proxy."""
        return HTTPConnection("127.0.0.1", self.port, timeout=10)

    def asked(self) -> Asked:
        """Return what it was asked so far."""
        stats = self._control("GET", "stats")
        return Asked(
            stats["requests"], stats["count_429"], stats["max_concurrent"], stats["most_of_one"]
        )

    def set(self, **limits: float) -> None:
        """Change its limits."""
        self._control("POST", "set", json.dumps(limits))

    def _control(self, method: str, command: str, body: str | None = None) -> dict[str, Any]:
        connection = self.connection()
        connection.request(method, f"/__fake__/{command}", body)
        answer: dict[str, Any] = json.load(connection.getresponse())
        connection.close()
        return answer


@dataclass(frozen=True, slots=True)
class Written:
    """What the records are, compared with the log that was read."""

    records: int
    missing: int
    repeated: int
    unknown: int
    misplaced: int

    @property
    def is_exact(self) -> bool:
        """Whether it is the log: every entry, once, in order."""
        return not (self.missing or self.repeated or self.unknown or self.misplaced)


@contextmanager
def stand_in(entries: int, **options: object) -> Iterator[StandIn]:
    """Serve a log of a year while the context lasts; options are those of the program.

    A list stands for an option that is given several times.
    """
    given = {"organization": f"acme={entries}", "days": DAYS} | options
    arguments = [
        f"--{name.replace('_', '-')}={value}"
        for name, values in given.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    with _serving("testing.fake_sentry", *arguments) as server:
        yield server


def run_tap(server: StandIn, folder: Path, **settings: object) -> Usage:
    """Run the tap to its end, from the state in the folder; append to the files there.

    A catalog in the folder is used.
    """
    return run_tap_of(sys.executable, server, folder, **settings)


def run_tap_of(python: str, server: StandIn, folder: Path, /, **settings: object) -> Usage:
    """Run the version of the tap that an interpreter has, as `run_tap` does."""
    given = {
        "auth_token": TOKEN,
        "organization": "acme",
        "host": f"http://127.0.0.1:{server.port}",
    }
    config, state = folder / "config.json", folder / "state.json"
    config.write_text(json.dumps(given | settings))
    # -P: the folder that this runs in has a tap, too.
    command = [python, "-P", "-m", "tap_sentry_audit", f"--config={config}"]
    if state.exists():
        command.append(f"--state={state}")
    if (folder / "catalog.json").exists():
        command.append(f"--catalog={folder / 'catalog.json'}")
    with (folder / "stdout").open("ab") as stdout, (folder / "stderr").open("ab") as stderr:
        return _measure(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)


@contextmanager
def receiver() -> Iterator[StandIn]:
    """Receive log records while the context lasts."""
    with _serving("benchmarks.receiver") as server:
        yield server


@contextmanager
def _serving(module: str, *arguments: str) -> Iterator[StandIn]:
    """Run a module that serves and says where."""
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            url = process.stdout.readline() if process.stdout else ""
            yield StandIn(int(url.rpartition(":")[2]))
        finally:
            process.terminate()
            process.communicate()


def run_target(server: StandIn, folder: Path, messages: Path, **settings: object) -> Usage:
    """Run target-otlp to its end, with the example of a mapping."""
    config = folder / "target.json"
    config.write_text(json.dumps({"endpoint": f"http://127.0.0.1:{server.port}"} | settings))
    command = [sys.executable, "-m", "target_otlp", f"--config={EXAMPLE}", f"--config={config}"]
    with (
        messages.open("rb") as stdin,
        (folder / "states").open("wb") as stdout,
        (folder / "stderr").open("wb") as stderr,
    ):
        return _measure(command, stdin=stdin, stdout=stdout, stderr=stderr)


def run_mapper(folder: Path, messages: Path) -> Usage:
    """Run mapper-sentry-ocsf to its end; its output is `events` in a folder."""
    command = [sys.executable, "-m", "mapper_sentry_ocsf"]
    with (
        messages.open("rb") as stdin,
        (folder / "events").open("wb") as stdout,
        (folder / "stderr").open("wb") as stderr,
    ):
        return _measure(command, stdin=stdin, stdout=stdout, stderr=stderr)


def seconds_to_map(messages: Path) -> float:
    """Return the seconds of a processor that mapping takes for a record of a file, in a process."""
    with messages.open("rb") as file:
        records = [message.record for message in map(_decode_raw, file) if len(message.record)]
    mapper = EventMapper({}, with_raw_data=True)
    began = time.process_time()
    for record in records:
        mapper.map(record)
    return (time.process_time() - began) / len(records)


class _RawMessage(msgspec.Struct):
    record: msgspec.Raw = msgspec.Raw()


_decode_raw = msgspec.json.Decoder(_RawMessage).decode


class _Mapped(msgspec.Struct):
    id: str = ""
    uid: str = ""


class _MappedMessage(msgspec.Struct):
    record: _Mapped | None = None


def read_mapped(folder: Path) -> int:
    """Return how many events came out, or -1 if they are not the entries that went in, in order."""
    given, found = (_keys(folder / name) for name in ("stdout", "events"))
    return len(found) if found == given else -1


def _keys(path: Path) -> list[str]:
    decode = msgspec.json.Decoder(_MappedMessage).decode
    with path.open("rb") as file:
        records = (decode(line).record for line in file)
        return [record.uid or record.id for record in records if record]


def received(server: StandIn) -> dict[str, int]:
    """Return what a receiver has counted."""
    connection = server.connection()
    connection.request("GET", "/")
    counts: dict[str, int] = json.load(connection.getresponse())
    connection.close()
    return counts


def _measure(
    command: Sequence[str | Path],
    *,
    stdin: IO[bytes] | int,
    stdout: IO[bytes],
    stderr: IO[bytes],
) -> Usage:
    """Run a program to its end."""
    began = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603
        command, env=ENVIRONMENT, stdin=stdin, stdout=stdout, stderr=stderr
    )
    watchdog = Timer(PATIENCE, os.kill, (process.pid, signal.SIGKILL))
    watchdog.start()
    try:
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    finally:
        watchdog.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return Usage(
        exit_code=process.returncode,
        wall=wall,
        cpu=used.ru_utime + used.ru_stime,
        # On Linux at least what this process has had at its own peak: it must stay small.
        memory=used.ru_maxrss * MAXRSS_UNIT,
    )


class _Record(msgspec.Struct):
    id: str
    dateCreated: str  # noqa: N815  (Sentry's name)


class _Message(msgspec.Struct):
    record: _Record | None = None


def read_written(folder: Path, *entries: int) -> Written:
    """Compare the records in a folder with logs of so many entries, one for each organization.

    The stand-in numbers the entries of an organization in order.
    """
    decode = msgspec.json.Decoder(_Message).decode
    seen = [bytearray(count) for count in entries]
    latest = [""] * len(entries)
    records = repeated = unknown = misplaced = 0
    with (folder / "stdout").open("rb") as file:
        for line in file:
            record = decode(line).record
            if record is None:
                continue
            records += 1
            organization, number = divmod(int(record.id) - FIRST_ID, IDS)
            if not (0 <= organization < len(entries) and number < entries[organization]):
                unknown += 1
                continue
            repeated += seen[organization][number]
            seen[organization][number] = 1
            misplaced += record.dateCreated < latest[organization]
            latest[organization] = record.dateCreated
    return Written(records, sum(log.count(0) for log in seen), repeated, unknown, misplaced)


def state_sizes(folder: Path) -> list[int]:
    """Return the bytes of each STATE in a folder."""
    with (folder / "stdout").open("rb") as file:
        return [len(line) for line in file if line.startswith(b'{"type":"STATE"')]


def select(stream: str, folder: Path) -> None:
    """Put a catalog into a folder that selects one stream and no other."""
    command = [sys.executable, "-m", "tap_sentry_audit", "--discover"]
    catalog = json.loads(subprocess.check_output(command, env=ENVIRONMENT))  # noqa: S603
    for one in catalog["streams"]:
        for metadata in one["metadata"]:
            if not metadata["breadcrumb"]:
                metadata["metadata"]["selected"] = one["stream"] == stream
    (folder / "catalog.json").write_text(json.dumps(catalog))


class _Event(msgspec.Struct):
    projectID: str  # noqa: N815  (Sentry's names)
    eventID: str  # noqa: N815
    dateCreated: str  # noqa: N815


class _EventMessage(msgspec.Struct):
    record: _Event | None = None


def read_events(folder: Path, projects: int, events: int) -> Written:
    """Compare the events in a folder with what the stand-in holds, by number."""
    decode = msgspec.json.Decoder(_EventMessage).decode
    seen: dict[str, set[str]] = {}
    latest: dict[str, str] = {}
    records = repeated = misplaced = 0
    with (folder / "stdout").open("rb") as file:
        for line in file:
            event = decode(line).record
            if event is None:
                continue
            records += 1
            ids = seen.setdefault(event.projectID, set())
            repeated += event.eventID in ids
            ids.add(event.eventID)
            misplaced += event.dateCreated < latest.get(event.projectID, "")
            latest[event.projectID] = event.dateCreated
    missing = projects * events - sum(min(events, len(ids)) for ids in seen.values())
    unknown = sum(max(0, len(ids) - events) for ids in seen.values())
    return Written(records, missing, repeated, unknown, misplaced)


@cache
def start_up() -> Usage:
    """Return what the tap takes to read an empty log, on median."""
    with TemporaryDirectory() as name, stand_in(0) as server:
        # The first run may have to compile: its modules' bytecode is kept for all the others.
        _, *runs = [run_tap(server, Path(name)) for _ in range(4)]
    return sorted(runs, key=lambda run: run.cpu)[1]


def seconds_to_import(module: str) -> float:
    """Return how long a new interpreter takes to import a module, its own end aside, on median."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    return statistics.median(
        float(subprocess.check_output(command, env=ENVIRONMENT))  # noqa: S603
        for _ in range(7)
    )


def keep_state(folder: Path) -> None:
    """Keep the last STATE for the next run in the folder."""
    message = json.loads(last_line(folder / "stdout"))
    (folder / "state.json").write_text(json.dumps(message["value"]))


def last_line(path: Path) -> str:
    """Return the last line of a file, or nothing."""
    with path.open(encoding="utf-8") as file:
        return "".join(deque(file, maxlen=1)).strip()
