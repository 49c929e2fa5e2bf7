"""Odd answers: they cost their own rows, or their own organization, and nothing else."""

from __future__ import annotations

import json
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from testing.fake_sentry import Answer, FakeSentry, Inventory, Log, entries
from testing.sentry_tap import config, run_tap, selecting, without_waits

if TYPE_CHECKING:
    from testing.fake_sentry import Request
    from testing.forked import Run

ORDERS = pytest.mark.parametrize("slugs", [["bad", "good"], ["good", "bad"]], ids="-".join)
LINK = (
    '<http://s/?cursor=1735689600000:0:1>; rel="previous"; results="false"; '
    'cursor="1735689600000:0:1", '
    '<http://s/?cursor=0:0:0>; rel="next"; results="false"; cursor="0:0:0"'
)
FINE = [json.dumps(entries.row(f"fine-{n}", n * 10**9)).encode() for n in (3, 2, 1)]


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def odd(**changes: bytes) -> bytes:
    """A row of an audit log with some fields written in another way."""
    fields = {"id": b'"odd"', "dateCreated": b'"2025-01-01T00:00:00Z"', "event": b'"x"'} | changes
    return b"{%s}" % b",".join(b'"%s":%s' % (name.encode(), of) for name, of in fields.items())


ROWS = {
    "no id": b'{"dateCreated": "2025-01-01T00:00:00Z"}',
    "no time": b'{"id": "odd"}',
    "id is null": odd(id=b"null"),
    "id is empty": odd(id=b'""'),
    "id is an object": odd(id=b'{"$oid": "1"}'),
    "id is a list": odd(id=b"[1]"),
    "id is a decimal": odd(id=b"1.5"),
    "id is true": odd(id=b"true"),
    "id of 10,000 digits": odd(id=b"7" * 10_000),
    "time is null": odd(dateCreated=b"null"),
    "time is a number": odd(dateCreated=b"1735689600"),
    "time is a word": odd(dateCreated=b'"soon"'),
    "year 9999": odd(dateCreated=b'"9999-12-31T23:59:59.999999Z"'),
    "year 1": odd(dateCreated=b'"0001-01-01T00:00:00Z"'),
    "before year 1": odd(dateCreated=b'"0001-01-01T00:00:00+02:00"'),
    "after year 9999": odd(dateCreated=b'"9999-12-31T23:59:59-02:00"'),
    "a number": b"5",
    "a text": b'"row"',
    "true": b"true",
    "a list": b"[]",
    "an empty object": b"{}",
    "701 levels": odd(data=deep(700)),
    "950 levels": odd(data=deep(949)),
    "5,000 levels": odd(data=deep(4999)),
    "objects of 100,000 levels": odd(data=b'{"a":' * 99_999 + b"1" + b"}" * 99_999),
}


def run_with(
    body: bytes, slugs: list[str], *, state: object = None, **headers: str
) -> tuple[Run, list[str]]:
    """A run in which one organization answers this; the ids of the other one's entries."""
    good = Log(entries.even(120), first_id=5_000_000)

    def fault(_: int, request: Request) -> Answer | None:
        return Answer(200, body, headers) if request.organization == "bad" else None

    with FakeSentry({"bad": Log(), "good": good}, faults=fault) as sentry:
        settings = config(sentry, organization=None, organizations=slugs)
        run = run_tap(settings, state=state)
    return run, [row["id"] for row in good.rows() if row]


def ids_of(run: Run, organization: str) -> list[str]:
    return [record["id"] for record in run.records if record["organization"] == organization]


@pytest.mark.parametrize("name", ROWS)
def test_an_odd_row_is_reported_and_the_others_come(name: str) -> None:
    rows = b",".join([FINE[0], ROWS[name], *FINE[1:]])
    run, good = run_with(b'{"rows": [%s], "options": []}' % rows, ["bad", "good"], Link=LINK)

    assert run.returncode == 1
    assert ids_of(run, "bad") == ["fine-1", "fine-2", "fine-3"]
    assert ids_of(run, "good") == good
    [error] = run.errors
    assert error == (
        "bad: 1 row is left out, without a usable id or time, or nested too deeply: "
        "the page at cursor 0:0:1, whose entries are from 1970-01-01T00:16:40.000000Z to "
        "1970-01-01T00:50:00.000000Z"
    )
    assert run.log("WARNING") == []


