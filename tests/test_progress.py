"""What a person sees on stderr, and that stdout stays for messages."""

from __future__ import annotations

import json
import logging
import re
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tap_sentry_audit.streams.progress import LINE_SECONDS, Progress, Span
from tap_sentry_audit.streams.summary import Summary, duration
from testing.fake_sentry import FakeSentry, Log, entries
from testing.sentry_tap import command, config, run_tap
from testing.terminal import run_on_a_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from testing.forked import Run
    from testing.terminal import Seen

START = datetime(2026, 1, 1, tzinfo=UTC)
WIDTHS = [60, 80, 120]


# --- the last line


def read(log: Log, state: object = None, **environment: str) -> Run:
    """Run the tap with one request at a time, so that their number is certain."""
    with FakeSentry({"acme": log}) as sentry:
        settings = config(sentry, max_concurrent_requests=1)
        return run_tap(settings, state=state, environment=environment)


def last_line(run: Run) -> str:
    return run.stderr.splitlines()[-1].split(" | ", 3)[-1]


def newest(log: Log) -> str:
    rows = [row for row in log.rows() if row]
    return str(rows[-1]["dateCreated"][:19].replace("T", " "))


def test_a_first_run_says_at_last_what_it_read_and_up_to_when() -> None:
    log = Log(entries.even(450))

    assert re.fullmatch(
        rf"acme audit_logs: 450 new entries in \d(\.\d)? s, up to {newest(log)} UTC",
        last_line(read(log)),
    )


def test_the_metrics_of_the_sdk_come_before_the_last_line() -> None:
    lines = read(Log(entries.even(1))).stderr.splitlines()

    assert any(
        'METRIC: {"type":"counter","metric":"record_count","value":1' in each for each in lines
    )
    assert "METRIC" not in lines[-1]
    assert "http_request" not in "\n".join(lines)


def test_one_entry_is_not_called_entries() -> None:
    assert ": 1 new entry in " in last_line(read(Log(entries.even(1))))


def test_a_run_without_new_entries_says_so_and_up_to_when_it_knows_them() -> None:
    log = Log(entries.even(30, days=20))
    first = read(log)

    assert re.fullmatch(
        rf"acme audit_logs: no new entries in \d\.\d s, up to {newest(log)} UTC, "
        r"\d known left out",
        last_line(read(log, first.state)),
    )


def test_late_and_known_entries_and_null_rows_are_counted_where_there_are_any() -> None:
    log = Log(entries.even(20, days=0.01))
    first = read(log)
    at = entries.micros(first.records[-1]["dateCreated"])
    log.add([at - 5_000_000, at + 5_000_000])
    log.put(None, at + 1)
    run = read(log, first.state)

    assert last_line(run).endswith(" UTC, 1 late, 20 known left out, 1 that Sentry could not show")
    assert run.log("WARNING") == ["acme: Sentry could not show 1 entry (null rows)"]


def test_everything_is_counted_where_that_is_asked_for() -> None:
    run = read(Log(entries.even(150)), LOGLEVEL="DEBUG")

    assert last_line(run).endswith(
        " UTC, 0 late, 0 known left out, 0 left out by stream maps, 0 that could not be written, "
        "0 that Sentry could not show, 2 requests, 0.0 s waited for the rate limit"
    )


def test_several_organizations_are_summed_up_in_one_line() -> None:
    logs = {"acme": Log(entries.even(30)), "other": Log(entries.even(7), first_id=5_000_001)}
    with FakeSentry(logs) as sentry:
        run = run_tap(config(sentry, organization=None, organizations=list(logs)))

    assert re.match(
        r"audit_logs: 37 new entries from 2 organizations in \d\.\d s, up to ", last_line(run)
    )
    assert len([line for line in run.log("INFO") if "entries" in line]) == 1


def test_an_organization_that_cannot_be_read_is_the_last_line_after_the_sum() -> None:
    with FakeSentry({"acme": Log(entries.even(30))}) as sentry:
        run = run_tap(config(sentry, organization=None, organizations=["nope", "acme"]))

    assert last_line(run).startswith("nope: there is no such organization")
    assert any(": 30 new entries from 1 of 2 organizations in " in each for each in run.log("INFO"))


def test_large_numbers_are_grouped() -> None:
    summary = Summary(new=1_234_567, late=2_000, seconds=300, waited=71.2, organizations=1)

    assert summary.describe("entry", "entries") == (
        "1,234,567 entries in 5 min, 2,000 late, 71 s waited for the rate limit"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (0.96, "1.0 s"),
        (26.4, "26 s"),
        (119.4, "119 s"),
        (128, "2 min"),
        (36 * 60, "36 min"),
        (128_418, "35 h 40 min"),
    ],
)
def test_durations_are_told_as_people_tell_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# --- lines in a log


