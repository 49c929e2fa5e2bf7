"""One table of cases for every program: settings, `Retry-After`, signals, `.env`, errors, layers.

`TestConformance = conformance_suite(Program(...))` in a test file runs it against a program, in the
manner of `singer_sdk.testing`. `Program` holds what differs between them; everything else is a
promise that each of them keeps. This module imports none of them.
"""

from __future__ import annotations

import ast
import fcntl
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import termios
import time
from contextlib import suppress
from dataclasses import dataclass
from graphlib import TopologicalSorter
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING, ClassVar, Protocol

import pytest

from testing import forked
from testing.local_server import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sized
    from contextlib import AbstractContextManager

    from testing.forked import Run

SIGNALS = [signal.SIGINT, signal.SIGTERM]
NOW = 1_793_491_200.0
"""Sunday, 1 November 2026, 00:00 UTC."""


class Server(Protocol):
    """A server that stands in for the one that a program talks to."""

    @property
    def url(self) -> str: ...

    @property
    def requests(self) -> Sized: ...


@dataclass(frozen=True)
class Program:
    """A program, and how it differs from the others."""

    package: str
    server: Callable[[], AbstractContextManager[Server]]
    """A working server, with at least one record in its stream `audit_logs` if it is read."""
    settings: Mapping[str, object]
    """Valid together with the address; they retry no failure for long."""
    address: str
    """The name of the setting that is the server's URL."""
    required: str
    number: tuple[str, int, int]
    """A setting that is a whole number: its name, its minimum and maximum."""
    confidential: str
    unusable: object
    """A value that contains the word `hidden`."""
    usable: object
    """A valid value that contains the word `hidden-secret`."""
    without_sdk: tuple[str, ...]
    """The layers that know nothing of Singer."""
    retry_after: Callable[[Mapping[str, str], float], float | None]
    """Reads the wait in headers; the second argument is our clock, in seconds since 1970."""
    flag: str | None = None
    input: bytes = b""
    """What a target reads."""

    @property
    def command(self) -> str:
        return self.package.replace("_", "-")

    @property
    def is_tap(self) -> bool:
        return self.package.startswith("tap_")

    @property
    def is_mapper(self) -> bool:
        return self.package.startswith("mapper_")

    def variable(self, name: str) -> str:
        return f"{self.package}_{name}".upper()

    def stopped_by(self, number: signal.Signals) -> str:
        """The line of a run that a signal ended before there was anything to keep."""
        told = f"{self.command} was stopped by {number.name}"
        if self.is_tap:
            return f"{told}: no state was written"
        return f"{told} before it started: nothing was {'written' if self.is_mapper else 'sent'}"


def conformance_suite(program: Program) -> type[_EveryProgram]:
    """Return a class with the tests for a program."""
    bases: list[type[_EveryProgram]] = [_EveryProgram]
    if program.flag:
        bases.insert(0, _ProgramWithFlag)
    if program.is_tap:
        bases.insert(0, _Tap)
    return type("TestConformance", tuple(bases), {"program": program})


