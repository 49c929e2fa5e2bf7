"""The pages of target-otlp, followed to the letter."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from google.protobuf.json_format import MessageToDict
from ruamel.yaml import YAML

from testing.fake_receiver import (
    FakeReceiver,
    Reply,
    Request,
    attributes,
    partial_success,
    refuses,
)
from testing.fake_sentry import FakeSentry, Log, entries
from testing.local_server import LocalServer
from testing.otlp_target import EXAMPLE, PLUGIN, record, run_target, schema, state
from testing.recipes import BIN, ROOT, ended, environment, filled_in, follow, ids_of, recipes
from testing.sentry_tap import config, run_tap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

README = recipes("plugins/target-otlp/README.md")
MAPPING = recipes("plugins/target-otlp/docs/mapping.md")
REJECTIONS = recipes("plugins/target-otlp/docs/rejections.md")
RECEIVERS = recipes("plugins/target-otlp/docs/receivers.md")
COMPARE = recipes("plugins/target-otlp/docs/compare.md")
TROUBLESHOOTING = recipes("plugins/target-otlp/docs/troubleshooting.md")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what the pages name: the examples, and programs in `.venv`."""
    (tmp_path / "examples").symlink_to(PLUGIN / "examples")
    (tmp_path / ".venv").symlink_to(BIN.parent)
    return tmp_path


def variables(folder: Path) -> dict[str, str]:
    return environment(folder / "home", BIN)


def test_two_records_and_a_state_go_through(folder: Path) -> None:
    with FakeReceiver() as receiver:
        there = {"http://127.0.0.1:4318": receiver.url}
        done = ended(filled_in(README["try"], **there), folder, variables(folder))
        line, state_line = filled_in(README["try output"], **there).splitlines()

    assert [each.body.string_value for each in receiver.kept] == [
        '{"id":1,"name":"Ada"}',
        '{"id":2,"name":"Grace"}',
    ]
    assert done.stdout == f"{state_line}\n"
    text = re.escape(line.removeprefix("… ")).replace("54", r"[\d,]+")
    assert re.search(rf"{text}$", done.stderr, re.MULTILINE)


def test_the_pipe_sends_each_entry_once_and_keeps_its_state(folder: Path) -> None:
    log = Log(entries.even(300))
    with FakeSentry({"acme": log}) as sentry, FakeReceiver() as receiver:
        filled = {"https://otlp.example.com": receiver.url, "…": "key"}
        (folder / "target.json").write_text(filled_in(README["target.json"], **filled))
        (folder / "tap.json").write_text(json.dumps(config(sentry)))
        follow(README["pipe"], folder, variables(folder))
        log.add([entries.micros(entries.UNTIL)])
        follow(README["pipe"], folder, variables(folder))

    assert sorted(str(each).rpartition("/")[2] for each in receiver.ids) == ids_of(log)
    assert receiver.requests[0].headers["authorization"] == "Bearer key"


def test_the_log_record_that_is_shown_is_that_of_the_sample() -> None:
    sample = json.loads((ROOT / "tests" / "sample_record.json").read_text("utf-8"))
    with FakeSentry({"acme": Log(rows=[sample])}) as sentry, FakeReceiver() as receiver:
        run_target(run_tap(config(sentry)).stdout.encode(), endpoint=receiver.url, **EXAMPLE)

    [log_record] = receiver.kept
    found = MessageToDict(log_record, use_integers_for_enums=True)
    assert json.loads(found.pop("body")["stringValue"])["event"] == "team.remove"
    del found["observedTimeUnixNano"]
    found["attributes"] = attributes(log_record)
    assert found == json.loads(README["log record"])


