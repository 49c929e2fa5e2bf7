"""The two tasks: load what is new of a group, and load one shard of the first backfill."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sentry_fleet import database
from sentry_fleet.pipe import run_pipe
from sentry_fleet.settings import SERVER_LIMIT, FleetError

if TYPE_CHECKING:
    from sentry_fleet.pipe import State
    from sentry_fleet.settings import Fleet, Group


def load_group(fleet: Fleet, name: str) -> None:
    """Load what is new of a group, from the state in PostgreSQL, and save the new state there.

    As long as there is a first backfill, an organization without a bookmark waits for its handover:
    read from here, its whole log would come once more, and the handover could no longer be made.

    Raises:
        FleetError: Something could not be loaded. What was, is saved.

    """
    group = fleet.group(name)
    database.prepare(fleet.database)
    with database.saved_state(fleet.database, name) as saved:
        ready, waiting = _ready(fleet, group, saved.state)
        problem = None
        if ready:
            settings = {"auth_token": _token(group), "organizations": ready}
            loaded = run_pipe(fleet, settings, saved.state)
            if loaded.state is not None:
                saved.save(loaded.state)
            problem = loaded.problem
    if waiting:
        message = f"{name}: not yet handed over, so not read: {', '.join(waiting)}"
        raise FleetError(f"{problem}; {message}" if problem else message)
    if problem:
        message = f"{name}: {problem}"
        raise FleetError(message)


def load_shard(fleet: Fleet, organization: str, range_name: str) -> bool:
    """Load one range of an organization, unless it is loaded; return whether it was now.

    Every attempt reads the range from its start: rows that are there are written again. The
    state that the pipe leaves is of no use to anybody: it knows nothing of the other ranges.

    Raises:
        FleetError: It was not loaded whole.

    """
    group, span = fleet.group_of(organization), fleet.range(range_name)
    database.prepare(fleet.database)
    if (organization, span.start, span.end) in database.shards_loaded(fleet.database):
        return False
    began = database.now(fleet.database)
    if span.end > began:
        message = f"the range ends at {range_name}, in the future: what is still to come would lack"
        raise FleetError(message)
    share = max(1, SERVER_LIMIT // fleet.shards_at_once)
    settings: dict[str, Any] = {
        "auth_token": _token(group),
        "organization": organization,
        "end_date": span.end.isoformat(),
        "requests_per_second": share,
        "max_concurrent_requests": max(1, 24 // fleet.shards_at_once),
    }
    if span.start:
        settings["start_date"] = span.start.isoformat()
    problem = run_pipe(fleet, settings).problem
    if problem:
        message = f"{organization}, the range to {range_name}: {problem}"
        raise FleetError(message)
    database.shard_loaded(fleet.database, organization, database.Shard(span, began))
    return True


def bookmarks(state: State | None) -> dict[str, Any]:
    """Return the bookmark of each organization in a state."""
    streams = (state or {}).get("bookmarks", {})
    partitions = streams.get("audit_logs", {}).get("partitions", ())
    return {
        each["context"]["organization"]: each
        for each in partitions
        if each.get("replication_key_value")
    }


def _ready(fleet: Fleet, group: Group, state: State | None) -> tuple[list[str], list[str]]:
    known = bookmarks(state)
    waiting = [slug for slug in group.organizations if fleet.ranges and slug not in known]
    return [slug for slug in group.organizations if slug not in waiting], waiting


def _token(group: Group) -> str:
    token = os.environ.get(group.token)
    if not token:
        message = f"set {group.token} to the token of the group {group.name}"
        raise FleetError(message)
    return token
