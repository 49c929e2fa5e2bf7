"""Runs of the tap as a process: what it writes, and how the next run goes on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from testing.captivateiq_tap import NOW, config, hours, run_tap
from testing.fake_captivateiq import TOKEN, FakeCaptivateIQ, Log, Reply, row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testing.fake_captivateiq import Row
    from testing.forked import Message, Run

TARGET = Path(__file__).parents[3] / ".meltano/loaders/target-jsonl/venv/bin/target-jsonl"


def ids(rows: list[Row]) -> list[str]:
    return [one["id"] for one in rows]


@pytest.mark.parametrize("name", ["id", "created_at"])
def test_a_catalog_that_deselects_a_key_by_hand_moves_the_bookmark_all_the_same(
    name: str, tmp_path: Path
) -> None:
    catalog = json.loads(run_tap({}, "--discover").stdout)
    for each in catalog["streams"][0]["metadata"]:
        if each["breadcrumb"] == ["properties", name]:
            each["metadata"] = {"inclusion": "available", "selected": False}
    (tmp_path / "catalog.json").write_text(json.dumps(catalog))
    rows = hours(3)
    with FakeCaptivateIQ(Log(rows)) as server:
        run = run_tap(config(server), f"--catalog={tmp_path / 'catalog.json'}")

    assert len(run.records) == 3
    assert run.state
    assert list(run.state["bookmarks"]["audit_logs"]["lookback"]["ids"]) == ids(rows)


def test_a_run_writes_the_schema_each_entry_in_full_and_a_state() -> None:
    at = NOW - timedelta(days=2)
    odd = row(
        2,
        f"{at + timedelta(hours=2):%Y-%m-%dT%H:%M:%S}.5+02:00",
        version="1",
        user_name=None,
        parent_objects=[{"object_id": "1", "name": "a", "type": "b"}],
        data={"old": [1, {"deep": None}]},
        source="api",
    )
    del odd["ip_address"]
    misfits = {"version": True, "parent_objects": ["a"]}
    with FakeCaptivateIQ(Log([odd, row(1, at, **misfits)])) as server:
        run = run_tap(config(server, start_date="2026-01-01", lookback_days=0))

    schema, *rest = run.messages
    assert schema["type"] == "SCHEMA"
    assert schema["key_properties"] == ["id"]
    assert schema["bookmark_properties"] == ["created_at"]
    times = [f"{at:%Y-%m-%dT%H:%M:%S}.{fraction}Z" for fraction in ("000000", "500000")]
    plain: Message = row(1, at, version=None, parent_objects=None)
    plain |= {"created_at": times[0], "additional_fields": misfits}
    others = {"version": "1", "source": "api"}
    expected = {**odd, "created_at": times[1], "version": None, "ip_address": None}
    del expected["source"]
    assert [message["record"] for message in rest if message["type"] == "RECORD"] == [
        plain,
        {**expected, "additional_fields": others},
    ]
    assert run.state == {
        "bookmarks": {
            "audit_logs": {
                "replication_key": "created_at",
                "replication_key_value": times[1],
                "lookback": {
                    "at": times[1],
                    "since": times[1],
                    "ids": {
                        plain["id"]: int(at.timestamp()),
                        odd["id"]: int(at.timestamp()),
                    },
                },
            }
        }
    }


def test_numbers_keep_all_their_digits() -> None:
    digits = "0.12345678901234567890123456789"
    body = json.dumps(Log([row(1, NOW, data={"rate": "digits"})]).answer({}))
    exact = body.replace('"digits"', digits).encode()
    with FakeCaptivateIQ(Log([]), Reply(200, exact)) as server:
        run = run_tap(config(server, start_date=f"{NOW:%Y-%m-%d}"))

    assert f'"data":{{"rate":{digits}}}' in run.stdout.replace(": ", ":")


def test_a_second_run_brings_what_is_new_and_what_is_late() -> None:
    log = Log(hours(200))
    with FakeCaptivateIQ(log) as server:
        first = run_tap(config(server))
        late = row(900, NOW - timedelta(hours=20))
        new = row(901, NOW - timedelta(minutes=1))
        log.rows += [new, late]
        second = run_tap(config(server), state=first.state)
        third = run_tap(config(server), state=second.state)

    assert first.ids == ids(hours(200))
    assert second.ids == ids([late, new])
    assert third.ids == []
    assert third.state == second.state


def test_a_run_over_what_is_up_to_date_takes_one_request() -> None:
    with FakeCaptivateIQ(Log(hours(30))) as server:
        state = run_tap(config(server)).state
        server.requests.clear()
        run_tap(config(server), state=state)

        assert len(server.requests) == 1


def test_a_run_that_breaks_off_goes_on_where_it_stopped() -> None:
    rows = hours(700)
    with FakeCaptivateIQ(Log(list(rows))) as server:
        settings = config(server, start_date=rows[20]["created_at"])
        server.fails_from = 5
        first = run_tap(settings)
        server.fails_from = None
        second = run_tap(settings, state=first.state)

    assert first.returncode == 1
    (error,) = first.log("ERROR")
    assert error.startswith("api_token is not accepted (401): ")
    assert "Traceback" not in first.stderr
    assert TOKEN not in first.stdout + first.stderr
    assert 0 < len(first.ids) < 600
    assert first.ids + second.ids == ids(rows[20:])


def test_without_backfill_a_first_run_reads_nothing_and_the_next_one_what_came_since() -> None:
    log = Log(hours(50))
    with FakeCaptivateIQ(log) as server:
        first = run_tap(config(server, backfill=False))
        now = datetime.now(UTC)
        new = row(900, now + timedelta(minutes=5))
        log.rows += [new, row(901, now - timedelta(minutes=30))]
        second = run_tap(config(server, backfill=False), state=first.state)

    assert first.ids == []
    assert first.state
    assert second.ids == ids([new])


@pytest.mark.parametrize("is_inclusive", [True, False])
@pytest.mark.parametrize("zone", [-12, 14])
def test_a_first_run_begins_with_the_first_entry_wherever_days_begin(
    zone: float,
    is_inclusive: bool,  # noqa: FBT001  (drawn)
) -> None:
    noon = NOW.replace(hour=12, minute=0, second=0) - timedelta(days=40)
    rows = [row(number, noon + timedelta(hours=8 * number)) for number in range(6)]
    with FakeCaptivateIQ(Log(list(rows), zone=zone, is_inclusive=is_inclusive)) as server:
        assert run_tap(config(server)).ids == ids(rows)


class Busy(Log):
    """One entry comes in with each request."""

    def answer(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        new = row(5000 + len(self.rows), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z")
        self.arriving = [new]
        return super().answer(parameters)


@pytest.mark.parametrize("counts", ["all", "nothing"])
@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_what_comes_in_while_a_run_reads_comes_once_even_without_a_lookback(
    order: str, counts: str
) -> None:
    log = Busy(hours(20), order, counts=counts, most=10)
    with FakeCaptivateIQ(log) as server:
        settings = config(server, lookback_days=0)
        first = run_tap(settings)
        second = run_tap(settings, state=first.state)
        there = ids(log.rows)
        third = run_tap(settings, state=second.state)

    sent = first.ids + second.ids + third.ids
    assert [first.returncode, second.returncode, third.returncode] == [0, 0, 0]
    assert len(sent) == len(set(sent))
    assert set(there) <= set(sent)


def test_a_count_that_is_too_high_fails_the_run_but_does_not_stop_it() -> None:
    with FakeCaptivateIQ(Log(hours(3), hidden=1)) as server:
        run = run_tap(config(server, start_date=f"{NOW - timedelta(hours=3):%Y-%m-%d}"))

    assert (run.returncode, run.ids) == (1, ids(hours(3)))
    assert run.state
    error = run.log("ERROR")[-1]
    assert re.match("the server counts 4 entries from .* but never shows more than 3, all", error)


def test_entries_of_one_time_come_in_the_order_of_their_ids() -> None:
    rows = [row(number, NOW) for number in (3, 1, 2)]
    with FakeCaptivateIQ(Log(rows, "arbitrary")) as server:
        assert run_tap(config(server)).ids == sorted(ids(rows))


@pytest.mark.parametrize(
    ("order", "counts"), [("ties", "nothing"), ("shuffled", "nothing"), ("ascending", 100)]
)
def test_neither_an_order_nor_a_true_count_is_needed(order: str, counts: str | int) -> None:
    rows = [row(number, NOW - timedelta(minutes=15 - number // 10)) for number in range(150)]
    with FakeCaptivateIQ(Log(list(rows), order, counts=counts, most=50)) as server:
        run = run_tap(config(server, start_date=f"{NOW - timedelta(minutes=15):%Y-%m-%d}"))

    assert (run.returncode, run.ids) == (0, ids(rows))


@pytest.mark.slow
def test_a_pipe_into_target_jsonl_leaves_each_entry_once(tmp_path: Path) -> None:
    log = Log(hours(120), "descending", is_inclusive=True, zone=-8, most=30)
    (tmp_path / "target.json").write_text(
        json.dumps({"destination_path": str(tmp_path), "do_timestamp_file": False})
    )

    def load(run: Run) -> Message:
        done = subprocess.run(
            [TARGET, "--config", tmp_path / "target.json"],
            input=run.stdout,
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        state: Message = json.loads(done.stdout.splitlines()[-1])
        return state

    with FakeCaptivateIQ(log) as server:
        state = load(run_tap(config(server)))
        log.rows += [row(900, NOW - timedelta(hours=20)), row(901, NOW)]
        load(run_tap(config(server), state=state))

    lines = (tmp_path / "audit_logs.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == sorted(ids(log.rows))


def test_test_says_whether_the_token_is_good() -> None:
    with FakeCaptivateIQ(Log(hours(3))) as server:
        good = run_tap(config(server), "--test")
        server.fails_from = 0
        bad = run_tap(config(server), "--test")

    assert (good.returncode, bad.returncode) == (0, 1)
    assert bad.log("ERROR")[-1].startswith("api_token is not accepted (401)")
    assert "Traceback" not in bad.stderr


def test_help_names_the_documentation_and_an_example() -> None:
    told = run_tap({}, "--help").stdout

    assert "plugins/tap-captivateiq-audit/README.md" in told
    assert "tap-captivateiq-audit --config config.json --state state.json | target-jsonl" in told


@pytest.mark.parametrize(("option", "code"), [("", 0), ("--bogus", 2)])
def test_a_closed_stderr_changes_nothing(option: str, code: int, tmp_path: Path) -> None:
    with FakeCaptivateIQ(Log(hours(3))) as server:
        (tmp_path / "c.json").write_text(json.dumps(config(server)))
        command = f"{sys.executable} -m tap_captivateiq_audit --config c.json {option} 2>&-"
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=tmp_path, stdout=subprocess.PIPE, check=False
        )

    assert done.returncode == code
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()].count("RECORD") == (
        0 if code else 3
    )