class _NotFound(BaseHTTPRequestHandler):
    """Answers every request with 404."""

    def do_GET(self) -> None:
        self.send_error(404)

    def do_POST(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


class _EveryProgram:
    program: ClassVar[Program]

    @pytest.fixture
    def server(self) -> Iterator[Server]:
        with self.program.server() as running:
            yield running

    @pytest.fixture
    def nowhere(self) -> Iterator[str]:
        """Yield the URL of a server that is not the one that is meant."""
        with LocalServer(_NotFound) as server:
            yield server.url

    @pytest.fixture
    def silent(self) -> Iterator[str]:
        """Yield the URL of a server that never answers."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment without the settings and proxies of whoever runs the tests."""
        ours = (self.program.variable(""), "OTEL_")
        return {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(ours) and not name.lower().endswith("_proxy")
        }

    def settings(self, url: str, **others: object) -> dict[str, object]:
        return {**self.program.settings, self.program.address: url, **others}

    def variables(self, settings: Mapping[str, object]) -> dict[str, str]:
        """Settings as environment variables: strings as they are, everything else as JSON."""
        return {
            self.program.variable(name): value if isinstance(value, str) else json.dumps(value)
            for name, value in settings.items()
        }

    def run(self, *arguments: str, **variables: str) -> Run:
        """Run the program to its end in the environment, with these variables added."""
        environment = self.environment | variables
        return forked.run(self.program.package, arguments, environment, self.program.input)

    def run_with(self, folder: Path, settings: Mapping[str, object] | str | bytes) -> Run:
        """Run the program with a configuration file that holds these settings, or this text."""
        path = folder / "config.json"
        text = settings if isinstance(settings, str | bytes) else json.dumps(settings)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return self.run(f"--config={path}")

    # --- settings

    @pytest.mark.parametrize("option", ["--version", "--help", "--about"])
    def test_options_that_need_no_settings_ask_for_none(self, option: str) -> None:
        run = self.run(option)

        assert (run.returncode, run.log("ERROR"), run.log("WARNING")) == (0, [], [])
        assert run.stdout

    @pytest.mark.parametrize("text", ["5", "5.0", "{least}", "{most}", "null"])
    def test_a_whole_number_may_have_a_decimal_point_and_null_is_the_default(
        self, text: str, server: Server, tmp_path: Path
    ) -> None:
        name, least, most = self.program.number
        settings = json.dumps(self.settings(server.url))
        number = text.format(least=least, most=most)
        run = self.run_with(tmp_path, f'{settings[:-1]}, "{name}": {number}}}')

        assert (run.returncode, run.log("WARNING")) == (0, []), run.stderr

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ('"5"', "'5'"),
            ("1.5", "1.5"),
            ("true", "True"),
            ("NaN", "nan"),
            ("1e50", "1E+50"),
            ("1e999999", "1E+999999"),
            ("{below}", "{below}"),
            ("{above}", "{above}"),
            ("[]", "[]"),
        ],
    )
    def test_a_value_that_is_not_a_whole_number_in_range_is_refused_and_shown_as_written(
        self, text: str, shown: str, server: Server, tmp_path: Path
    ) -> None:
        name, least, most = self.program.number
        around = {"below": least - 1, "above": most + 1}
        settings = json.dumps(self.settings(server.url))
        run = self.run_with(tmp_path, f'{settings[:-1]}, "{name}": {text.format(**around)}}}')

        cure = f"write a whole number from {least} to {most}"
        assert refusals(run, server) == [f"{name} is {shown.format(**around)}: {cure}"]

    @pytest.mark.parametrize("text", ["5", "5.0", " 5 "])
    def test_every_setting_can_come_from_the_environment(self, text: str, server: Server) -> None:
        name, *_ = self.program.number
        run = self.run("--config=ENV", **self.variables(self.settings(server.url) | {name: text}))

        assert (run.returncode, run.log("WARNING")) == (0, []), run.stderr
        assert server.requests
        assert "come from None" not in run.stderr

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("two", "'two'"),
            ("1.5", "'1.5'"),
            ("1e50", "'1e50'"),
            ("9" * 5000, repr("9" * 5000)),
            ("\u0663", "'\u0663'"),
            ("{below}", "{below}"),
            ("{above}", "{above}"),
        ],
        ids=lambda text: text[:9],
    )
    def test_a_number_in_the_environment_that_cannot_be_used_is_named_with_its_variable(
        self, text: str, shown: str, server: Server
    ) -> None:
        name, least, most = self.program.number
        around = {"below": least - 1, "above": most + 1}
        given = self.settings(server.url) | {name: text.format(**around)}
        run = self.run("--config=ENV", **self.variables(given))

        source = f"{name} (from {self.program.variable(name)})"
        cure = f"write a whole number from {least} to {most}"
        assert refusals(run, server) == [f"{source} is {shown.format(**around)}: {cure}"]

    def test_every_problem_is_named_at_once_and_no_secret_shown(
        self, server: Server, tmp_path: Path
    ) -> None:
        program = self.program
        name, least, most = program.number
        bad = {program.confidential: program.unusable, name: least - 1, program.address: 7}
        problems = refusals(self.run_with(tmp_path, {**program.settings, **bad}), server)

        assert len(problems) == 3
        assert f"{program.address} is not a string: put it in quotes" in problems
        assert f"{name} is {least - 1}: write a whole number from {least} to {most}" in problems
        assert any(problem.startswith(f"{program.confidential} has ") for problem in problems)

    def test_every_variable_is_named_at_once_and_no_secret_shown(self, server: Server) -> None:
        program = self.program
        name, *_ = program.number
        bad = {program.confidential: program.unusable, name: "two"}
        run = self.run("--config=ENV", **self.variables(self.settings(server.url) | bad))

        named = {problem.partition(")")[0] for problem in refusals(run, server)}
        assert named == {f"{each} (from {program.variable(each)}" for each in bad}

    def test_a_secret_that_is_in_another_setting_too_is_not_shown(
        self, server: Server, tmp_path: Path
    ) -> None:
        name, *_ = self.program.number
        secret = {self.program.confidential: self.program.usable}
        given = self.settings(server.url) | secret

        variables = self.variables(given | {name: "hidden-secret"})
        [from_variable] = refusals(self.run("--config=ENV", **variables), server)
        [problem] = refusals(self.run_with(tmp_path, given | {name: "hidden-secret"}), server)
        run = self.run_with(tmp_path, given | {"hidden-secret": 5})

        assert problem.startswith(f"{name} ")
        assert from_variable.startswith(f"{name} (from ")
        assert len(run.log("WARNING")) == 1
        assert "hidden" not in run.stderr

    def test_a_required_setting_that_is_missing_is_named(
        self, server: Server, tmp_path: Path
    ) -> None:
        name = self.program.required
        [problem] = refusals(
            self.run_with(tmp_path, self.settings(server.url) | {name: None}), server
        )

        assert problem.startswith(f"{name} is missing: ")

    def test_a_misspelt_name_is_reported_where_a_required_setting_is_missing(
        self, server: Server, tmp_path: Path
    ) -> None:
        name = self.program.required
        settings = self.settings(server.url)
        misspelt = {"stream_maps": {}, f"{name}s".upper(): settings[name], name: None}
        [problem] = refusals(self.run_with(tmp_path, settings | misspelt), server)

        hint = f"(there is no setting {f'{name}s'.upper()!r}: did you mean {name}?)"
        assert problem.startswith(f"{name} is missing: ")
        assert problem.endswith(hint)

    def test_an_unknown_setting_is_named_with_the_nearest_known_one(
        self, server: Server, tmp_path: Path
    ) -> None:
        name, *_ = self.program.number
        unknown = {name[:-1]: 5, "zzzzzz": 5, "of_no_value": None}
        run = self.run_with(tmp_path, self.settings(server.url, **unknown))

        assert run.returncode == 0
        assert run.log("WARNING") == [
            f"There is no setting {name[:-1]!r}; it is ignored: did you mean {name}?",
            "There is no setting 'zzzzzz'; it is ignored",
        ]

    @pytest.mark.parametrize("value", ["hidden", ["hidden"]])
    @pytest.mark.parametrize("name", ["stream_maps", "flattening_enabled"])
    def test_the_sdks_own_settings_are_refused_without_their_values(
        self, name: str, value: object, server: Server, tmp_path: Path
    ) -> None:
        run = self.run_with(tmp_path, self.settings(server.url, **{name: value}))

        assert refusals(run, server) == [
            f"{name} has a wrong type or value: compare it with --about"
        ]

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b'[["a", 1]]', b"null", b'{"a": "\xff"}']
    )
    def test_a_config_file_without_a_json_object_is_named(
        self, content: bytes, server: Server, tmp_path: Path
    ) -> None:
        run = self.run_with(tmp_path, content)

        [problem] = refusals(run, server)
        assert problem == (
            f"{tmp_path / 'config.json'} does not hold a JSON object: "
            "give --config a file with one JSON object"
        )

    def test_a_config_file_that_is_missing_is_named(self, server: Server) -> None:
        [problem] = refusals(self.run("--config=/nowhere.json"), server)

        assert problem.startswith("/nowhere.json cannot be read (FileNotFoundError): ")

    def test_the_second_of_two_config_files_wins(self, server: Server, tmp_path: Path) -> None:
        name, *_ = self.program.number
        first, second = tmp_path / "first.json", tmp_path / "second.json"
        first.write_text(json.dumps(self.settings(server.url, **{name: "two"})))
        second.write_text(json.dumps({name: 5}))

        assert self.run(f"--config={first}", f"--config={second}").returncode == 0
        assert self.run(f"--config={second}", f"--config={first}").returncode == 1

    # --- Retry-After

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("0", 0.0),
            ("120", 120.0),
            (" 7 ", 7.0),
            ("9" * 5000, 1e9),
            ("Sun, 01 Nov 2026 00:01:30 GMT", 90.0),
            ("Sun, 01 Nov 2026 01:01:30 +0100", 90.0),
            ("Sun, 01 Nov 2026 00:01:30", 90.0),
            ("Sun Nov  1 00:01:30 2026", 90.0),
            ("Sat, 31 Oct 2026 23:00:00 GMT", 0.0),
            ("", None),
            ("soon", None),
            ("-5", None),
            ("1.5", None),
            ("\u0663", None),
            ("\u00b2", None),
            ("Sun, 99 Nov 2026 00:01:30 GMT", None),
        ],
        ids=lambda text: str(text)[:30],
    )
    @pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
    def test_retry_after_is_seconds_or_a_date(
        self, text: str, seconds: float | None, zone: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            assert self.program.retry_after({"Retry-After": text}, NOW) == seconds
        finally:
            monkeypatch.undo()
            time.tzset()

    def test_a_date_counts_from_the_servers_clock(self) -> None:
        headers = {
            "Retry-After": "Sun, 01 Nov 2026 00:01:30 GMT",
            "Date": "Sun, 01 Nov 2026 00:01:00 GMT",
        }

        assert self.program.retry_after(headers, NOW) == 30.0

    def test_without_the_header_nothing_is_asked_for(self) -> None:
        assert self.program.retry_after({}, NOW) is None

    # --- signals

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

    # --- .env

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

    # --- errors

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

    # --- layers

    @property
    def layers(self) -> list[str]:
        """The layers from the top down, as the docstring of the package lists them."""
        lines = (importlib.import_module(self.program.package).__doc__ or "").splitlines()
        return [line.split()[0] for line in lines if line.startswith("    ")]

    @property
    def modules(self) -> dict[str, Path]:
        """The package's modules by their names, without the package itself."""
        folder = Path(importlib.import_module(self.program.package).__file__ or "").parent
        found = {path.relative_to(folder).with_suffix(""): path for path in folder.rglob("*.py")}
        names = {".".join(name.parts).removesuffix(".__init__"): at for name, at in found.items()}
        return {name: at for name, at in names.items() if name != "__init__"}

    def test_every_module_has_one_layer(self) -> None:
        assert sorted(self.layers) == sorted({name.partition(".")[0] for name in self.modules})

    def test_modules_import_only_from_their_layer_and_those_below_and_in_no_circle(self) -> None:
        graph = {
            name: imported(path.read_text(), self.program.package) & self.modules.keys()
            for name, path in self.modules.items()
        }

        for name, imports in graph.items():
            layer = self.layers.index(name.partition(".")[0])
            upwards = {i for i in imports if self.layers.index(i.partition(".")[0]) < layer}
            assert upwards == set(), name
        TopologicalSorter(graph).prepare()

    @pytest.mark.parametrize(
        "line",
        [
            "import package.command",
            "from package import command",
            "from package.command import run",
            "if TYPE_CHECKING:\n    from package.command import run",
            "def function():\n    from package.command import run",
        ],
    )
    def test_every_form_of_import_counts(self, line: str) -> None:
        assert "command" in imported(line, "package")

    def test_the_lower_layers_import_without_the_sdk_and_no_others(self) -> None:
        script = (
            "import importlib, sys\n"
            "sys.modules['singer_sdk'] = None\n"
            "for name in sys.argv[2:]:\n"
            "    importlib.import_module(f'{sys.argv[1]}.{name}')\n"
            "try:\n"
            "    importlib.import_module(f'{sys.argv[1]}.command')\n"
            "except ImportError as error:\n"
            "    print(error)\n"
        )
        lower = [
            name for name in self.modules if name.partition(".")[0] in self.program.without_sdk
        ]
        done = subprocess.run(
            [sys.executable, "-c", script, self.program.package, *lower],
            capture_output=True,
            check=False,
            text=True,
        )

        assert done.stderr == ""
        assert "singer_sdk" in done.stdout
        assert len(lower) >= len(self.program.without_sdk)


class _ProgramWithFlag(_EveryProgram):
    @pytest.mark.parametrize("value", ["true", "no", 1])
    def test_a_flag_is_true_or_false(self, value: object, server: Server, tmp_path: Path) -> None:
        flag = self.program.flag or ""
        run = self.run_with(tmp_path, self.settings(server.url, **{flag: value}))

        assert refusals(run, server) == [f"{flag} is {value!r}: write true or false"]

    @pytest.mark.parametrize("word", ["fasle", "2", ""])
    def test_a_word_that_is_not_a_flag_is_named_with_its_variable(
        self, word: str, server: Server
    ) -> None:
        flag = self.program.flag or ""
        given = self.settings(server.url) | {flag: word}
        run = self.run("--config=ENV", **self.variables(given))

        source = f"{flag} (from {self.program.variable(flag)})"
        assert refusals(run, server) == [f"{source} is {word!r}: write true or false"]

    @pytest.mark.parametrize("word", ["Yes", "on", "1", "no", "0", "FALSE"])
    def test_a_flag_in_the_environment_can_be_any_of_the_usual_words(
        self, word: str, server: Server
    ) -> None:
        given = self.settings(server.url) | {self.program.flag or "": word}
        run = self.run("--config=ENV", **self.variables(given))

        assert run.returncode == 0, run.stderr


class _Tap(_EveryProgram):
    @pytest.mark.parametrize("value", [{}, {"storage": "hidden"}])
    def test_batches_are_refused(self, value: object, server: Server, tmp_path: Path) -> None:
        run = self.run_with(tmp_path, self.settings(server.url, batch_config=value))

        [problem] = refusals(run, server)
        assert problem.startswith("batch_config cannot be used: ")

    def test_batches_are_refused_from_the_environment(self, server: Server) -> None:
        given = self.settings(server.url, batch_config={"storage": "hidden"})
        run = self.run("--config=ENV", **self.variables(given))

        [problem] = refusals(run, server)
        variable = self.program.variable("batch_config")
        assert problem.startswith(f"batch_config (from {variable}) cannot be used: ")

    def test_batches_that_are_not_set_cause_no_problem(
        self, server: Server, tmp_path: Path
    ) -> None:
        run = self.run_with(tmp_path, self.settings(server.url, batch_config=None))

        assert (run.returncode, run.log("WARNING")) == (0, [])

    def test_batches_are_not_offered(self) -> None:
        about = json.loads(self.run("--about", "--format=json").stdout)

        assert "batch" not in about["capabilities"]
        assert "batch_config" not in about["settings"]["properties"]

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


def refusals(run: Run, server: Server) -> list[str]:
    """Return what a program says that refused its settings, before its first request."""
    assert (run.returncode, run.stdout) == (1, ""), run.stderr
    assert "Traceback" not in run.stderr
    assert "hidden" not in run.stderr
    assert not server.requests
    # The SDK adds a line of its own.
    return [line for line in run.log("ERROR") if line != "Config validation failed"]


def _is_idle(process: int) -> bool:
    """Whether a process that had started its work has been idle for a while."""
    stat = Path(f"/proc/{process}/stat")
    before = stat.read_text().split()[13]
    time.sleep(0.4)
    return int(before) > 20 and stat.read_text().split()[13] == before


def wait_until(is_so: Callable[[], object]) -> None:
    limit = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < limit
        time.sleep(0.005)


def wait_until_full(pipe: IO[str]) -> None:
    """Wait until the writer of a long line is blocked, because nobody reads the pipe.

    A pipe has 16 pages of 4 KiB, and what came before the line takes up at most one of them.
    """
    in_it = bytearray(4)

    def is_full() -> bool:
        fcntl.ioctl(pipe, termios.FIONREAD, in_it)
        return int.from_bytes(in_it, sys.byteorder) >= 15 << 12

    wait_until(is_full)


def imported(source: str, package: str) -> set[str]:
    """Return what a source imports of a package, for type checking and in functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    inside = f"{package}."
    return {name.removeprefix(inside) for name in names if name.startswith(inside)}
