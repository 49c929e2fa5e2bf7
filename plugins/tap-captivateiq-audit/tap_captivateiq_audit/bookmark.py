"""How far the log was delivered, and which entries of the days that are looked at again."""

from __future__ import annotations

from collections import OrderedDict
from operator import itemgetter
from typing import TYPE_CHECKING

from tap_captivateiq_audit.entries import read_time, time_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

REPLICATION_KEY = "created_at"
VALUE = "replication_key_value"
LOOKBACK = "lookback"

_EARLIEST = 1970


class Bookmark:
    """What a target has of the log.

    `newest` is the time of the newest entry delivered, never ahead of the earlier of the server's
    clock and ours, and never moving back. What lies within the lookback before it is known by ids.
    """

    def __init__(
        self,
        lookback: timedelta,
        since: datetime | None = None,
        newest: datetime | None = None,
        ids: Mapping[str, int] | None = None,
    ) -> None:
        """Begin with nothing delivered, at `since` or at the start of the log.

        Or go on behind `newest`, with the ids (and seconds since 1970) from `since` on.
        """
        self.newest = newest
        self._since = since
        self._lookback = lookback
        self._ids = OrderedDict(sorted((ids or {}).items(), key=itemgetter(1)))

    @classmethod
    def from_state(cls, state: Mapping[str, object], lookback: timedelta) -> Bookmark:
        """Return the bookmark that a state holds.

        A state without ids works (a hand-made one), and so does one whose time was set by hand:
        nothing before that time is looked at again, and what lies behind it comes again.

        Raises:
            AttributeError, KeyError, OverflowError, TypeError, ValueError: It cannot be read.

        """
        newest = read_time(str(state[VALUE]))
        since, ids = newest, {}
        kept = state.get(LOOKBACK, {"at": None})
        if newest.year < _EARLIEST:
            message = "a time before anything can be"
            raise ValueError(message)
        if not isinstance(kept, dict):
            message = "a lookback that is no object"
            raise TypeError(message)
        if kept["at"] == state[VALUE]:
            since = read_time(kept["since"])
            ids = {str(key): int(seconds) for key, seconds in kept["ids"].items()}
        bookmark = cls(lookback, since, newest, ids)
        assert bookmark.start  # noqa: S101  (a time too early to look back from raises here)
        return bookmark

    @property
    def start(self) -> datetime | None:
        """From where to read; nothing means from the first entry of all."""
        if self.newest is None or self._since is None:
            return self._since
        return max(self._since, self.newest - self._lookback)

    def is_ahead_of(self, latest: datetime) -> bool:
        """Whether entries up to a time would be passed over, or taken for delivered."""
        return any(time and time > latest for time in (self.newest, self.start))

    def has(self, entry_id: str) -> bool:
        """Whether an entry was delivered before."""
        return entry_id in self._ids

    def add(self, entry_id: str, created: datetime, now: datetime) -> None:
        """Take note that an entry was delivered; `now` is the earlier of the two clocks."""
        self._ids[entry_id] = int(created.timestamp())
        created = min(created, now)
        if self.newest is None or created > self.newest:
            self.newest = created
        # What the next run does not look at again need not be known.
        oldest = (self.newest - self._lookback).timestamp() - 1
        while self._ids and next(iter(self._ids.values())) < oldest:
            self._ids.popitem(last=False)

    def keep_in(self, state: dict[str, object]) -> None:
        """Write this bookmark into a stream's state."""
        if self.newest is None:
            return
        # From where on the ids are known: a longer lookback must not send again what lies before.
        since = self.start or self.newest - self._lookback
        state[VALUE] = at = time_text(self.newest)
        state[LOOKBACK] = {"at": at, "since": time_text(since), "ids": self._ids}
