"""SIGINT and SIGTERM: one line, whenever they come."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testing import forked
from testing.conformance.program import EveryProgram
from testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from testing.conformance.program import Server
    from testing.forked import Run


SIGNALS = [signal.SIGINT, signal.SIGTERM]


class Signals(EveryProgram):
    @pytest.mark.parametrize("number", SIGNALS)
    def test_a_signal_while_the_program_is_imported_is_one_line(
        self, number: signal.Signals, tmp_path: Path
    ) -> None:
        here = tmp_path / "here"
        (tmp_path / "singer_sdk.py").write_text(
            "import pathlib, time\n"
            f"pathlib.Path({str(here)!r}).touch()\n"
            "while True:\n"
            "    time.sleep(0.01)\n"
        )
        command = {
            signal.SIGINT: [sys.executable, "-m", self.program.package],
            signal.SIGTERM: [str(Path(sys.executable).with_name(self.program.command))],
        }[number]
        environment = self.environment | {"PYTHONPATH": str(tmp_path)}
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            wait_until(here.exists)
            process.send_signal(number)
            stdout, stderr = process.communicate(timeout=30)

        told = f"{self.program.stopped_by(number)}\n"
        assert (process.returncode, stdout, stderr) == (128 + number, "", told)

    @pytest.mark.parametrize("number", SIGNALS)
    def test_a_signal_while_the_settings_are_read_is_one_line(
        self, number: signal.Signals, tmp_path: Path
    ) -> None:
        run = self.stopped_run(tmp_path, number, None)

        told = f"{self.program.stopped_by(number)}\n"
        assert (run.returncode, run.stdout, run.stderr) == (128 + number, "", told)

    @pytest.mark.parametrize("number", SIGNALS)
    def test_a_signal_before_anything_comes_in_is_no_success_without_a_state(
        self, number: signal.Signals, silent: str, tmp_path: Path
    ) -> None:
        codes = set()
        for moment in range(10):
            folder = tmp_path / str(moment)
            folder.mkdir()
            run = self.stopped_run(folder, number, self.settings(silent), 0.015 * moment)

            assert "Traceback" not in run.stderr
            assert not run.stdout or run.stdout.endswith("\n")
            codes.add(run.returncode)
            if run.returncode == 0:
                assert run.messages[-1]["type"] == "STATE"
            else:
                assert run.stderr.splitlines()[-1] == self.program.stopped_by(number)
                assert '"STATE"' not in run.stdout

        assert 128 + number in codes
        assert codes <= ({0, 128 + number} if self.program.is_tap else {128 + number})

    def stopped_run(
        self,
        folder: Path,
        number: signal.Signals,
        settings: Mapping[str, object] | None,
        seconds: float = 0.0,
    ) -> Run:
        """Stop a run that reads its settings from a pipe, some time after they are written."""
        pipe = folder / "config"
        os.mkfifo(pipe)

        def stop(process: int) -> None:
            with pipe.open("w") as config:  # as soon as the program reads it
                if settings is None:
                    os.kill(process, number)
                    return
                config.write(json.dumps(settings))
            time.sleep(seconds)
            os.kill(process, number)

        arguments = [f"--config={pipe}"]
        return forked.run(
            self.program.package, arguments, self.environment, stdin=None, meanwhile=stop
        )

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 1)])
    def test_a_signal_when_the_work_is_done_changes_nothing(
        self, number: signal.Signals, code: int, server: Server, nowhere: str, tmp_path: Path
    ) -> None:
        here, go = tmp_path / "here", tmp_path / "go"
        # Runs last of all exit handlers, because it was registered first.
        (tmp_path / "sitecustomize.py").write_text(
            "import atexit, pathlib, time\n"
            "def wait():\n"
            f"    pathlib.Path({str(here)!r}).touch()\n"
            f"    while not pathlib.Path({str(go)!r}).exists():\n"
            "        time.sleep(0.01)\n"
            "atexit.register(wait)\n"
        )
        settings = self.variables(self.settings(nowhere if code else server.url))
        (tmp_path / "input").write_bytes(self.program.input)
        with (tmp_path / "input").open() as stdin, (tmp_path / "log").open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", self.program.package, "--config=ENV"],
                env=self.environment | settings | {"PYTHONPATH": str(tmp_path)},
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
            try:
                wait_until(here.exists)
                before = (tmp_path / "log").read_text()
                process.send_signal(number)
                time.sleep(0.05)
                go.touch()
                process.wait(30)
            finally:
                process.kill()

        assert process.returncode == code
        assert (tmp_path / "log").read_text() == before


class SignalsToTaps(EveryProgram):
    @pytest.mark.parametrize("number", SIGNALS)
    def test_a_signal_ends_a_run_whose_output_nobody_reads(
        self, number: signal.Signals, server: Server
    ) -> None:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(4096))
        os.set_blocking(writer, True)
        process = subprocess.Popen(
            [sys.executable, "-m", self.program.package, "--config=ENV"],
            env=self.environment | self.variables(self.settings(server.url)),
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: _is_idle(process.pid))
            process.send_signal(number)
            began = time.monotonic()
            process.wait(10)
            took = time.monotonic() - began
        finally:
            process.kill()
            os.close(reader)
            os.close(writer)

        assert process.returncode in {1, 128 + number}
        assert took < 5

    @pytest.mark.parametrize("number", SIGNALS)
    def test_a_signal_while_the_first_answer_is_waited_for_ends_with_a_state(
        self, number: signal.Signals, tmp_path: Path
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            (tmp_path / "config").write_text(json.dumps(self.settings(f"http://127.0.0.1:{port}")))

            def stop(process: int) -> None:
                connection, _ = silent.accept()
                with connection:
                    connection.recv(1)
                    os.kill(process, number)

            run = forked.run(
                self.program.package,
                [f"--config={tmp_path / 'config'}"],
                self.environment,
                meanwhile=stop,
            )

        assert (run.returncode, run.messages[-1]["type"]) == (0, "STATE")
        assert "Traceback" not in run.stderr


def _is_idle(process: int) -> bool:
    """Whether a process that had started its work has been idle for a while."""
    stat = Path(f"/proc/{process}/stat")
    before = stat.read_text().split()[13]
    time.sleep(0.4)
    return int(before) > 20 and stat.read_text().split()[13] == before
