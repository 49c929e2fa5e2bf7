"""Load the demo's log into DuckDB, for the page to look at: `make page`."""

from __future__ import annotations

import fcntl
import sys
from datetime import UTC, datetime, timedelta

from demo import ROOT
from demo.incidents import incidents
from demo.project import Project
from testing.fake_sentry import FakeSentry, Log, entries

ENTRIES = 5_000
DAYS = 90
PROJECT = Project(
    ROOT / "output" / "page",
    {
        "TAP_SENTRY_AUDIT_AUTH_TOKEN": "token",
        "TAP_SENTRY_AUDIT_ORGANIZATION": "acme",
        "TARGET_DUCKDB_PATH": "loading.duckdb",
    },
)


DATABASE = PROJECT.folder / "audit.duckdb"


def main() -> None:
    """Load it, unless somebody else has done so while this one waited."""
    PROJECT.folder.parent.mkdir(exist_ok=True)
    with PROJECT.folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not DATABASE.exists():
            _make()


def _make() -> None:
    """Load it as an export would: a run, one that fails, and one that brings what came since."""
    PROJECT.start_afresh()
    now = datetime.now(UTC)
    log = Log(entries.even(ENTRIES, DAYS, until=now - timedelta(minutes=10)))
    with FakeSentry({"acme": log}) as sentry:
        _load(sentry.host)
        _load(sentry.host, fails=True, TAP_SENTRY_AUDIT_AUTH_TOKEN="expired")  # noqa: S106
        for incident in incidents(now):
            log.put(incident)
        _load(sentry.host)
    # Under its name only once it is whole.
    (PROJECT.folder / "loading.duckdb").rename(DATABASE)


def _load(host: str, *, fails: bool = False, **settings: str) -> None:
    run = ("run", "tap-sentry-audit", "target-duckdb")
    code = PROJECT.meltano(*run, TAP_SENTRY_AUDIT_HOST=host, **settings)
    if bool(code) != fails:
        sys.exit(f"The demo's log could not be loaded. {PROJECT.log} says why.")


if __name__ == "__main__":
    if sys.version_info >= (3, 14):
        sys.exit(
            "The demo's database needs Python 3.13 or older (docs/targets/duckdb.md). "
            "Name another: make page SENTRY_AUDIT_PAGE_DATABASE=postgresql://…"
        )
    main()
