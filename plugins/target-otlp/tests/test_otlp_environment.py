"""A .env file above a virtual environment: it fills in what the environment lacks, and no more."""

from __future__ import annotations

import json
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from testing.fake_receiver import FakeReceiver
from testing.forked import Run
from testing.otlp_target import ENVIRONMENT, record, schema, state


class Project:
    """A folder with a virtual environment in it, and a .env file beside that."""

    def __init__(self, folder: Path) -> None:
        self.dotenv = folder / ".env"
        self._folder = folder / ".venv"
        venv.create(self._folder, symlinks=True)
        [packages] = self._folder.glob("lib/*/site-packages")
        for each in Path(sysconfig.get_path("purelib")).iterdir():
            (packages / each.name).symlink_to(each)

    def run(self, *arguments: str, **environment: str) -> Run:
        """Send one record, from the root of the file system, as a scheduler may."""
        messages = [schema(), record(1), state(1)]
        done = subprocess.run(
            [self._folder / "bin" / "python", "-m", "target_otlp", *arguments],
            cwd="/",
            env={**ENVIRONMENT, **environment},
            input="".join(f"{json.dumps(message)}\n" for message in messages),
            capture_output=True,
            text=True,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize(
    ("endpoint", "headers"),
    [
        ("TARGET_OTLP_ENDPOINT", 'TARGET_OTLP_HEADERS={"api-key": "hidden1"}'),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS=api-key=hidden1"),
    ],
)
def test_the_environment_wins_and_the_file_fills_in_what_it_lacks(
    project: Project, endpoint: str, headers: str
) -> None:
    with FakeReceiver() as server, FakeReceiver() as other:
        project.dotenv.write_text(f"{endpoint}={other.url}/hidden2\n{headers}\n")
        run = project.run("--config=ENV", **{endpoint: server.url})

    assert (run.returncode, run.stdout) == (0, '{"done": 1}\n')
    assert [request.headers["api-key"] for request in server.requests] == ["hidden1"]
    assert not other.requests
    assert f"Settings that the environment lacks come from {project.dotenv}" in run.log("INFO")
    assert "hidden" not in run.stderr


def test_a_variable_that_is_empty_in_the_environment_is_not_taken_from_the_file(
    project: Project,
) -> None:
    with FakeReceiver() as server:
        project.dotenv.write_text(f"TARGET_OTLP_ENDPOINT={server.url}\n")
        run = project.run("--config=ENV", TARGET_OTLP_ENDPOINT="")

        assert not server.requests
    assert run.returncode == 1
    assert run.log("ERROR")[0].startswith("endpoint is missing: ")


def test_the_file_counts_for_config_env_alone(project: Project, tmp_path: Path) -> None:
    with FakeReceiver() as server, FakeReceiver() as other:
        project.dotenv.write_text(f"TARGET_OTLP_ENDPOINT={other.url}\nOTEL_SERVICE_NAME=other\n")
        (tmp_path / "config.json").write_text(json.dumps({"endpoint": server.url}))
        run = project.run(f"--config={tmp_path / 'config.json'}")

        assert len(server.requests) == 1
        assert not other.requests
        assert b"other" not in server.requests[0].body
    assert run.returncode == 0
    assert str(project.dotenv) not in run.stderr


@pytest.mark.parametrize("content", [b"TARGET_OTLP_HEADERS=hidden\xff\n", b"A=hidden\0\n"])
def test_a_file_that_cannot_be_read_is_one_clear_error(project: Project, content: bytes) -> None:
    with FakeReceiver() as server:
        project.dotenv.write_bytes(content)
        run = project.run("--config=ENV", TARGET_OTLP_ENDPOINT=server.url)

        assert not server.requests
    assert (run.returncode, run.stdout) == (1, "")
    assert run.log("ERROR")[0].startswith(f"Mend {project.dotenv} or move it away: ")
    assert "Traceback" not in run.stderr
    assert "hidden" not in run.stderr
