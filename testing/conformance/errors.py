"""Whatever fails is one line for a user, without a traceback or what was read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from testing.conformance.program import EveryProgram

if TYPE_CHECKING:
    from testing.conformance.program import Server


class Errors(EveryProgram):
    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_wrong_server_is_named(self, scheme: str, nowhere: str, tmp_path: Path) -> None:
        url = nowhere.replace("http", scheme)
        run = self.run_with(tmp_path, self.settings(url))

        assert run.returncode == 1
        assert "Traceback" not in run.stderr
        assert url.partition("//")[2] in run.log("ERROR")[-1]

    def test_a_stream_map_that_fails_is_one_line_without_its_text(
        self, server: Server, tmp_path: Path
    ) -> None:
        maps = {"audit_logs": {"id": "int('hidden')"}}
        run = self.run_with(tmp_path, self.settings(server.url, stream_maps=maps))

        assert run.returncode == 1
        assert "ValueError" in run.log("ERROR")[-1]
        assert "hidden" not in run.stdout + run.stderr
        assert "Traceback" not in run.stderr

    def test_stdout_that_is_closed_from_the_start_is_one_line(self, server: Server) -> None:
        command = [sys.executable, "-m", self.program.package, "--config=ENV"]
        run = subprocess.run(
            ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command],
            env=self.environment | self.variables(self.settings(server.url)),
            input=self.program.input,
            capture_output=True,
            timeout=60,
            check=False,
        )

        where = (
            "to a target, a file, or a terminal"
            if self.program.is_tap or self.program.is_mapper
            else "to a file or a termi"
        )
        [line] = run.stderr.decode().splitlines()
        assert run.returncode == 1
        assert line.startswith(f"{self.program.command}: stdout is closed. Connect it {where}")
        assert not server.requests

    @pytest.mark.parametrize("arguments", ["--version", "--config=ENV"])
    def test_a_full_disk_under_stdout_is_the_last_line(
        self, arguments: str, server: Server
    ) -> None:
        # Python itself must have something left to write when it ends.
        variables = self.variables(self.settings(server.url)) | {"PYTHONUNBUFFERED": ""}
        with Path("/dev/full").open("w") as full:
            run = subprocess.run(
                [sys.executable, "-m", self.program.package, arguments],
                env=self.environment | variables,
                input=self.program.input,
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=60,
                check=False,
            )

        *_, last = run.stderr.decode().splitlines()
        assert run.returncode == 1
        assert "No space left on device" in last
        assert "Traceback" not in run.stderr.decode()
        assert "Unexpected" not in run.stderr.decode()

    @pytest.mark.parametrize("level", ["hidden", "7"])
    def test_a_log_level_that_does_not_exist_is_named_with_its_variable(
        self, level: str, server: Server
    ) -> None:
        name = self.program.variable("loglevel")
        variables = self.variables(self.settings(server.url))
        run = self.run("--config=ENV", **variables, LOGLEVEL="info", **{name: level})

        assert (run.returncode, run.stdout) == (1, "")
        cure = "write DEBUG, INFO, WARNING, ERROR, or CRITICAL"
        assert run.stderr.splitlines()[-1].endswith(f"{name} is {level!r}: {cure}")
        assert not server.requests
