"""The databases that all tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest
from loaded import Record, load_duckdb, load_postgres

from testing.postgres import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Load(Protocol):
    def __call__(self, *records: Record) -> str: ...


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Yield the URL of a PostgreSQL."""
    with postgres() as running:
        yield running.url.replace("+psycopg", "")


@pytest.fixture(params=["duckdb", "postgres"])
def load(request: pytest.FixtureRequest, tmp_path: Path) -> Load:
    """What loads entries, and returns where they are: a test runs on each database."""

    def loaded(*records: Record) -> str:
        if request.param == "duckdb":
            return load_duckdb(tmp_path / "audit.duckdb", records)
        return load_postgres(request.getfixturevalue("server"), records)

    return loaded
