"""The stand-in answers as a real Sentry did, and misbehaves as it is told."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
import requests

from testing.fake_sentry import FakeSentry, Log, entries, faults

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "testing" / "recorded_data" / "sentry-23.7.1"
REQUESTS = dict(
    re.findall(r"^(\w+) \| GET (\S+)", (RECORDED / "INDEX.txt").read_text(), re.MULTILINE)
)
GOOD = "token"
TOKENS = {"bad_token": "wrong", "expired_token": "old", "org_read_only": "reader", "no_auth": ""}
CURSOR = re.compile(r'rel="(\w+)"; results="true"; cursor="([^"]+)"')

AUDIT_LOGS = "/api/0/organizations/acme/audit-logs/"
NEW_YEAR = entries.micros("2025-01-01T00:00:00Z")
SECOND = 1_000_000


def recorded_rows(*names: str) -> list[dict[str, Any]]:
    """Read pages of one log, oldest row first."""
    pages = [json.loads((RECORDED / f"{name}.json").read_bytes())["rows"] for name in names]
    return list({row["id"]: row for page in pages for row in page}.values())[::-1]


def time_and_id(row: dict[str, Any]) -> tuple[str, str]:
    return row["dateCreated"], row["id"]


def recorded_headers(name: str) -> tuple[int, Message]:
    status, _, headers = (RECORDED / f"{name}.headers").read_text().partition("\n")
    return int(status.split()[1]), Parser().parsestr(headers)


def acme() -> Log:
    """Build what the recordings show of a log of 2,500 entries.

    Each page that has more behind it needs the next row of the real log. We do not know
    these rows, but their cursors tell the millisecond. What lay between the pages stays
    unknown, and so does the order of a tie: no two recordings need to agree on it.
    """
    behind_first_page = entries.micros("2026-11-01T11:04:48.257082Z")
    nobody = {"actor": {"name": None}}
    return Log(
        rows=[
            entries.row("1", 1_760_748_230_304_000, **nobody),
            entries.row("2", 1_781_778_570_493_000, event="member.invite", **nobody),
            entries.row("3", behind_first_page, **nobody),
            *recorded_rows("first_page", "event_member_invite", "actor_1", "cursor_zero_prev"),
        ]
    )


@pytest.fixture(scope="module")
def recorded() -> Iterator[FakeSentry]:
    logs = {
        "acme": acme(),
        "acme-small": Log(rows=recorded_rows("small_p1", "small_p2", "small_p3")),
        "acme-empty": Log(),
    }
    with FakeSentry(
        logs,
        tokens={"token": "ok", "old": "expired", "reader": "forbidden"},
        url_prefix="http://127.0.0.1:9000",
    ) as sentry:
        yield sentry


def get(sentry: FakeSentry, path: str = AUDIT_LOGS, token: str = GOOD) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.get(sentry.url + path, headers=headers, timeout=5, allow_redirects=False)


def ids(response: requests.Response) -> list[str | None]:
    return [row and row["id"] for row in response.json()["rows"]]


def walk(sentry: FakeSentry, rel: str, per_page: int) -> list[str | None]:
    """Follow the server's own cursors, as an ordinary client does."""
    found, cursor = [], "0:0:1" if rel == "previous" else "0:0:0"
    while cursor:
        page = get(sentry, f"{AUDIT_LOGS}?per_page={per_page}&cursor={cursor}")
        found += ids(page)[::-1] if rel == "previous" else ids(page)
        cursor = dict(CURSOR.findall(page.headers["Link"])).get(rel, "")
    return found


@pytest.mark.parametrize("name", REQUESTS)
def test_it_answers_as_recorded(recorded: FakeSentry, name: str) -> None:
    answer = get(recorded, REQUESTS[name], TOKENS.get(name, GOOD))
    status, headers = recorded_headers(name)
    body = (RECORDED / f"{name}.json").read_text()
    assert answer.status_code == status
    for header in ("Content-Type", "Link", "WWW-Authenticate"):
        assert answer.headers.get(header) == headers[header]
    if status == 200:
        rows, real = answer.json()["rows"], json.loads(body)["rows"]
        assert [row["dateCreated"] for row in rows] == [row["dateCreated"] for row in real]
        assert sorted(rows, key=time_and_id) == sorted(real, key=time_and_id)
    else:
        assert answer.text == body


