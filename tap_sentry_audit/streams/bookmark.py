"""How far one organization's log has been delivered, and which of its late entries.

Entries can turn up behind others that were already read: Sentry's regions hand them over
later. So each run reads again a while before the bookmark, and the state remembers the ids
delivered in that while: late entries are found, and nothing comes twice.
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

_SECOND = timedelta(seconds=1)


class Bookmark:
    """What a target has of one organization's log.

    `newest` is the time of the newest entry delivered, never moving back and never ahead of the
    earlier of the server's clock and our own: neither an entry with a wrong date nor a server
    whose clock runs ahead may hide the entries that follow.
    """

    def __init__(self, lookback: timedelta, since: datetime | None = None) -> None:
        """Begin with nothing delivered, at `since` or at the start of the log."""
        self.newest: datetime | None = None
        self._lookback = lookback
        self._seconds = round(lookback.total_seconds())
        self._since = since
        self._ids: OrderedDict[str, int] = OrderedDict()
        self._forgotten = 0

    @classmethod
    def from_state(cls, state: Mapping[str, object], lookback: timedelta) -> Bookmark:
        """Return the bookmark that a partition's state holds.

        A state without ids works (an older or a hand-made one): then nothing before its time
        is read again, and what lies at that very time comes again.

        Raises:
            AttributeError, KeyError, OverflowError, TypeError, ValueError: It cannot be read.

        """
        newest = parse_time(str(state[VALUE]))
        kept = state.get(LOOKBACK, {})
        bookmark = cls(lookback, since=newest)
        if not isinstance(kept, dict):
            message = "the lookback is no object"
            raise TypeError(message)
        if kept:
            seconds, first = timedelta(seconds=kept["seconds"]), kept.get("since")
            since = max(newest - seconds, parse_time(first)) if first else newest - seconds
            # A time that was set back by hand leaves nothing before it known.
            bookmark = cls(lookback, since=min(since, newest))
            # By time, so that a date in the future does not keep those before it from going.
            ids = {str(key): int(seconds) for key, seconds in kept["ids"].items()}
            bookmark._ids.update(sorted(ids.items(), key=itemgetter(1)))
        bookmark.newest = newest
        assert bookmark.start  # noqa: S101  (a time too early to look back from raises here)
        return bookmark

    @classmethod
    def at(cls, time: datetime, lookback: timedelta) -> Bookmark:
        """Return the bookmark of one who has all that lies before a time, or before now."""
        time = min(time, datetime.now(UTC))
        bookmark = cls(lookback, since=time)
        bookmark.newest = time
        return bookmark

    @property
    def start(self) -> datetime | None:
        """From where to read; nothing means from the first entry of all."""
        if self.newest is None or self._since is None:
            return self._since
        return max(self._since, self.newest - self._lookback)

    def has(self, entry_id: str) -> bool:
        """Whether an entry was delivered before."""
        return entry_id in self._ids

    def add(self, entry_id: str, created: datetime, server_time: datetime) -> None:
        """Take note that an entry was delivered, when the server's clock showed a time."""
        self._ids[entry_id] = seconds = math.ceil(created.timestamp())
        now = min(server_time, datetime.now(UTC))
        if created > now:
            created, seconds = now, math.ceil(now.timestamp())
        if self.newest is None or created > self.newest:
            self.newest = created
            self._forget(seconds)

    def end_at(self, end: datetime, server_time: datetime) -> None:
        """Take note that a range was read to its end without an entry, if none was ever delivered.

        The server's clock is known to a second, rounded up.
        """
        if self.newest is None:
            self.newest = min(end, server_time - _SECOND, datetime.now(UTC))

    def to_state(self) -> dict[str, object]:
        """Return what a partition's state is to hold of this bookmark; `from_state` reads it."""
        kept: dict[str, object] = {"seconds": self._seconds}
        if self._since:
            kept["since"] = format_time(self._since)
        state: dict[str, object] = {LOOKBACK: kept | {"ids": dict(self._ids)}}
        if self.newest is not None:
            state[VALUE] = format_time(self.newest)
        return state

    def _forget(self, now: int) -> None:
        if now == self._forgotten:
            return
        self._forgotten = now
        # A second more than is read again, for searches in whole seconds begin before.
        while self._ids and next(iter(self._ids.values())) < now - self._seconds - 1:
            self._ids.popitem(last=False)
