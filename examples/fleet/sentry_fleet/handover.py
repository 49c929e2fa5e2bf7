"""From the shards of a first backfill to the steady state: the state that a group begins with.

A shard that began to be read at a time T has everything that could be read at T. Entries turn up
late, by less than a lookback, so a shard can lack entries between T minus a lookback and its end.
The bookmark is where the earliest of such gaps begins, and never later than one lookback before
the end of the last range. What follows it is read again, and the upsert writes it once. From
there on the tap's own lookback finds what turns up late.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sentry_fleet import database
from sentry_fleet.database import Shard
from sentry_fleet.loads import bookmarks
from sentry_fleet.settings import FleetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sentry_fleet.pipe import State
    from sentry_fleet.settings import Fleet, Group

CLOCKS = timedelta(minutes=5)
"""How far the database's clock may be from the server's."""


def resume_at(shards: Sequence[Shard], lookback: timedelta) -> datetime:
    """Return the time from which the steady state must read, given shards without a gap."""
    unsettled = [each.began for each in shards if each.began < each.range.end + lookback + CLOCKS]
    return min(shards[-1].range.end, *(unsettled or [shards[-1].range.end])) - lookback - CLOCKS


def hand_over(fleet: Fleet, *, replace: bool = False) -> list[str]:
    """Make the state of each organization whose ranges are all loaded; return what is in the way.

    An organization that has a bookmark keeps it, unless `replace` says otherwise. A group that is
    being read is left out.
    """
    database.prepare(fleet.database)
    loaded = database.shards_loaded(fleet.database)
    problems = []
    for group in fleet.groups:
        try:
            problems += _hand_over(fleet, group, loaded, replace=replace)
        except FleetError as error:
            problems.append(str(error))
    return problems


def _hand_over(
    fleet: Fleet,
    group: Group,
    loaded: Mapping[tuple[str, datetime | None, datetime], datetime],
    *,
    replace: bool,
) -> list[str]:
    lookback = timedelta(seconds=fleet.lookback_seconds)
    problems = []
    with database.saved_state(fleet.database, group.name) as saved:
        known = bookmarks(saved.state)
        made = {}
        for slug in group.organizations:
            if slug in known and not replace:
                continue
            keys = {each: (slug, each.start, each.end) for each in fleet.ranges}
            missing = [each.name for each in fleet.ranges if keys[each] not in loaded]
            if not keys:
                problems.append(f"{slug}: there is no [backfill] to hand over from")
            elif missing:
                problems.append(f"{slug}: not loaded: the range to {', '.join(missing)}")
            else:
                shards = [Shard(each, loaded[key]) for each, key in keys.items()]
                made[slug] = resume_at(shards, lookback)
        if made:
            saved.save(_with_bookmarks(saved.state, made))
    return problems


def _with_bookmarks(state: State | None, made: dict[str, datetime]) -> State:
    """Return a state in which some organizations have a bookmark, and all else is as it was."""
    bookmarks = dict((state or {}).get("bookmarks", {}))
    stream = dict(bookmarks.get("audit_logs", {}))
    others = [
        each
        for each in stream.get("partitions", ())
        if each["context"].get("organization") not in made
    ]
    stream["partitions"] = others + [
        {"context": {"organization": slug}, "replication_key_value": moment.isoformat()}
        for slug, moment in made.items()
    ]
    return {"bookmarks": bookmarks | {"audit_logs": stream}}