def test_over_the_rate_it_answers_as_recorded() -> None:
    _, headers = recorded_headers("rate_limit_429")
    clock = lambda: int(headers["X-Sentry-Rate-Limit-Reset"]) - 0.5  # noqa: E731
    with FakeSentry({"acme": Log()}, rate_limit=5, clock=clock) as sentry:
        answers = [get(sentry) for _ in range(6)]
    refused = answers.pop()
    assert [a.headers["X-Sentry-Rate-Limit-Remaining"] for a in answers] == list("43210")
    assert refused.status_code == 429
    assert refused.text == (RECORDED / "rate_limit_429.json").read_text()
    assert "Retry-After" not in refused.headers
    for header, value in headers.items():
        if header.startswith(("X-Sentry-Rate-Limit", "Content-Type")):
            assert refused.headers[header] == value


def test_the_next_window_of_the_rate_begins_on_a_whole_second() -> None:
    now = [1000.9]
    with FakeSentry({"acme": Log()}, rate_limit=1, clock=lambda: now[0]) as sentry:
        first, second = get(sentry), get(sentry)
        now[0] = 1001.0
        third = get(sentry)
    assert [first.status_code, second.status_code, third.status_code] == [200, 429, 200]


def test_a_limit_can_change_while_it_serves() -> None:
    with FakeSentry({"acme": Log()}) as sentry:
        free = get(sentry)
        sentry.rate_limit = 0
        assert get(sentry).status_code == 429
        assert sentry.count_429 == 1
    assert not any(name.startswith("X-Sentry-Rate") for name in free.headers)


def test_it_refuses_more_than_so_many_requests_at_once() -> None:
    with FakeSentry({"acme": Log()}, latency=0.5, concurrent_limit=2) as sentry:
        with ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(lambda _: get(sentry), range(5)))
        assert 3 <= sentry.max_concurrent <= 5
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429, 429]


def test_it_records_what_it_was_asked_in_the_order_of_arrival() -> None:
    with FakeSentry({"acme": Log()}) as sentry:
        get(sentry, f"{AUDIT_LOGS}?per_page=7")
        get(sentry, "/api/0/organizations/nope/audit-logs/")
    first, second = sentry.requests
    assert (first.path, first.query, first.status) == (AUDIT_LOGS, {"per_page": "7"}, 200)
    assert first.headers["authorization"] == "Bearer token"
    assert (second.organization, second.status) == ("nope", 404)
    assert first.at < second.at


@pytest.mark.parametrize("rel", ["next", "previous"])
def test_a_walk_reads_a_log_without_ties_whole(rel: str) -> None:
    log = Log(entries.even(250))
    with FakeSentry({"acme": log}) as sentry:
        found = walk(sentry, rel, 40)
    oldest_first = [row and row["id"] for row in log.rows()]
    assert found == (oldest_first if rel == "previous" else oldest_first[::-1])


def test_a_walk_over_stable_ties_reads_each_entry_once() -> None:
    log = Log(entries.ties(620, width=31))
    with FakeSentry({"acme": log}) as sentry:
        found = walk(sentry, "next", 100)
    assert found == [row and row["id"] for row in log.rows()][::-1]


@pytest.mark.parametrize("rel", ["next", "previous"])
def test_a_walk_over_shuffled_ties_loses_entries(rel: str) -> None:
    """So does the real server, where the count stays right in the next direction."""
    with FakeSentry({"acme": Log(entries.ties(620, width=31), ties="shuffled")}) as sentry:
        found = walk(sentry, rel, 100)
    assert 400 < len(set(found)) < 620
    assert len(found) == 620 or rel == "previous"


def test_a_page_within_ties_is_the_right_time_whatever_the_shuffle() -> None:
    log = Log(entries.ties(90, width=30), ties="shuffled")
    with FakeSentry({"acme": log}) as sentry:
        pages = [ids(get(sentry, f"{AUDIT_LOGS}?per_page=30")) for _ in range(2)]
    newest = {row and row["id"] for row in log.rows()[-30:]}
    assert set(pages[0]) == set(pages[1]) == newest
    assert pages[0] != pages[1]


def test_a_cursor_may_stand_between_two_milliseconds() -> None:
    log = Log([NEW_YEAR + 217_662, NEW_YEAR + 218_999, NEW_YEAR + 219_000])
    with FakeSentry({"acme": log}) as sentry:
        answer = get(sentry, f"{AUDIT_LOGS}?cursor={NEW_YEAR // 1000 + 218}.9995:0:1")
    assert ids(answer) == ["1000003"]
    assert f'cursor="{NEW_YEAR // 1000 + 218}.9995:0:0"' in answer.headers["Link"]


def test_a_prev_cursor_on_the_millisecond_of_its_first_row_drops_it() -> None:
    log = Log([NEW_YEAR + 1_500, NEW_YEAR + 1_600])
    with FakeSentry({"acme": log}) as sentry:
        on_it = get(sentry, f"{AUDIT_LOGS}?cursor={NEW_YEAR // 1000 + 1}:0:1")
        before_it = get(sentry, f"{AUDIT_LOGS}?cursor={NEW_YEAR // 1000}:0:1")
    assert ids(on_it) == ["1000002"]
    assert ids(before_it) == ["1000002", "1000001"]


