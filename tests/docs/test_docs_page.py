"""The page that looks at the log, started as its documentation says."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from testing.fake_sentry import FakeSentry, Log, entries
from testing.postgres import postgres, programs_with
from testing.recipes import LOADERS, NEEDS_A_WHEEL, ROOT, environment, filled_in, recipes
from testing.sentry_tap import config, run_tap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

PAGE = recipes("docs/page.md")
PATIENCE = 300

# What somebody sees who opens the page: how many entries, and what went wrong.
LOOK = """
import json, sys
from streamlit.testing.v1 import AppTest
at = AppTest.from_file(sys.argv[1], default_timeout=60)
at.query_params["q"] = sys.argv[2]
at.run()
said = [[each.value for each in kind] for kind in (at.error, at.success)]
print(json.dumps([sum(len(each.value) for each in at.dataframe), *said]))
"""


@contextmanager
def served(recipe: str, home: Path, **variables: str) -> Iterator[str]:
    """Follow a recipe that serves the page, until it answers, and yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = environment(home, STREAMLIT_SERVER_PORT=str(port), **variables)
    command = ["/bin/bash", "-e", "-c", recipe]
    server = subprocess.Popen(command, cwd=ROOT, env=variables, start_new_session=True)
    address, until = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
    try:
        while server.poll() is None and time.monotonic() < until:
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        assert server.poll() is None
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(PATIENCE)


def seen(home: Path, search: str = "", **variables: str) -> tuple[int, list[str], list[str]]:
    """What the page shows with these variables."""
    python, page = ROOT / ".page/bin/python", ROOT / "examples/page/page.py"
    done = subprocess.run(
        [str(python), "-c", LOOK, str(page), search],
        cwd=ROOT,
        env=environment(home, **variables),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    rows, error, success = json.loads(done.stdout)
    return rows, error, success


def assigned(recipe: str) -> dict[str, str]:
    """The variables that a recipe sets before its command."""
    words = shlex.split(recipe)
    return dict(word.split("=", 1) for word in words[: words.index("make")])


def load(target: str, folder: Path, **settings: object) -> None:
    (folder / "target.json").write_text(json.dumps(settings | {"default_target_schema": "sentry"}))
    with FakeSentry({"acme": Log(entries.even(30))}) as sentry:
        output = run_tap(config(sentry)).stdout
    program = LOADERS / target / "venv/bin" / target
    command = [str(program), "--config", "target.json"]
    subprocess.run(
        command, cwd=folder, input=output, capture_output=True, encoding="utf-8", check=True
    )


@NEEDS_A_WHEEL
def test_make_page_serves_the_demos_log_and_says_how_its_export_did(tmp_path: Path) -> None:
    with served(PAGE["demo"], tmp_path / "home") as address:
        assert address.startswith("http://127.0.0.1:")
    demo = {
        "SENTRY_AUDIT_PAGE_DATABASE": "output/page/audit.duckdb",
        "MELTANO_DATABASE_URI": "sqlite:///output/page/.meltano/meltano.db",
        "SENTRY_AUDIT_PAGE_OVERDUE_MINUTES": "1000000",
    }
    rows, error, success = seen(tmp_path / "home", **demo)

    assert (rows, error) == (100, [])
    assert success[0].startswith("The last export succeeded")


@NEEDS_A_WHEEL
def test_the_page_shows_what_target_duckdb_has_loaded(tmp_path: Path) -> None:
    load("target-duckdb", tmp_path, path="audit.duckdb")
    recipe = filled_in(PAGE["duckdb"], **{"output/audit.duckdb": tmp_path / "audit.duckdb"})
    with served(recipe, tmp_path / "home"):
        assert seen(tmp_path / "home", **assigned(recipe))[:2] == (30, [])


def test_the_page_shows_what_target_postgres_has_loaded_to_a_role_that_only_reads(
    tmp_path: Path,
) -> None:
    with postgres() as server:
        load("target-postgres", tmp_path, sqlalchemy_url=server.url)
        server.run(PAGE["reader"])
        server.run(PAGE["indexes"])
        place = f"/postgres?host={server.folder}"
        recipe = filled_in(PAGE["postgres"], **{"localhost/sentry": place})
        with served(recipe, tmp_path / "home"):
            assert seen(tmp_path / "home", **assigned(recipe))[:2] == (30, [])


def test_the_index_for_searches_serves_the_search_of_the_page(tmp_path: Path) -> None:
    programs = programs_with("pg_trgm")
    if programs is None:
        pytest.skip("no PostgreSQL of Debian's with pg_trgm on this machine")
    with postgres(programs) as server:
        load("target-postgres", tmp_path, sqlalchemy_url=server.url)
        server.run(PAGE["search"])
        # So few entries are faster to read than to look up.
        server.run("ALTER DATABASE postgres SET enable_seqscan = off")
        address = server.url.replace("+psycopg", "")
        found = seen(tmp_path / "home", "1000001", SENTRY_AUDIT_PAGE_DATABASE=address)

        assert found[:2] == (1, [])
        used = "SELECT idx_scan FROM pg_stat_user_indexes WHERE "
        [index] = server.rows(used + "pg_get_indexdef(indexrelid) LIKE '%USING gin%'")
        assert index["idx_scan"] > 0


def test_behind_a_proxy_only_its_own_name_may_open_a_connection(tmp_path: Path) -> None:
    def answer(address: str, origin: str) -> int:
        host, port = address.removeprefix("http://").split(":")
        head = (
            f"GET /_stcore/stream HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {origin}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(head.encode())
            return int(connection.recv(4096).split()[1])

    with served(PAGE["proxy"], tmp_path / "home") as address:
        assert answer(address, "https://audit.example.com") == 101
        assert answer(address, "https://evil.example") == 403