def test_odd_rows_are_counted_once_each_and_the_bookmark_moves_on() -> None:
    rows = b",".join([b"5", b"5", b"null", *FINE, b"{}"])
    run, _ = run_with(b"[%s]" % rows, ["bad", "good"], Link=LINK)
    again, _ = run_with(b"[%s]" % rows, ["bad", "good"], state=run.state, Link=LINK)

    assert run.errors[0].startswith("bad: 3 rows are left out")
    assert run.log("WARNING") == ["bad: Sentry could not show 1 entry (null rows)"]
    assert (again.returncode, again.ids) == (1, [])
    assert again.errors[0].startswith("bad: 3 rows are left out")


VALUES = {
    "a number that no decimal holds": (b"1e9999999999999999999", "1e9999999999999999999"),
    "700 levels": (deep(698), json.loads(deep(698))),
    "a lone surrogate": (rb'"\ud800"', "\\ud800"),
}


@pytest.mark.parametrize("name", VALUES)
def test_an_odd_value_is_no_odd_row(name: str) -> None:
    written, value = VALUES[name]
    run, _ = run_with(b"[%s]" % odd(data=b'{"a": %s}' % written), ["bad", "good"], Link=LINK)

    assert run.returncode == 0
    assert next(r["data"] for r in run.records if r["id"] == "odd") == {"a": value}


def test_an_integer_of_10_000_digits_comes_through() -> None:
    run, good = run_with(b"[%s]" % odd(data=b"7" * 10_000), ["bad", "good"], Link=LINK)

    assert run.returncode == 0
    assert b"7" * 10_000 in run.stdout.encode()
    assert len(good) == 120


@pytest.mark.parametrize("options", [b"null", b"5", b'{"a": 1}', b"[null, 1, {}]", deep(5000)])
def test_odd_options_disturb_nothing(options: bytes) -> None:
    body = b'{"options": %s, "rows": [%s]}' % (options, b",".join(FINE))
    run, _ = run_with(body, ["bad", "good"], Link=LINK)

    assert (run.returncode, ids_of(run, "bad")) == (0, ["fine-1", "fine-2", "fine-3"])


@pytest.mark.parametrize("name", ["Limit", "Remaining", "Reset", "ConcurrentLimit"])
@pytest.mark.parametrize("digits", [19, 400, 5000])
def test_a_header_of_many_digits_disturbs_nothing(name: str, digits: int) -> None:
    number = {f"X-Sentry-Rate-Limit-{name}": "9" * digits, "X-Sentry-Rate-Limit-Limit": "40"}
    run, good = run_with(b"[%s]" % b",".join(FINE), ["bad", "good"], Link=LINK, **number)

    assert run.returncode == 0, run.stderr
    assert ids_of(run, "bad") == ["fine-1", "fine-2", "fine-3"]
    assert ids_of(run, "good") == good


# --- whole answers that are none


BODIES = {
    "invalid UTF-8": b"[%s]" % odd(note=b'"\xff"'),
    "nothing": b"",
    "no list": b'{"rows": {}}',
    "no rows": b"{}",
    "odd rows alone": b"[5, 6]",
    "levels without end": b"[" * 100_000,
    "a text without end": b'["' + b"x" * 1000,
    "more after the end": b"[] []",
}
STREAMS = ["audit_logs", "organizations", "projects", "teams", "members", "releases", "issues"]


def sync(sentry: FakeSentry, stream: str, slugs: list[str]) -> int | str | None:
    """Run a stream in this process, without waits; return the exit code."""
    settings = config(sentry, organization=None, organizations=slugs)
    tap = without_waits(settings, selecting(stream))
    tap.load_state({})
    with pytest.raises(SystemExit) as ended:
        tap.sync_all()
    return ended.value.code