def test_a_prev_page_behind_an_offset_is_one_row_too_long() -> None:
    """Tried on a real 23.7.1: the spare row that proves more to follow is not taken off."""
    with FakeSentry({"acme": Log(entries.even(300))}) as sentry:
        answer = get(sentry, f"{AUDIT_LOGS}?cursor=1:2:1")
    assert len(ids(answer)) == 101


@pytest.mark.parametrize(
    "query", ["cursor=1:-1:0", "cursor=99999999999999999:0:1", "cursor=1:0:1&per_page=0"]
)
def test_what_breaks_sentry_is_a_500(query: str) -> None:
    with FakeSentry({"acme": Log(entries.even(3))}) as sentry:
        answer = get(sentry, f"{AUDIT_LOGS}?{query}")
    assert answer.status_code == 500
    assert answer.json()["detail"] == "Internal Error"


def test_zero_rows_a_page_still_promise_more() -> None:
    with FakeSentry({"acme": Log(entries.even(3))}) as sentry:
        answer = get(sentry, f"{AUDIT_LOGS}?per_page=0")
    assert ids(answer) == []
    assert dict(CURSOR.findall(answer.headers["Link"])).keys() == {"next"}


def test_an_actor_beyond_32_bits_is_a_400() -> None:
    with FakeSentry({"acme": Log()}) as sentry:
        answer = get(sentry, f"{AUDIT_LOGS}?actor=2147483648")
    assert answer.status_code == 400
    assert answer.json().keys() == {"actor"}


def test_filters_find_generated_and_given_entries() -> None:
    given = entries.row("7", NEW_YEAR, event="org.edit", actor={"id": "5"})
    log = Log(entries.even(500), rows=[given])
    with FakeSentry({"acme": log}) as sentry:
        found = get(sentry, f"{AUDIT_LOGS}?event=org.edit&actor=5").json()["rows"]
        log.put({**given, "id": "8"})
        found_later = get(sentry, f"{AUDIT_LOGS}?event=org.edit&actor=5").json()["rows"]
    matching = [
        row
        for row in log.rows()
        if row and row["event"] == "org.edit" and row["actor"].get("id") == "5"
    ]
    assert found_later == matching[::-1]
    assert found == found_later[1:]


def test_a_row_may_be_null() -> None:
    log = Log(entries.even(2))
    log.put(None, NEW_YEAR)
    with FakeSentry({"acme": log}) as sentry:
        assert ids(get(sentry)) == [None, "1000002", "1000001"]


def test_entries_arrive_late_and_from_the_future_while_it_serves() -> None:
    log = Log([NEW_YEAR])
    with FakeSentry({"acme": log}) as sentry:
        log.add([NEW_YEAR - SECOND, NEW_YEAR + SECOND])
        assert ids(get(sentry)) == ["1000003", "1000001", "1000002"]


def test_an_old_server_answers_a_bare_list() -> None:
    with FakeSentry({"acme": Log([NEW_YEAR])}, old_body=True) as sentry:
        assert [row["id"] for row in get(sentry).json()] == ["1000001"]


def test_foreign_cursors_can_be_refused() -> None:
    with FakeSentry({"acme": Log(entries.even(30))}, foreign_cursors="refuse") as sentry:
        assert get(sentry, f"{AUDIT_LOGS}?cursor=1:0:1").status_code == 400
        first = get(sentry, f"{AUDIT_LOGS}?per_page=10")
        cursor = dict(CURSOR.findall(first.headers["Link"]))["next"]
        assert len(ids(get(sentry, f"{AUDIT_LOGS}?cursor={cursor}"))) == 20


def test_foreign_cursors_can_be_ignored() -> None:
    with FakeSentry({"acme": Log(entries.even(30))}, foreign_cursors="ignore") as sentry:
        assert ids(get(sentry, f"{AUDIT_LOGS}?cursor=1:0:0")) == ids(get(sentry))


def test_the_clock_and_the_places_can_be_moved() -> None:
    with FakeSentry(
        {"acme": Log()}, clock=lambda: 0, access_prefix="/sentry", url_prefix="http://other.example"
    ) as sentry:
        answer = get(sentry)
        assert requests.get(sentry.host + AUDIT_LOGS, timeout=5).status_code == 404
    assert answer.headers["Date"] == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert f"<http://other.example/sentry{AUDIT_LOGS}?" in answer.headers["Link"]


def test_the_date_can_be_left_out() -> None:
    with FakeSentry({"acme": Log()}, date_header=False) as sentry:
        assert "Date" not in get(sentry).headers


