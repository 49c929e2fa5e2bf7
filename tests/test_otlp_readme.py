"""target-otlp's README: how to compare the receiver with Sentry, followed to the letter."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest

from testing.fake_receiver import FakeReceiver, Reply
from testing.fake_sentry import FakeSentry, Log, entries
from testing.local_server import LocalServer
from testing.otlp_target import EXAMPLE, PLUGIN, run_target
from testing.recipes import block, blocks
from testing.sentry_tap import config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

pytestmark = pytest.mark.slow

README = (PLUGIN / "README.md").read_text()


def follow(recipe: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a recipe with this environment's programs first."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-e", "-c", recipe],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture
def sent(tmp_path: Path) -> Iterator[list[LogRecord]]:
    """What a receiver has, some of it twice, with the count of the source in `source.txt`."""
    shutil.copytree(PLUGIN / "examples", tmp_path / "examples")
    with FakeSentry({"acme": Log(entries.even(300))}) as sentry, FakeReceiver() as receiver:
        (tmp_path / "tap.json").write_text(json.dumps(config(sentry)))
        done = follow(block("count-source", README), tmp_path)
        assert done.returncode == 0, done.stderr
        assert "300 entries; 0 came again" in done.stderr
        output = follow("tap-sentry-audit --config tap.json", tmp_path).stdout.encode()
        receiver.replies = [Reply(503, headers={"Retry-After": "0"}, keeps=True), Reply()]
        ended = run_target(output, endpoint=receiver.url, max_batch_size=100, **EXAMPLE)
        assert ended.returncode == 0
        assert len(receiver.kept) == 400
        yield receiver.kept


def compared(folder: Path) -> subprocess.CompletedProcess[str]:
    return follow(block("compare", README), folder)


def fluent_bit_file(line: str, kept: list[LogRecord]) -> str:
    """What Fluent Bit's output `file` writes in a format, as its documentation has it."""
    return "".join(line.format(json.dumps({"log": each.body.string_value})) for each in kept)


@pytest.mark.parametrize("line", ["{}\n", "v1_logs: [1.000, {}]\n"], ids=["plain", "own"])
def test_fluent_bits_file_is_compared_by_day(
    line: str, sent: list[LogRecord], tmp_path: Path
) -> None:
    (tmp_path / "fluent-bit").mkdir()
    file = tmp_path / "fluent-bit" / "audit.log"
    file.write_text(fluent_bit_file(line, sent))
    counted = follow(block("count-fluent-bit", README), tmp_path)

    assert "300 entries; 100 came again" in counted.stderr
    assert compared(tmp_path).stdout == "Every day is there.\n"

    file.write_text(fluent_bit_file(line, sent[102:]))
    follow(block("count-fluent-bit", README), tmp_path)
    missing = compared(tmp_path)
    assert missing.returncode == 1
    assert "\n< 20" in missing.stdout


def test_victorialogs_answer_is_compared_by_day(sent: list[LogRecord], tmp_path: Path) -> None:
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
        recipe = block("count-victorialogs", README)
        assert "http://localhost:9428" in recipe
        done = follow(recipe.replace("http://localhost:9428", server.url), tmp_path)

    assert done.returncode == 0, done.stderr
    [(path, [query])] = queries
    assert path == "/select/logsql/query"
    assert "count_uniq(" in query
    assert compared(tmp_path).stdout == "Every day is there.\n"


def test_today_is_left_out_of_the_comparison(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    before = today - timedelta(days=1)
    (tmp_path / "source.txt").write_text(f"{before} 5\n{today} 9\n")
    (tmp_path / "receiver.txt").write_text(f"{before} 5\n{today} 7\n")

    assert compared(tmp_path).stdout == "Every day is there.\n"


# A receiver that cannot be run here


def test_victorialogs_is_started_with_a_retention_longer_than_any_log() -> None:
    [command] = block("victorialogs", README).splitlines()

    [years] = re.findall(r"^\$ victoria-logs\S* .*-retentionPeriod=(\d+)y\b", command)
    assert int(years) >= 20


def test_each_recipe_with_a_name_has_a_test() -> None:
    names = [each.name for each in blocks(README) if each.name]
    tests = Path(__file__).read_text("utf-8")

    assert len(names) > 4
    assert [name for name in names if f'block("{name}"' not in tests] == []
