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
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tap_sentry_audit.streams import progress
from tap_sentry_audit.streams.progress import LINE_SECONDS, Progress, Summary
from testing.fake_sentry import FakeSentry, Log, entries
from testing.sentry_tap import command, config, run_tap

if TYPE_CHECKING:
    from pathlib import Path

    from testing.forked import Run

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=10)
TOKEN = "sntryu_0123456789abcdef"  # noqa: S105  (the stand-in's)
COUNT = 450


def summary(run: Run, organization: str = "acme") -> str:
    """The one line that tells what was done for an organization."""
    [line] = [text for text in run.log("INFO") if text.startswith(f"{organization}: ")]
    return line


# --- the line at an organization's end


def test_a_first_run_sums_up_what_it_read() -> None:
    log = Log(entries.even(COUNT))
    with FakeSentry({"acme": log}) as sentry:
        line = summary(run_tap(config(sentry)))

    assert line.startswith("acme: 450 new entries (0 late), 0 known ones left out, 5 requests, ")
    assert "s waited for the rate limit" in line


def test_it_names_the_range_that_was_covered() -> None:
    log = Log(entries.even(COUNT))
    rows = [row for row in log.rows() if row]
    with FakeSentry({"acme": log}) as sentry:
        line = summary(run_tap(config(sentry)))

    first, last = (row["dateCreated"][:19].replace("T", " ") for row in (rows[0], rows[-1]))
    assert re.search(rf"{first}\S* to {last}", line)


def test_each_organization_has_a_line_of_its_own() -> None:
    logs = {"acme": Log(entries.even(30)), "other": Log(entries.even(7), first_id=5_000_001)}
    with FakeSentry(logs) as sentry:
        run = run_tap(config(sentry, organization=None, organizations=["acme", "other"]))

    assert summary(run, "acme").startswith("acme: 30 new entries")
    assert summary(run, "other").startswith("other: 7 new entries")
    assert "1 requests" in summary(run, "other")


def test_a_second_run_counts_what_is_late_and_what_is_known() -> None:
    log = Log(entries.even(20, days=0.01))
    with FakeSentry({"acme": log}) as sentry:
        first = run_tap(config(sentry))
        newest = entries.micros(first.records[-1]["dateCreated"])
        log.add([newest - 5_000_000, newest + 5_000_000])
        line = summary(run_tap(config(sentry), state=first.state))

    assert line.startswith("acme: 2 new entries (1 late), 20 known ones left out, 1 requests")


def test_null_rows_are_counted() -> None:
    log = Log(entries.even(20))
    for number in range(3):
        log.put(None, entries.micros(entries.UNTIL) - number)
    with FakeSentry({"acme": log}) as sentry:
        line = summary(run_tap(config(sentry)))

    assert "20 new entries" in line
    assert ", 3 null rows, " in line


def test_an_empty_log_has_a_line_too() -> None:
    with FakeSentry({"acme": Log()}) as sentry:
        line = summary(run_tap(config(sentry)))

    assert line.startswith("acme: 0 new entries")
    assert line.endswith("nothing in the range")


def test_thousands_are_set_apart() -> None:
    assert str(Summary(new=1_234_567)).startswith("1,234,567 new entries")


def test_without_null_rows_none_are_mentioned() -> None:
    assert "null" not in str(Summary(new=3))


# --- lines in a log


