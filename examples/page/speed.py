"""How long views of a large log take: `make page-speed`."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import duckdb
import psycopg
import streamlit as st
from streamlit.testing.v1 import AppTest

from testing.postgres import postgres, programs_with

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
ENTRIES = 200_000
TRIES = 5
LOOKS = {
    "all": {},
    "an event and an actor": {"event": "member.edit", "actor": "user7@acme.example"},
    "words that few entries have": {"q": "serial-19999"},
    "words that no entry has": {"q": "nothing has this"},
    "page 1,000": {"page": "1000"},
    "an entry": {"entry": "acme/150001"},
    "a day's detections": {"view": "Detections"},
}

# A year of 20 events by 400 people, 800 bytes each, of which no two are alike.
_ROW = """SELECT CAST(n AS varchar), CASE n % 3 WHEN 0 THEN 'globex' ELSE 'acme' END,
CAST('{{"id": "' || n % 400 || '", "name": "User ' || n % 400 || '", "username": "user' || n % 400
|| '@acme.example", "email": "user' || n % 400 || '@acme.example", "lastActive": "' || n
|| '", "avatar": "' || repeat('0123456789', 40) || '", "has2fa": true, "emails": [' || n || ']}}'
AS {json}),
CASE n % 20 WHEN 0 THEN 'member.edit' WHEN 1 THEN 'org.edit' WHEN 2 THEN 'member.invite'
WHEN 3 THEN 'project.edit' WHEN 4 THEN 'sso-identity.link' ELSE 'project.event' || n % 20 END,
'203.0.113.' || n % 250, 'did this for the time no. ' || n, n, NULL, NULL,
CAST('{{"slug": "web-' || n % 99 || '", "email": "person' || n % 5000
|| CASE n % 60 WHEN 2 THEN '@gmail.com' ELSE '@acme.example' END || '", "role": "'
|| CASE n % 300 WHEN 0 THEN 'owner' ELSE 'member' END || '", "scopes": ["org:read"], "serial": "'
|| 'serial-' || n || '", "public": false, "rule": {{"frequency": 30, "actions": [{{"id": "mail"}}]'
|| '}}}}' AS {json}),
CAST('{now}' AS timestamp) - ({entries} - n) * INTERVAL '150 seconds', NULL
FROM {numbers}"""
_TABLE = """CREATE SCHEMA sentry;
CREATE TABLE sentry.audit_logs ({id} varchar PRIMARY KEY, organization varchar, actor {json},
event varchar, "ipAddress" varchar, note varchar, "targetObject" bigint, "targetUser" varchar,
"targetUserDetail" {json}, data {json}, "dateCreated" timestamp, "additionalFields" {json})"""


def main() -> None:
    """Measure both databases, and how fast this machine currently is."""
    # Streamlit warns of each run that no browser sees.
    logging.disable(logging.WARNING)
    _say(f"a loop of 10 million additions: {_loop():.2f} s of CPU time")
    with TemporaryDirectory() as folder:
        place = f"{folder}/audit.duckdb"
        with duckdb.connect(place) as connection:
            connection.execute(_statements("JSON", f"range({ENTRIES}) AS numbers(n)"))
        measure("DuckDB", place)
    with _postgres() as url, psycopg.connect(url, autocommit=True) as server:
        server.execute(
            _statements("jsonb", f"generate_series(0, {ENTRIES - 1}) AS numbers(n)").encode()
        )
        server.execute("VACUUM ANALYZE sentry.audit_logs")
        measure("PostgreSQL", url)
        for name in ("indexes", "search"):
            start = time.perf_counter()
            try:
                server.execute(_documented(name))
            except psycopg.errors.FeatureNotSupported:
                _say("This PostgreSQL has no pg_trgm.")
            server.execute("VACUUM ANALYZE sentry.audit_logs")
            _say(f"the docs' block {name}: {time.perf_counter() - start:.1f} s")
        measure("PostgreSQL with indexes", url)


def measure(name: str, place: str) -> None:
    """Print how long each view takes in all: the queries and what Streamlit does."""
    os.environ |= {"SENTRY_AUDIT_PAGE_DATABASE": place, "MELTANO_DATABASE_URI": "sqlite:///none"}
    _say(f"{name}, {ENTRIES:,} entries: first view, then the fastest of {TRIES}, and its CPU time")
    for look, link in LOOKS.items():
        (first, _), (fastest, work) = _time(link), min(_time(link) for _ in range(TRIES))
        _say(f"  {look:30} {first:5.2f} s {fastest:5.2f} s {work:5.2f} s")


def _time(link: dict[str, str]) -> tuple[float, float]:
    """Return the seconds that an uncached view takes, and its CPU time in this process."""
    st.cache_data.clear()
    view = AppTest.from_function(_view, default_timeout=120)
    for key, value in link.items():
        view.query_params[key] = value
    view.run()
    if view.exception or view.error:
        message = f"the page failed: {view.exception or view.error}"
        raise RuntimeError(message)
    took: tuple[float, float] = view.session_state["took"]
    return took


def _view() -> None:
    """Show the page, and keep how long that took.

    Streamlit takes this as a script. Before each, AppTest looks for components, which a server does
    once.
    """
    import time  # noqa: PLC0415

    import streamlit as st  # noqa: PLC0415

    import page  # noqa: PLC0415

    start, work = time.perf_counter(), time.process_time()
    page.main()
    st.session_state["took"] = (time.perf_counter() - start, time.process_time() - work)


def _statements(json: str, numbers: str) -> str:
    now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    table = _TABLE.format(json=json, id="id")
    row = _ROW.format(json=json, now=now, entries=ENTRIES, numbers=numbers)
    return f"{table}; INSERT INTO sentry.audit_logs {row}"


def _documented(name: str) -> bytes:
    """Return the statements of a block of docs/page.md."""
    text = (REPOSITORY / "docs/page.md").read_text("utf-8")
    _, _, after = text.partition(f"<!-- test: {name} -->\n```sql\n")
    return after.partition("```")[0].encode()


def _loop() -> float:
    start, total = time.process_time(), 0
    for number in range(10_000_000):
        total += number
    return time.process_time() - start


@contextmanager
def _postgres() -> Iterator[str]:
    """Run a PostgreSQL, if possible one that has what a fast search needs."""
    with postgres(programs_with("pg_trgm")) as server:
        yield server.url.replace("+psycopg", "")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
