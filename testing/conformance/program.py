"""A program, how it differs from the others, and how a test runs it."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, ClassVar, Protocol

import pytest

from testing import forked
from testing.local_server import LocalServer

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator, Mapping, Sized
    from contextlib import AbstractContextManager
    from pathlib import Path

    from testing.forked import Run


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


class _NotFound(BaseHTTPRequestHandler):
    """Answers every request with 404."""

    def do_GET(self) -> None:
        self.send_error(404)

    def do_POST(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


class EveryProgram:
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


def refusals(run: Run, server: Server) -> list[str]:
    """Return what a program says that refused its settings, before its first request."""
    assert (run.returncode, run.stdout) == (1, ""), run.stderr
    assert "Traceback" not in run.stderr
    assert "hidden" not in run.stderr
    assert not server.requests
    # The SDK adds a line of its own.
    return [line for line in run.log("ERROR") if line != "Config validation failed"]