class Shown:
    """A progress on a clock that a test turns."""

    def __init__(self, caplog: pytest.LogCaptureFixture, organizations: int = 1) -> None:
        self._now = 0.0
        self._caplog = caplog
        caplog.set_level(logging.INFO)
        self.progress = Progress(
            "audit_logs",
            ("entry", "entries"),
            organizations,
            logging.getLogger("test"),
            clock=lambda: self._now,
        )
        self.progress.begin("acme")

    def show(self, seconds: float, new: int, share: float) -> list[str]:
        """The lines that showing this at a time adds."""
        self._caplog.clear()
        self._now = seconds
        self.progress.show(new, share, START + share * timedelta(days=10))
        return self._caplog.messages


def test_lines_come_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    shown = Shown(caplog)
    lines = [at for at in [n / 2 for n in range(100)] if shown.show(at, 1, at / 1000)]

    assert LINE_SECONDS == 10
    assert lines == [10, 20, 30, 40]


def test_a_line_says_how_far_how_many_how_fast_and_how_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert Shown(caplog).show(20, 4000, 0.4) == [
        "acme audit_logs: 40 %, 4,000 entries, 200 a second, at 2026-01-05 00:00, about 30 s left"
    ]


@pytest.mark.parametrize("shares", [(0.76, 0.77), (0.0, 0.4)])
def test_the_time_left_is_not_told_where_entries_lie_unevenly(
    shares: tuple[float, float], caplog: pytest.LogCaptureFixture
) -> None:
    shown = Shown(caplog)
    shown.show(20, 1, shares[0])

    assert " left" not in shown.show(30, 1, shares[1])[0]


def test_a_failing_stream_map_is_not_counted_as_a_new_entry() -> None:
    with FakeSentry({"acme": Log(entries.even(5))}) as sentry:
        maps = {"audit_logs": {"x": "int(event)"}}
        run = run_tap(config(sentry, stream_maps=maps))

    assert any("no new entries in " in line for line in run.log("INFO"))
    assert run.records == []


def test_several_organizations_share_the_line(caplog: pytest.LogCaptureFixture) -> None:
    shown = Shown(caplog, organizations=4)
    shown.progress.end(is_done=True)

    assert shown.show(20, 100, 0.0)[0].startswith(
        "1 of 4 organizations: 25 %, 100 entries, 5 a second"
    )


def test_a_range_is_read_up_to_the_newest_entry_and_asks_for_it_once_if_at_all() -> None:
    asked: list[datetime] = []

    def end() -> datetime:
        asked.append(START)
        return START + timedelta(days=10)

    span = Span(end)
    span.reach(START)
    assert asked == []
    shares = [span.reach(START + timedelta(days=days))() for days in (0, 4, 10, 11)]

    assert shares == [0.0, 0.4, 1.0, 1.0]
    assert asked == [START]


# --- a bar on a terminal


def see(folder: Path, columns: int, settings: dict[str, object], **environment: str) -> Seen:
    path = folder / "config.json"
    path.write_text(json.dumps(settings))
    seen = run_on_a_terminal(command("--config", str(path)), columns, environment)
    assert seen.returncode == 0
    return seen


@pytest.mark.parametrize(
    ("columns", "slug", "encoding"),
    [
        *((columns, "acme", "utf-8") for columns in WIDTHS),
        (60, "a-slug-of-fifty-characters-which-is-the-most-there", "utf-8"),
        (60, "a-slug-of-fifty-characters-which-is-the-most-there", "latin-1"),
    ],
)
def test_a_bar_fits_on_the_terminal_and_gives_way_to_the_last_line(
    columns: int, slug: str, encoding: str, tmp_path: Path
) -> None:
    log = Log(entries.even(2_000))
    with FakeSentry({slug: log}, latency=0.1) as sentry:
        settings = config(sentry, organization=slug, max_concurrent_requests=2)
        seen = see(tmp_path, columns, settings, PYTHONIOENCODING=encoding)

    assert {json.loads(line)["type"] for line in seen.stdout.splitlines()} == {
        "SCHEMA",
        "RECORD",
        "STATE",
    }
    assert len(seen.bars) > 3
    assert all(bar.startswith(slug[:10]) for bar in seen.bars)
    assert all(re.search(r"\| \d+%, [\d,]+ entries", bar) for bar in seen.bars)
    # One line at a time, whatever the width: nothing has scrolled.
    assert all(sum("|" in line for line in lines) <= 1 for lines in seen.screens)
    percents = [int(text) for bar in seen.bars for text in re.findall(r"(\d+)%", bar)]
    assert percents == sorted(percents)
    last = " ".join(seen.lines[1:])
    assert re.search(rf"{slug} audit_logs: 2,000 new entries in \d+(\.\d)? s, up to ", last)
    assert seen.bars[-1] not in seen.lines


