"""How far an organization's log has been delivered, and which of its late entries.

Entries can appear behind others that were read before: Sentry's regions forward them with a delay.
So each run also reads a lookback before the bookmark, and the state holds the ids delivered in
it: late entries are found, and no entry is delivered twice.

Entries turn up late relative to now. Where the log is read later than a lookback after its entries,
as in a backfill, the state of an unfinished run need not hold all these ids: it holds a mark, up to
which everything was delivered, and the ids of that millisecond.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING

from tap_sentry_audit.api.timestamps import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

VALUE = "replication_key_value"
LOOKBACK = "lookback"
LAST_READ = "last_read"
"""When a log was last read to its end, by the server's clock."""

CLOCK_STEP = timedelta(seconds=1)
"""The server's clock is known to a second, rounded up."""


class Bookmark:
    """What a target has of one organization's log.

    `newest` is the time of the newest entry delivered. It never moves back, nor ahead of the
    server's clock or our own: neither an entry with a wrong date nor a server whose clock runs
    ahead may hide the entries that follow.
    """

    def __init__(
        self, lookback: timedelta, since: datetime | None = None, newest: datetime | None = None
    ) -> None:
        """Start with no ids, at `since` or at the beginning of the log."""
        self.newest = newest
        self._lookback = lookback
        self._seconds = round(lookback.total_seconds())
        self._since = since
        self._ids: OrderedDict[str, int] = OrderedDict()
        self._forgotten = 0
        self._settled_before: datetime | None = None
        self._mark: datetime | None = None
        self._ids_at_mark: dict[str, int] = {}

    @classmethod
    def from_state(cls, state: Mapping[str, object], lookback: timedelta) -> Bookmark:
        """Return the bookmark in a partition's state.

        A state may lack the ids, if it is older or written by hand: then nothing before its time
        is read again, and entries at that very time are delivered again.

        Raises:
            AttributeError, KeyError, OverflowError, TypeError, ValueError: It cannot be read.

        """
        newest = parse_time(str(state[VALUE]))
        kept = state.get(LOOKBACK, {})
        if not isinstance(kept, dict):
            message = "the lookback is not an object"
            raise TypeError(message)
        since, ids = newest, {}
        if kept:
            since = newest - timedelta(seconds=kept["seconds"])
            if kept.get("since"):
                since = max(since, parse_time(kept["since"]))
            ids = {str(key): int(seconds) for key, seconds in kept["ids"].items()}
        # If the time was set back by hand, no ids before it are known.
        bookmark = cls(lookback, min(since, newest), newest)
        # In order of time, so that a date in the future does not keep older ids from `_forget`.
        bookmark._ids.update(sorted(ids.items(), key=itemgetter(1)))
        assert bookmark.start  # noqa: S101  (raises if the time is too early to look back from)
        return bookmark

    @classmethod
    def at(cls, time: datetime, lookback: timedelta) -> Bookmark:
        """Return the bookmark of a target that has everything before a time, or before now."""
        time = min(time, datetime.now(UTC))
        return cls(lookback, time, time)

    @property
    def start(self) -> datetime | None:
        """The time to read from, or None to read from the first entry."""
        if self.newest is None or self._since is None:
            return self._since
        return max(self._since, self.newest - self._lookback)

    def begin_reading(self, server_time: datetime) -> None:
        """Make do with a mark as long as the entries are older than the lookback.

        `server_time` is the server's clock when it sent the first page. Entries are added in order
        from now on, but for late ones.
        """
        now = min(server_time - CLOCK_STEP, datetime.now(UTC))
        self._settled_before = now - self._lookback

    def end_reading(self) -> None:
        """Hold the ids of the whole lookback again: the log was read to its end."""
        self._settled_before = self._mark = None

    def has(self, entry_id: str) -> bool:
        """Whether an entry was delivered before."""
        return entry_id in self._ids

    def add(self, entry_id: str, created: datetime, server_time: datetime) -> None:
        """Record the delivery of an entry that was read at `server_time`."""
        seconds = math.ceil(created.timestamp())
        now = min(server_time, datetime.now(UTC))
        created = min(created, now)
        if self.newest is None or created > self.newest:
            self._move_to(created)
        self._ids[entry_id] = seconds
        if self._mark and created >= self._mark:
            self._ids_at_mark[entry_id] = seconds

    def to_state(self) -> dict[str, object]:
        """Return the bookmark as `from_state` reads it from a partition's state."""
        since, ids = (self._mark, self._ids_at_mark) if self._mark else (self._since, self._ids)
        kept: dict[str, object] = {"seconds": self._seconds}
        if since:
            kept["since"] = format_time(since)
        state: dict[str, object] = {LOOKBACK: kept | {"ids": dict(ids)}}
        if self.newest is not None:
            state[VALUE] = format_time(self.newest)
        return state

    def _move_to(self, newest: datetime) -> None:
        millisecond = newest.replace(microsecond=newest.microsecond // 1000 * 1000)
        if self._settled_before is None or newest >= self._settled_before:
            self._mark = None
        elif self.newest is None or self.newest < millisecond:
            self._mark = millisecond
            self._ids_at_mark.clear()
        self.newest = newest
        self._forget(math.ceil(newest.timestamp()))

    def _forget(self, now: int) -> None:
        if now == self._forgotten:
            return
        self._forgotten = now
        # A second more than the lookback: searches in whole seconds start earlier.
        while self._ids and next(iter(self._ids.values())) < now - self._seconds - 1:
            self._ids.popitem(last=False)
