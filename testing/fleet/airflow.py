"""Airflow as it is deployed: an API server, a DAG processor, and a scheduler with LocalExecutor.

All on one PostgreSQL, through psycopg, which the fleet has anyway. Without a triggerer: nothing is
deferred.
"""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from testing.postgres import Postgres

DATABASE = "airflow"
PATIENCE = 240
"""Seconds until a process is healthy; on a slow machine each takes ten to thirty."""
LONGEST = 3600
"""Seconds that a run may take."""

# Every try of every task that has ended; a task's last one is not in the history yet.
TRIES = """
WITH tries AS (
  SELECT pool, pid, start_date, end_date FROM task_instance
  UNION ALL SELECT pool, pid, start_date, end_date FROM task_instance_history
)
SELECT pool, pid, extract(epoch FROM start_date) AS began, extract(epoch FROM end_date) AS ended
FROM tries WHERE start_date < end_date
"""


def settings(home: Path, dags: Path, server: Postgres, *, at_once: int) -> dict[str, str]:
    """Return the variables that all processes of one Airflow need alike."""
    url = f"postgresql+psycopg://postgres@/{DATABASE}?host={server.folder}"
    api, logs = _free_ports()
    given = {
        "CORE__LOAD_EXAMPLES": False,
        "CORE__DAGS_FOLDER": dags,
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": at_once,
        "DATABASE__SQL_ALCHEMY_CONN": url,
        # It would be derived for asyncpg, which is not installed.
        "DATABASE__SQL_ALCHEMY_CONN_ASYNC": url,
        # Tasks speak with the API server alone, which checks who signed what they show.
        "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{api}/execution/",
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "API__SECRET_KEY": secrets.token_hex(32),
        "API__HOST": "127.0.0.1",
        "API__PORT": api,
        "API__WORKERS": 1,
        "LOGGING__WORKER_LOG_SERVER_PORT": logs,
    }
    return {"AIRFLOW_HOME": str(home)} | {
        f"AIRFLOW__{name}": str(value) for name, value in given.items()
    }


@dataclass(frozen=True)
class Airflow:
    """A command, the variables it is given, and the database that knows what came of it."""

    command: Path
    variables: dict[str, str]
    server: Postgres
    home: Path

    def run(self, *arguments: str) -> int:
        """Run a command to its end, with what it says in a file; return its exit code."""
        with (self.home / "log").open("ab") as log:
            done = subprocess.run(
                [self.command, *arguments],
                cwd=self.home,
                env=self.variables,
                stdout=log,
                stderr=log,
                check=False,
            )
        return done.returncode

    def migrate(self) -> int:
        """Make the database and its tables."""
        self.server.run(f"CREATE DATABASE {DATABASE}")
        return self.run("db", "migrate")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start the processes, each when the one before is healthy, and stop them at the end."""
        with ExitStack() as started:
            self._start(started, "api-server", lambda: self._healthy("metadatabase"))
            self._start(started, "dag-processor", lambda: self._rows("SELECT 1 FROM dag"))
            self._start(started, "scheduler", lambda: self._healthy("scheduler"))
            yield

    def trigger(self, dag: str, run: str) -> dict[str, list[str]]:
        """Run a DAG to its end; return the states in which the instances of its tasks ended.

        Raises:
            TimeoutError: It goes on for too long.

        """
        asked = f"dag_id = '{dag}' AND run_id = '{run}'"
        assert self.run("dags", "unpause", dag) == 0
        assert self.run("dags", "trigger", dag, "--run-id", run) == 0
        ended = f"SELECT 1 FROM dag_run WHERE {asked} AND state IN ('success', 'failed')"  # noqa: S608
        _wait(f"the run {run} of {dag}", LONGEST, lambda: self._rows(ended))
        states: dict[str, list[str]] = {}
        for row in self._rows(f"SELECT task_id, state FROM task_instance WHERE {asked}"):  # noqa: S608
            states.setdefault(row["task_id"], []).append(str(row["state"]))
        return states

    def at_once(self) -> dict[str, int]:
        """Return how many tries have been under way at once, at the most, in each pool."""
        most: dict[str, int] = {}
        tries = self._rows(TRIES)
        for pool in sorted({each["pool"] for each in tries}):
            own = [each for each in tries if each["pool"] == pool]
            most[pool] = max(
                sum(other["began"] <= each["began"] < other["ended"] for other in own)
                for each in own
            )
        return most

    def processes(self) -> tuple[int, int]:
        """Return how many tries there were, and in how many processes."""
        tries = self._rows(TRIES)
        return len(tries), len({each["pid"] for each in tries})

    def _rows(self, query: str) -> list[dict[str, Any]]:
        return self.server.rows(query, DATABASE)

    def _healthy(self, part: str) -> bool:
        base = self.variables["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"].removesuffix("/execution/")
        # It is not there yet, or says what it lacks with a status of its own.
        with suppress(OSError), closing(urlopen(f"{base}/api/v2/monitor/health")) as said:  # noqa: S310
            return bool(json.load(said)[part]["status"] == "healthy")
        return False

    def _start(self, started: ExitStack, name: str, healthy: Callable[[], object]) -> None:
        path = self.home / f"{name}.log"
        log = started.enter_context(path.open("wb"))
        process = subprocess.Popen(
            [self.command, name], cwd=self.home, env=self.variables, stdout=log, stderr=log
        )
        started.callback(_stop, process)

        def has_started() -> object:
            assert process.poll() is None, path.read_text()
            return healthy()

        _wait(name, PATIENCE, has_started)


def _wait(what: str, seconds: int, done: Callable[[], object]) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            message = f"{what} is not there after {seconds} s"
            raise TimeoutError(message)
        time.sleep(2)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports() -> tuple[int, int]:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        return one.getsockname()[1], two.getsockname()[1]
