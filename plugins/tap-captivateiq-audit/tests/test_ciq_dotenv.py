"""`--config ENV` with a `.env` file above the virtual environment, where the SDK looks for one."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import singer_sdk

from testing.captivateiq_tap import ENVIRONMENT
from testing.fake_captivateiq import TOKEN, FakeCaptivateIQ, Log, row
from testing.forked import Run

PREFIX = "TAP_CAPTIVATEIQ_AUDIT"
OURS = Log([row(1, datetime.now(UTC))])
THEIRS = Log([row(2, datetime.now(UTC))])


def run_below(folder: Path, **variables: str) -> Run:
    """Run the tap with `--config ENV` and an SDK that lies in a folder below this one."""
    packages = folder / "venv" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "singer_sdk").symlink_to(Path(singer_sdk.__file__).parent)
    settings = {f"{PREFIX}_{name}": text for name, text in variables.items()}
    done = subprocess.run(
        [sys.executable, "-m", "tap_captivateiq_audit", "--config=ENV"],
        env={**ENVIRONMENT, "PYTHONPATH": str(packages), **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Run(done.returncode, done.stdout, done.stderr)


def test_the_environment_wins_over_the_file_which_the_log_names(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    with FakeCaptivateIQ(OURS) as ours, FakeCaptivateIQ(THEIRS) as theirs:
        file.write_text(f"{PREFIX}_API_URL={theirs.url}\n{PREFIX}_API_TOKEN={TOKEN}\n")
        run = run_below(tmp_path, API_URL=ours.url)

        assert not theirs.requests
        assert ours.authorizations == {f"Token {TOKEN}"}  # which the environment lacks
    assert run.ids == [OURS.rows[0]["id"]]
    assert run.returncode == 0
    assert f"Settings that the environment lacks come from {file}" in run.log("INFO")
    assert TOKEN not in run.stderr


def test_a_number_in_the_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"{PREFIX}_LOOKBACK_DAYS=two\n")
    run = run_below(tmp_path, API_TOKEN=TOKEN)

    assert run.log("ERROR") == [
        f"lookback_days (from {PREFIX}_LOOKBACK_DAYS) is 'two': write a whole number"
    ]
    assert run.returncode == 1


def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(f"{PREFIX}_API_TOKEN=hidden\xff\n".encode("latin-1"))
    with FakeCaptivateIQ(OURS) as server:
        run = run_below(tmp_path, API_URL=server.url, API_TOKEN=TOKEN)

        assert not server.requests
    (error,) = run.log("ERROR")
    assert error == f"{file} cannot be read (UnicodeDecodeError): mend it or take it away"
    assert run.stdout == ""
    assert run.returncode == 1
    assert "hidden" not in run.stderr
    assert "Traceback" not in run.stderr


def test_the_file_may_be_a_pipe_as_the_sdk_allows(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    os.mkfifo(file)
    text = f"{PREFIX}_API_TOKEN={TOKEN}\n"
    Thread(target=file.write_text, args=(text,), daemon=True).start()
    with FakeCaptivateIQ(OURS) as server:
        run = run_below(tmp_path, API_URL=server.url)

    assert run.returncode == 0
    assert len(run.ids) == 1


def test_without_a_file_none_is_named(tmp_path: Path) -> None:
    with FakeCaptivateIQ(OURS) as server:
        run = run_below(tmp_path, API_URL=server.url, API_TOKEN=TOKEN)

    assert run.returncode == 0
    assert ".env" not in run.stderr
