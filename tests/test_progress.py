"""What a person sees on stderr, and that stdout stays for messages."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import select
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tap_sentry_audit.streams.progress import LINE_SECONDS, Progress, Summary
from testing.fake_sentry import FakeSentry, Log, entries
from testing.sentry_tap import command, config, run_tap

if TYPE_CHECKING:
    from pathlib import Path

    from testing.forked import Run

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=10)


# --- the line at an organization's end


def read(log: Log, state: object = None) -> Run:
    """Run the tap with one request at a time, so that their number is certain."""
    with FakeSentry({"acme": log}) as sentry:
        return run_tap(config(sentry, max_concurrent_requests=1), state=state)


def summary(run: Run, organization: str = "acme") -> str:
    """The one line that tells what was done for an organization."""
    [line] = [text for text in run.log("INFO") if text.startswith(f"{organization}: ")]
    return line


def test_a_first_run_sums_up_what_it_read_and_the_range_that_it_covered() -> None:
    log = Log(entries.even(450))
    line = summary(read(log))

    rows = [row for row in log.rows() if row]
    first, last = (row["dateCreated"][:19].replace("T", " ") for row in (rows[0], rows[-1]))
    assert re.fullmatch(
        r"acme: 450 new entries \(0 late\), 0 known ones left out, 5 requests, "
        rf"\d\.\d s waited for the rate limit, {first} to {last} UTC",
        line,
    )


def test_each_organization_has_a_line_of_its_own() -> None:
    logs = {"acme": Log(entries.even(30)), "other": Log(entries.even(7), first_id=5_000_001)}
    with FakeSentry(logs) as sentry:
        run = run_tap(config(sentry, organization=None, organizations=["acme", "other"]))

    assert summary(run, "acme").startswith("acme: 30 new entries")
    assert summary(run, "other").startswith("other: 7 new entries")
    assert "1 requests" in summary(run, "other")


def test_a_second_run_counts_what_is_late_and_what_is_known() -> None:
    log = Log(entries.even(20, days=0.01))
    first = read(log)
    newest = entries.micros(first.records[-1]["dateCreated"])
    log.add([newest - 5_000_000, newest + 5_000_000])
    line = summary(read(log, first.state))

    assert line.startswith("acme: 2 new entries (1 late), 20 known ones left out, 1 requests")


def test_null_rows_are_in_the_line_and_in_a_warning() -> None:
    log = Log(entries.even(20))
    for number in range(3):
        log.put(None, entries.micros(entries.UNTIL) - number)
    run = read(log)

    assert "acme: 20 new entries" in summary(run)
    assert ", 3 null rows, " in summary(run)
    assert run.log("WARNING") == ["acme: Sentry could not show 3 entries (null rows)"]


def test_large_numbers_are_grouped_and_what_there_is_none_of_is_left_out() -> None:
    assert str(Summary(new=1_234_567, late=2)) == (
        "1,234,567 new entries (2 late), 0 known ones left out, 0 requests, "
        "0.0 s waited for the rate limit, nothing in the range"
    )


# --- lines in a log


class Shown:
    """A progress on a clock that a test turns."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._now = 0.0
        self._caplog = caplog
        caplog.set_level(logging.INFO)
        self._progress = Progress("acme", logging.getLogger("test"), clock=lambda: self._now)

    def show(self, seconds: float, count: int, reached: datetime) -> list[str]:
        """The lines that showing this at a time adds."""
        self._caplog.clear()
        self._now = seconds
        self._progress.show(count, reached, END)
        return self._caplog.messages


@pytest.fixture
def shown(caplog: pytest.LogCaptureFixture) -> Shown:
    return Shown(caplog)


def test_lines_come_every_ten_seconds(shown: Shown) -> None:
    times = [n / 2 for n in range(100)]
    lines = [at for at in times if shown.show(at, 100, START + timedelta(hours=at))]

    assert LINE_SECONDS == 10
    assert lines == [10, 20, 30, 40]


def test_a_line_says_organization_percent_position_rate_and_time_left(shown: Shown) -> None:
    shown.show(0, 0, START)

    assert shown.show(20, 4000, START + timedelta(days=4)) == [
        "acme: 40 %, at 2026-01-05 00:00, 4,000 entries, 200 a second, about 30 s left"
    ]


def test_it_is_never_more_than_all(shown: Shown) -> None:
    shown.show(0, 0, START)
    [line] = shown.show(20, 10, END + timedelta(days=1))

    assert "100 %" in line


def test_a_range_without_length_does_no_harm(shown: Shown) -> None:
    assert shown.show(20, 10, END)


# --- a bar on a terminal


def run_on_a_terminal(settings: dict[str, object], folder: Path) -> tuple[str, str]:
    """Run the tap with stderr on a terminal, and return stdout and what the terminal got."""
    path = folder / "config.json"
    path.write_text(json.dumps(settings))
    master, slave = pty.openpty()
    with (folder / "stdout").open("wb") as stdout:
        tap = subprocess.Popen(
            command("--config", str(path)),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=slave,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        )
    os.close(slave)
    seen = b""
    while select.select([master], [], [], 30)[0]:
        try:
            seen += os.read(master, 65536)
        except OSError:  # how a terminal says that nobody has it open any more
            break
    os.close(master)
    assert tap.wait(30) == 0
    return (folder / "stdout").read_text("utf-8"), seen.decode()


def test_a_terminal_shows_a_bar_and_the_summary_and_stdout_has_messages_alone(
    tmp_path: Path,
) -> None:
    log = Log(entries.even(450, until=datetime.now(UTC)))
    with FakeSentry({"acme": log}, latency=0.02) as sentry:
        stdout, terminal = run_on_a_terminal(config(sentry), tmp_path)

    kinds = [json.loads(line)["type"] for line in stdout.splitlines()]
    assert set(kinds) == {"SCHEMA", "RECORD", "STATE"}
    assert kinds.count("RECORD") == 450
    assert re.search(r"\r\S*acme +\[#+-+\] +\d+%", terminal)
    percents = [int(text) for text in re.findall(r"(\d+)%", terminal)]
    assert percents == sorted(percents)
    assert percents[-1] >= 99
    assert "acme: 450 new entries" in terminal


# --- a log


@pytest.fixture(scope="module")
def logged() -> Run:
    token = "sntryu_0123456789abcdef"  # noqa: S105  (the stand-in's)
    with FakeSentry({"acme": Log(entries.even(150))}, tokens={token: "ok"}) as sentry:
        return run_tap(config(sentry, auth_token=token), environment={"LOGLEVEL": "DEBUG"})


def test_a_log_has_metrics_and_no_bar_nor_a_line_for_each_deselected_stream(logged: Run) -> None:
    lines = logged.log("INFO")

    assert "\r" not in logged.stderr
    assert "%" not in re.sub("%3A", "", "\n".join(lines))
    assert any('"record_count"' in text and '"value":150' in text for text in lines)
    assert not [text for text in lines if "Skipping deselected" in text]


def test_a_log_has_neither_the_token_nor_the_data_of_persons(logged: Run) -> None:
    people = [record["actor"] or {} for record in logged.records]
    emails = {actor["email"] for actor in people if actor.get("email")}
    addresses = {record["ipAddress"] for record in logged.records if record["ipAddress"]}

    assert emails
    assert len(addresses) >= 5
    # "::1" alone would also be found in other texts, and proves no more than the others.
    private = emails | addresses - {"::1"} | {"sntryu_0123456789abcdef", "Bearer", "@"}
    assert [text for text in private if text in logged.stderr] == []