class Shown:
    """A progress on a clock that a test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        self.now = 0.0
        self._caplog = caplog
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: self.now))
        caplog.set_level(logging.INFO)
        self.progress = Progress("acme", logging.getLogger("test"))

    def show(self, seconds: float, count: int, reached: datetime) -> list[str]:
        """The lines that showing this at a time adds."""
        self._caplog.clear()
        self.now = seconds
        self.progress.show(count, reached, END)
        return self._caplog.messages


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Shown:
    return Shown(monkeypatch, caplog)


def test_there_is_no_line_before_its_time(shown: Shown) -> None:
    assert not shown.show(LINE_SECONDS - 0.1, 100, START)


def test_lines_come_every_ten_seconds(shown: Shown) -> None:
    times = [n / 2 for n in range(100)]
    lines = [at for at in times if shown.show(at, 100, START + timedelta(hours=at))]

    assert lines == [10, 20, 30, 40]


def test_a_line_says_organization_percent_position_rate_and_time_left(shown: Shown) -> None:
    shown.show(0, 0, START)
    [line] = shown.show(20, 4000, START + timedelta(days=4))

    assert "acme" in line
    assert "40 %" in line
    assert "2026-01-05 00:00" in line
    assert "4,000 entries" in line
    assert "200 a second" in line
    assert "30 s left" in line


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


@pytest.fixture(scope="module")
def on_a_terminal(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    log = Log(entries.even(COUNT, until=datetime.now(UTC)))
    with FakeSentry({"acme": log}, latency=0.02) as sentry:
        return run_on_a_terminal(config(sentry), tmp_path_factory.mktemp("terminal"))


def test_a_terminal_shows_a_bar_with_organization_and_percent(
    on_a_terminal: tuple[str, str],
) -> None:
    _, terminal = on_a_terminal

    assert re.search(r"\r\S*acme +\[#+-+\] +\d+%", terminal)


def test_the_bar_gets_to_its_end(on_a_terminal: tuple[str, str]) -> None:
    _, terminal = on_a_terminal
    percents = [int(text) for text in re.findall(r"(\d+)%", terminal)]

    assert percents == sorted(percents)
    assert percents[-1] >= 99


def test_a_terminals_stdout_has_all_messages_and_nothing_else(
    on_a_terminal: tuple[str, str],
) -> None:
    stdout, _ = on_a_terminal
    kinds = [json.loads(line)["type"] for line in stdout.splitlines()]

    assert set(kinds) <= {"SCHEMA", "RECORD", "STATE"}
    assert kinds.count("RECORD") == COUNT


def test_a_terminal_gets_the_summary_too(on_a_terminal: tuple[str, str]) -> None:
    _, terminal = on_a_terminal

    assert "acme: 450 new entries" in terminal


# --- what is where


@pytest.fixture(scope="module", params=["INFO", "DEBUG"])
def piped(request: pytest.FixtureRequest) -> Run:
    with FakeSentry({"acme": Log(entries.even(COUNT))}, tokens={TOKEN: "ok"}) as sentry:
        settings = config(sentry, auth_token=TOKEN)
        return run_tap(settings, environment={"LOGLEVEL": request.param})


def test_stdout_has_messages_only(piped: Run) -> None:
    assert {message["type"] for message in piped.messages} == {"SCHEMA", "RECORD", "STATE"}


def test_a_log_has_no_bar(piped: Run) -> None:
    assert "\r" not in piped.stderr
    assert "%" not in re.sub("%3A", "", "\n".join(piped.log("INFO")))


def test_the_sdks_metrics_stay(piped: Run) -> None:
    metrics = [text for text in piped.log("INFO") if text.startswith("METRIC: ")]

    assert any('"record_count"' in text and f'"value":{COUNT}' in text for text in metrics)


def test_stderr_has_no_token(piped: Run) -> None:
    assert TOKEN not in piped.stderr
    assert "Bearer" not in piped.stderr


def test_stderr_has_no_persons_data(piped: Run) -> None:
    people = [record["actor"] or {} for record in piped.records]
    emails = {actor["email"] for actor in people if actor.get("email")}
    addresses = {record["ipAddress"] for record in piped.records if record["ipAddress"]}

    assert emails
    assert len(addresses) >= 5
    # "::1" alone would also be found in other texts, and proves no more than the others.
    assert [text for text in emails | addresses - {"::1"} if text in piped.stderr] == []
    assert "@" not in piped.stderr