def records(written: str) -> list[dict[str, Any]]:
    messages = [json.loads(line) for line in written.splitlines()]
    return [message["record"] for message in messages if message["type"] == "RECORD"]


@ORDERS
@pytest.mark.parametrize("name", BODIES)
def test_an_invalid_body_is_tried_again_and_stops_its_organization_alone(
    name: str, slugs: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    log = Log(entries.even(120))

    def fault(_: int, request: Request) -> Answer | None:
        return Answer(200, BODIES[name]) if request.organization == "bad" else None

    with FakeSentry({"bad": Log(), "good": log}, faults=fault) as sentry:
        assert sync(sentry, "audit_logs", slugs) == 1

    assert sum(request.organization == "bad" for request in sentry.requests) == 7
    written, said = capfd.readouterr()
    assert [record["id"] for record in records(written)] == [row["id"] for row in log.rows() if row]
    assert "Traceback" not in said


LISTED = {
    "invalid UTF-8": b'[{"id": "1", "slug": "a", "name": "\xff"}]',
    "a row that is a number": b"[5]",
    "an id that is an object": b'[{"id": {}, "slug": "a", "lastSeen": "2025-01-01T00:00:00Z"}]',
    "5,000 levels": b'[{"id": "1", "slug": "a", "name": %s}]' % deep(5000),
}


ROW = b'[{"id": "1", "eventID": "1", "projectID": "1", "lastSeen": "%s", "dateCreated": "%s"}]'
TIMES = {
    time: ROW % (time.encode(), time.encode())
    for time in ("9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00Z", "soon")
}


@ORDERS
@pytest.mark.parametrize(
    ("stream", "name"),
    [
        *product(["projects", "issues", "events", "releases"], LISTED),
        *product(["issues", "events"], TIMES),
    ],
)
def test_an_odd_list_stops_its_organization_alone(
    stream: str, name: str, slugs: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    inventories = {
        slug: Inventory.made(slug, projects=1, releases=2, issues=2, events=2) for slug in slugs
    }

    def fault(_: int, request: Request) -> Answer | None:
        is_odd = request.organization == "bad" and request.resource == stream
        return Answer(200, (LISTED | TIMES)[name]) if is_odd else None

    with FakeSentry({}, inventories=inventories, faults=fault) as sentry:
        assert sync(sentry, stream, slugs) == 1

    written, said = capfd.readouterr()
    found = records(written)
    assert {record["organization"] for record in found} == {"good"}
    assert len(found) == 1 if stream == "projects" else 2
    assert "Traceback" not in said


# --- stream maps


def test_a_stream_map_that_fails_on_a_row_stops_its_organization_alone() -> None:
    bad = Log(rows=[entries.row(f"{n}", n * 10**9, note=note) for n, note in enumerate("12x4")])
    good = Log(entries.even(5))
    maps = {"audit_logs": {"number": "int(note)", "note": "note"}}
    with FakeSentry({"bad": bad, "good": good}) as sentry:
        settings = config(sentry, organization=None, organizations=["bad", "good"])
        run = run_tap({**settings, "stream_maps": maps})

    assert run.returncode == 1
    assert ids_of(run, "bad") == ["0", "1"]
    assert "Traceback" not in run.stderr


def test_a_record_that_cannot_be_written_is_reported_and_the_others_come() -> None:
    log = Log(rows=[entries.row(f"{n}", n * 10**9) for n in range(4)])
    maps = {"audit_logs": {"note": "'\\ud800' if id == '2' else note"}}
    with FakeSentry({"acme": log}) as sentry:
        run = run_tap({**config(sentry), "stream_maps": maps})
        later = run_tap(config(sentry), state=run.state)

    assert run.returncode == 1
    assert run.ids == ["0", "1", "3"]
    assert run.errors == [
        "acme: a record that JSON cannot hold is left out, dateCreated 1970-01-01T00:33:20.000000Z"
    ]
    assert any("3 new entries" in line and "1 that could" in line for line in run.log("INFO"))
    assert later.ids == ["2"]