def test_a_short_run_shows_no_bar(tmp_path: Path) -> None:
    with FakeSentry({"acme": Log(entries.even(50))}) as sentry:
        assert see(tmp_path, 80, config(sentry)).bars == []


def test_lines_on_a_terminal_have_no_time_and_no_metrics_and_stand_above_the_bar(
    tmp_path: Path,
) -> None:
    log = Log(entries.even(3_000))
    log.put(None, entries.micros(entries.UNTIL) - 3_600_000_000)
    with FakeSentry({"acme": log}, latency=0.1) as sentry:
        seen = see(tmp_path, 80, config(sentry, max_concurrent_requests=2))

    assert "Warning: acme: Sentry could not show 1 entry (null rows)" in seen.lines
    assert not [line for line in seen.lines if re.search(r"METRIC|INFO|\d\d:\d\d:\d\d,", line)]


@pytest.mark.slow
def test_the_line_of_a_run_that_is_stopped_takes_the_place_of_the_bar(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with FakeSentry({"acme": Log(entries.even(9_000))}, latency=0.1) as sentry:
        path.write_text(json.dumps(config(sentry, max_concurrent_requests=2)))
        seen = run_on_a_terminal(command("--config", str(path)), 120, interrupt_at="%,")

    assert seen.lines[-1] == (
        "tap-sentry-audit was stopped by SIGINT: its last STATE covers everything that it sent"
    )
    assert not any("%" in line for line in seen.lines)


@pytest.mark.slow
def test_several_organizations_have_one_bar(tmp_path: Path) -> None:
    logs = {f"org-{n:02}": Log(entries.even(200), first_id=n * 1000 + 1) for n in range(12)}
    with FakeSentry(logs, latency=0.1) as sentry:
        several = config(sentry, organization=None, organizations=list(logs))
        seen = see(tmp_path, 80, several | {"max_concurrent_requests": 2})

    assert len(seen.bars) > 3
    assert all(re.match(r"\d+ of 12 organizations \|", bar) for bar in seen.bars)


@pytest.mark.parametrize("columns", WIDTHS)
def test_an_error_on_a_terminal_is_cut_between_words_and_comes_last(
    columns: int, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    with FakeSentry({}) as sentry:
        path.write_text(json.dumps(config(sentry)))
        seen = run_on_a_terminal(command("--config", str(path)), columns)

    assert seen.returncode == 1
    told = " ".join(seen.lines)
    assert "Error: acme: there is no such organization on 127.0.0.1" in told
    assert told.endswith("answered 404 Not Found)")


# --- a log


@pytest.fixture(scope="module")
def logged() -> Run:
    token = "sntryu_0123456789abcdef"  # noqa: S105  (the stand-in's)
    with FakeSentry({"acme": Log(entries.even(150))}, tokens={token: "ok"}) as sentry:
        return run_tap(config(sentry, auth_token=token), environment={"LOGLEVEL": "DEBUG"})


def test_a_log_has_no_bar_nor_a_line_for_each_deselected_stream() -> None:
    run = read(Log(entries.even(150)))

    assert "\r" not in run.stderr
    assert "%" not in run.stderr
    assert not [line for line in run.log("INFO") if "Skipping" in line]


def test_a_log_has_neither_the_token_nor_the_data_of_persons(logged: Run) -> None:
    people = [record["actor"] or {} for record in logged.records]
    emails = {actor["email"] for actor in people if actor.get("email")}
    addresses = {record["ipAddress"] for record in logged.records if record["ipAddress"]}

    assert emails
    assert len(addresses) >= 5
    # "::1" alone would also be found in other texts, and proves no more than the others.
    private = emails | addresses - {"::1"} | {"sntryu_0123456789abcdef", "Bearer", "@"}
    assert [text for text in private if text in logged.stderr] == []


def test_a_run_goes_on_as_usual_without_stderr(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with FakeSentry({"acme": Log(entries.even(150))}) as sentry:
        path.write_text(json.dumps(config(sentry)))
        line = " ".join(command("--config", str(path)))
        done = subprocess.run(
            ["/bin/sh", "-c", f"{line} 2>&-"], capture_output=True, check=False, text=True
        )

    assert done.returncode == 0
    assert done.stdout.count('"type":"RECORD"') == 150