def test_a_mapping_adds_to_that_of_every_stream() -> None:
    found = {"id": "7", "organization": "acme", "event": "team.add", "actor": None, "a b": 1}
    entry = {"type": "RECORD", "stream": "audit_logs", "record": found | {"tags": ["x"]}}
    with FakeReceiver() as receiver:
        messages = [schema(), entry, schema("others"), record(8, "others")]
        run_target(messages, endpoint=receiver.url, **json.loads(MAPPING["mapping"]))

    first, second = receiver.kept
    assert first.event_name == "team.add"
    assert {
        "log.record.uid": "sentry.example.com/acme/7",
        "first.tag": "x",
        "odd": 1,
        "deployment.environment.name": "production",
    }.items() <= attributes(first).items()
    assert attributes(second) == {"singer.stream": "others", "log.record.uid": "8"}


# Rejected records

ID = {"mapping": {"*": {"id": ["$.organization", "$.id"]}}}


def of_acme(number: int) -> dict[str, Any]:
    found = record(number)
    found["record"]["organization"] = "acme"
    return found


def rejected(path: Path, receiver: FakeReceiver, first: int, last: int) -> dict[str, Any]:
    """What the file has after a run, but for the time."""
    keyed = schema() | {"key_properties": ["id"]}
    messages = [keyed, *map(of_acme, range(first, last + 1)), state(1)]
    settings = {"rejected_records_path": str(path), **ID}
    assert run_target(messages, endpoint=receiver.url, **settings).returncode == 1
    [line] = map(json.loads, path.read_text().splitlines())
    del line["time"]
    found: dict[str, Any] = line
    return found


def without_time(text: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(text)
    del shown["time"]
    return shown


def test_a_refused_record_is_put_aside_as_shown(tmp_path: Path) -> None:
    judge = refuses("acme/21", body=b"bad timestamp")
    with FakeReceiver(judge=judge) as receiver:
        found = rejected(tmp_path / "rejected", receiver, 20, 24)

    assert found == without_time(REJECTIONS["refused"])


def test_a_partial_success_is_noted_as_shown(tmp_path: Path) -> None:
    with FakeReceiver(Reply(body=partial_success(2, "too old"))) as receiver:
        found = rejected(tmp_path / "rejected", receiver, 21, 520)

    assert found == without_time(REJECTIONS["partial"])


def test_a_failed_run_ends_as_shown() -> None:
    fails = iter(range(50))
    key = "0123456789abcdef"

    def judge(_: Request) -> Reply | None:
        return None if next(fails) < 25 else Reply(401, f"invalid key {key}".encode())

    messages = [schema(), *map(record, range(12_000)), state(1), *map(record, range(600))]
    with FakeReceiver(judge=judge) as receiver:
        ended = run_target(messages, endpoint=receiver.url, headers={"api-key": key})
        there = {"https://otlp.example.com": receiver.url}

        assert ended.log("ERROR") == [filled_in(TROUBLESHOOTING["failed"], **there).strip()]


# Receivers


def test_the_collector_listens_where_the_target_sends() -> None:
    collector = YAML(typ="safe", pure=True).load(RECEIVERS["collector"])
    protocol = collector["receivers"]["otlp"]["protocols"]["http"]
    settings = json.loads(RECEIVERS["collector settings"])

    assert protocol["endpoint"].rpartition(":")[2] == str(urlsplit(settings["endpoint"]).port)
    pipeline = collector["service"]["pipelines"]["logs"]
    assert set(pipeline["exporters"]) <= collector["exporters"].keys()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (RECEIVERS["collector settings"], "/v1/logs"),
        (RECEIVERS["victorialogs settings"], "/insert/opentelemetry/v1/logs"),
        (RECEIVERS["loki settings"], "/otlp/v1/logs"),
        (RECEIVERS["honeycomb settings"], "/v1/logs"),
    ],
)
def test_the_settings_of_each_receiver_send_to_its_path_with_its_headers(
    text: str, path: str
) -> None:
    settings = json.loads(text)
    with FakeReceiver() as receiver:
        there = urlsplit(settings["endpoint"])._replace(scheme="http")
        settings["endpoint"] = there._replace(netloc=urlsplit(receiver.url).netloc).geturl()
        ended = run_target([schema(), record(1)], **settings)

    assert ended.returncode == 0
    [request] = receiver.requests
    assert request.path == path
    wanted = {name.lower(): value for name, value in settings.get("headers", {}).items()}
    assert wanted.items() <= request.headers.items()