def test_faults_come_first_and_then_the_truth() -> None:
    wrong = [
        faults.status(429, retry_after="2"),
        faults.status(502),
        faults.redirect("http://other.example/"),
        faults.HTML,
        faults.NOT_JSON,
        faults.shape({"rows": 5}),
    ]
    with FakeSentry({"acme": Log()}, faults=wrong) as sentry:
        limited, bad, moved, html, not_json, shape, good = (get(sentry) for _ in range(7))
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "2")
    assert bad.status_code == 502
    assert (moved.status_code, moved.headers["Location"]) == (302, "http://other.example/")
    assert html.headers["Content-Type"].startswith("text/html")
    with pytest.raises(requests.JSONDecodeError):
        not_json.json()
    assert shape.json() == {"rows": 5}
    assert ids(good) == []


@pytest.mark.parametrize("fault", ["reset", "truncated"])
def test_a_connection_can_break(fault: faults.Fault) -> None:
    with FakeSentry({"acme": Log()}, faults={2: fault}) as sentry:
        assert get(sentry).ok
        with pytest.raises(requests.RequestException):
            get(sentry)
        assert get(sentry).ok


def test_a_request_can_hang_without_holding_up_the_end() -> None:
    with FakeSentry({"acme": Log()}, faults=["hang"]) as sentry:
        with pytest.raises(requests.ReadTimeout):
            requests.get(sentry.url + AUDIT_LOGS, timeout=0.1)
        began = time.monotonic()
    assert time.monotonic() - began < 1
    assert sentry.requests[0].status == 0


def test_faults_can_depend_on_the_request() -> None:
    logs = {"acme": Log(), "other": Log()}
    with FakeSentry(
        logs, faults=lambda _, asked: faults.status(503) if asked.organization == "other" else None
    ) as sentry:
        assert get(sentry).ok
        assert get(sentry, AUDIT_LOGS.replace("acme", "other")).status_code == 503


def test_a_kept_connection_ends_with_the_server() -> None:
    with requests.Session() as session:
        session.headers["Authorization"] = "Bearer token"
        with FakeSentry({"acme": Log()}) as sentry:
            assert session.get(sentry.url + AUDIT_LOGS, timeout=5).ok
        with pytest.raises(requests.ConnectionError):
            session.get(sentry.url + AUDIT_LOGS, timeout=5)


def test_generated_rows_look_like_recorded_ones() -> None:
    generated = [row for row in Log(entries.even(500)).rows() if row]
    real = recorded_rows("small_p1", "first_page")
    assert {tuple(row) for row in generated} == {tuple(row) for row in real}
    assert {len(row["actor"]) for row in generated} == {1, 17}
    assert {type(row["targetUser"]) for row in generated} == {dict, int, str, type(None)}
    assert any("." not in row["dateCreated"] for row in generated)


def test_generated_logs_are_the_same_for_the_same_seed() -> None:
    first, again, other = (Log(entries.even(50, seed=s), seed=s).rows() for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_bursts_put_most_entries_into_a_few_minutes() -> None:
    times = entries.bursty(20_000, days=60)
    minutes = {at // entries.MINUTE for at in times}
    assert len(times) == 20_000
    assert len(minutes) < 2_100


@pytest.mark.parametrize("within", [1, 1000])
def test_ties_share_a_microsecond_or_a_millisecond(within: int) -> None:
    times = entries.ties(300, width=30, within=within)
    assert len(times) == 300
    assert len({at // within for at in times}) == 10


def test_it_runs_as_a_program_and_ends_with_statistics(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    command = [
        sys.executable,
        "-m",
        "testing.fake_sentry",
        "--organization",
        "acme=12",
        "--ready-file",
    ]
    with subprocess.Popen([*command, ready], cwd=ROOT, stdout=subprocess.PIPE) as program:
        while not ready.exists():
            assert program.poll() is None
            time.sleep(0.01)
        url = ready.read_text()
        added = {"organization": "acme", "count": 3}
        requests.post(f"{url}/__fake__/add", json=added, timeout=5).raise_for_status()
        requests.post(f"{url}/__fake__/set", json={"rate_limit": 9}, timeout=5).raise_for_status()
        answer = requests.get(
            url + AUDIT_LOGS, headers={"Authorization": "Bearer token"}, timeout=5
        )
        stats = requests.get(f"{url}/__fake__/stats", timeout=5).json()
        os.kill(program.pid, signal.SIGTERM)
        output, _ = program.communicate(timeout=5)
    assert len(ids(answer)) == 15
    assert answer.headers["X-Sentry-Rate-Limit-Limit"] == "9"
    assert stats == json.loads(output)
    assert stats == {"requests": 1, "count_429": 0, "max_concurrent": 1, "status": {"200": 1}}
