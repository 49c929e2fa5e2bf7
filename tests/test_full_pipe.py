"""A signal that comes while a message stands in a full pipe."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from testing.fake_sentry import FakeSentry, Log
from testing.reading import MILLISECOND, START
from testing.sentry_tap import command, config

if TYPE_CHECKING:
    from pathlib import Path


def test_a_signal_breaks_off_no_state(tmp_path: Path) -> None:
    # More ids than a pipe holds: the last STATE stands in it for a while.
    log = Log([START + number * MILLISECOND for number in range(6000)])
    settings = tmp_path / "config.json"
    with FakeSentry({"acme": log}) as sentry:
        settings.write_text(json.dumps(config(sentry, requests_per_second=1000)))
        with subprocess.Popen(
            command("--config", str(settings)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout
            records, lines = 0, []
            while records < 6000:
                lines.append(process.stdout.readline())
                records += lines[-1].startswith(b'{"type":"RECORD"')
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            lines += process.stdout
    states = [json.loads(line) for line in lines if line.startswith(b'{"type":"STATE"')]

    assert process.returncode == 0
    (partition,) = states[-1]["value"]["bookmarks"]["audit_logs"]["partitions"]
    assert len(partition["lookback"]["ids"]) == 6000