def test_victorialogs_is_started_with_a_retention_longer_than_any_log() -> None:
    [command] = RECEIVERS["victorialogs"].splitlines()

    [years] = re.findall(r"^victoria-logs\S* .*-retentionPeriod=(\d+)y\b", command)
    assert int(years) >= 20


# Comparing the receiver with the source


@pytest.fixture
def sent(folder: Path) -> Iterator[list[LogRecord]]:
    """What a receiver has, some of it twice, with the count of the source in `source.txt`."""
    with FakeSentry({"acme": Log(entries.even(300))}) as sentry, FakeReceiver() as receiver:
        (folder / "tap.json").write_text(json.dumps(config(sentry)))
        said = follow(COMPARE["count-source"], folder, variables(folder))
        assert "300 entries; 0 came again" in said
        output = run_tap(config(sentry)).stdout.encode()
        receiver.replies = [Reply(503, headers={"Retry-After": "0"}, keeps=True), Reply()]
        assert not run_target(
            output, endpoint=receiver.url, max_batch_size=100, **EXAMPLE
        ).returncode
        assert len(receiver.kept) == 400
        yield receiver.kept


def compared(folder: Path) -> str:
    return ended(COMPARE["compare"], folder, variables(folder)).stdout


def fluent_bit_file(line: str, kept: list[LogRecord]) -> str:
    """What Fluent Bit's output `file` writes in a format, as its documentation has it."""
    return "".join(line.format(json.dumps({"log": each.body.string_value})) for each in kept)


@pytest.mark.parametrize("line", ["{}\n", "v1_logs: [1.000, {}]\n"], ids=["plain", "own"])
def test_fluent_bits_file_is_compared_by_day(
    line: str, sent: list[LogRecord], folder: Path
) -> None:
    (folder / "fluent-bit").mkdir()
    file = folder / "fluent-bit" / "audit.log"
    file.write_text(fluent_bit_file(line, sent))
    counted = follow(COMPARE["count-fluent-bit"], folder, variables(folder))

    assert "300 entries; 100 came again" in counted
    assert compared(folder) == "Every day is there.\n"

    file.write_text(fluent_bit_file(line, sent[102:]))
    follow(COMPARE["count-fluent-bit"], folder, variables(folder))
    assert "\n< 20" in compared(folder)


def test_victorialogs_answer_is_compared_by_day(sent: list[LogRecord], folder: Path) -> None:
    days = Counter(
        datetime.fromtimestamp(each.time_unix_nano // 10**9, UTC).date()
        for each in {each.body.string_value: each for each in sent}.values()
    )
    queries = []

    class Handler(BaseHTTPRequestHandler):
        """Answers as VictoriaLogs' documentation says: a line of JSON for each bucket."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            queries.append((self.path, parse_qs(body)["query"]))
            self.send_response(200)
            self.end_headers()
            for day, count in sorted(days.items()):
                line = {"_time": f"{day}T00:00:00Z", "entries": str(count)}
                self.wfile.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")

        def log_message(self, *_: object) -> None:
            pass

    with LocalServer(Handler) as server:
        recipe = filled_in(COMPARE["count-victorialogs"], **{"http://localhost:9428": server.url})
        follow(recipe, folder, variables(folder))

    [(path, [query])] = queries
    assert path == "/select/logsql/query"
    assert "count_uniq(" in query
    assert compared(folder) == "Every day is there.\n"


def test_today_is_left_out_of_the_comparison(folder: Path) -> None:
    today = datetime.now(UTC).date()
    before = today - timedelta(days=1)
    (folder / "source.txt").write_text(f"{before} 5\n{today} 9\n")
    (folder / "receiver.txt").write_text(f"{before} 5\n{today} 7\n")

    assert compared(folder) == "Every day is there.\n"
