"""`.env`: it fills in what the environment lacks, for --config=ENV alone."""

from __future__ import annotations

import json
import os
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from testing import forked
from testing.conformance.program import EveryProgram, refusals

if TYPE_CHECKING:
    from pathlib import Path

    from testing.conformance.program import Server
    from testing.forked import Run


class Dotenv(EveryProgram):
    def run_below(self, folder: Path, *arguments: str, **variables: str) -> Run:
        environment = self.environment | variables
        program = self.program
        return forked.run_below(folder, program.package, arguments, environment, program.input)

    def test_the_environment_wins_over_a_dotenv_file_which_fills_in_and_is_named(
        self, server: Server, tmp_path: Path
    ) -> None:
        path = tmp_path / ".env"
        name, *_ = self.program.number
        given = self.variables(self.settings("http://127.0.0.1:9", **{name: 5}))
        path.write_text("".join(f"{each}='{value}'\n" for each, value in given.items()))
        variable = self.program.variable(self.program.address)
        run = self.run_below(tmp_path, "--config=ENV", **{variable: server.url})

        assert run.returncode == 0, run.stderr
        assert server.requests
        assert f"Settings that the environment lacks come from {path}" in run.log("INFO")

    def test_a_dotenv_file_of_the_current_folder_goes_before_others(
        self, server: Server, tmp_path: Path
    ) -> None:
        given = self.variables(self.settings(server.url))
        path = tmp_path / ".env"
        path.write_text("".join(f"{each}='{value}'\n" for each, value in given.items()))
        program = self.program
        run = forked.run_in(
            tmp_path, program.package, ["--config=ENV"], self.environment, program.input
        )

        assert run.returncode == 0, run.stderr
        assert server.requests
        assert f"Settings that the environment lacks come from {path}" in run.log("INFO")

    def test_a_dotenv_file_can_be_a_pipe_and_its_numbers_are_checked(self, tmp_path: Path) -> None:
        path = tmp_path / ".env"
        name, *_ = self.program.number
        os.mkfifo(path)
        text = f"{self.program.variable(name)}=two\n"
        Thread(target=path.write_text, args=(text,), daemon=True).start()
        run = self.run_below(tmp_path, "--config=ENV")

        assert run.returncode == 1
        [problem] = run.log("ERROR")
        assert problem.startswith(f"{name} (from {self.program.variable(name)}) is 'two': ")

    @pytest.mark.parametrize("content", [b"A=hidden\xff\n", b"A=hidden\0\n"])
    def test_a_dotenv_file_that_cannot_be_read_is_named(
        self, content: bytes, server: Server, tmp_path: Path
    ) -> None:
        path = tmp_path / ".env"
        path.write_bytes(content)
        given = self.variables(self.settings(server.url))
        [problem] = refusals(self.run_below(tmp_path, "--config=ENV", **given), server)

        assert problem.startswith(f"{path} cannot be read (")
        assert problem.endswith("): correct or remove it")

    def test_a_dotenv_file_counts_for_config_env_alone(
        self, server: Server, tmp_path: Path
    ) -> None:
        name, *_ = self.program.number
        (tmp_path / ".env").write_text(f"{self.program.variable(name)}=two\n")
        config = tmp_path / "config.json"
        config.write_text(json.dumps(self.settings(server.url)))
        run = self.run_below(tmp_path, f"--config={config}")

        assert run.returncode == 0
        assert ".env" not in run.stderr
