"""How far the log was delivered, and which entries of the days that a run reads again."""

from __future__ import annotations

from collections import OrderedDict
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from tap_captivateiq_audit.entries import EARLIEST, parse_time, time_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

REPLICATION_KEY = "created_at"
VALUE = "replication_key_value"
LOOKBACK = "lookback"


class Bookmark:
    """What a target has of the log.

    `newest` is the time of the newest entry delivered. It is never ahead of the earlier of the
    server's clock and ours, and never moves back. Entries within the lookback before it are known
    by their ids.
    """

    def __init__(
        self,
        lookback: timedelta,
        since: datetime | None = None,
        newest: datetime | None = None,
        ids: Mapping[str, int] | None = None,
    ) -> None:
        """Start with nothing delivered, at `since` or at the start of the log.

        Or continue after `newest`, with the ids (and their seconds since 1970) from `since` on.
        """
        self.newest = newest
        self.has_moved = False
        """Whether anything was delivered since the bookmark was made."""
        self._since = since
        self._lookback = lookback
        self._ids = OrderedDict(sorted((ids or {}).items(), key=itemgetter(1)))

    @classmethod
    def from_state(cls, state: Mapping[str, object], lookback: timedelta) -> Bookmark:
        """Return the bookmark in a stream's state.

        The state may lack ids, if a person wrote it, and a person may have changed its time: then
        nothing before that time is read again, and everything after it is. A bookmark that cannot
        be read raises AttributeError, KeyError, OverflowError, TypeError or ValueError.
        """
        value: Any = state[VALUE]
        newest = parse_time(value)
        if newest.year < EARLIEST:
            message = "a time before anything can be"
            raise ValueError(message)
        if LOOKBACK not in state:
            return cls(lookback, newest, newest)
        kept: Any = state[LOOKBACK]
        at, since, ids = parse_time(kept["at"]), parse_time(kept["since"]), kept["ids"]
        if kept.keys() != {"at", "since", "ids"} or {type(each) for each in ids.values()} - {int}:
            message = "not as this tap writes it"
            raise TypeError(message)
        if at != newest:
            return cls(lookback, newest, newest)
        return cls(lookback, since, newest, ids)

    @property
    def start(self) -> datetime | None:
        """The time to read from; None is the start of the log."""
        if self.newest is None or self._since is None:
            return self._since
        return max(self._since, self.newest - self._lookback)

    def is_ahead_of(self, latest: datetime) -> bool:
        """Whether entries up to a time would be skipped, or count as delivered."""
        return any(time and time > latest for time in (self.newest, self.start))

    def has(self, entry_id: str) -> bool:
        """Whether an entry was delivered before."""
        return entry_id in self._ids

    def add(self, entry_id: str, created: datetime, now: datetime) -> None:
        """Note that an entry was delivered; `now` is the earlier of the two clocks."""
        self._ids[entry_id] = int(created.timestamp())
        self.has_moved = True
        created = min(created, now)
        if self.newest is None or created > self.newest:
            self.newest = created
        # The ids of what the next run does not read again are not needed.
        oldest = (self.newest - self._lookback).timestamp() - 1
        while self._ids and next(iter(self._ids.values())) < oldest:
            self._ids.popitem(last=False)

    def write_to(self, state: dict[str, object]) -> None:
        """Write the bookmark into a stream's state, which shares nothing with it."""
        if self.newest is None:
            return
        # The ids are known from this time on: a longer lookback must not repeat earlier entries.
        since = self.start or self.newest - self._lookback
        state[VALUE] = at = time_text(self.newest)
        state[LOOKBACK] = {"at": at, "since": time_text(since), "ids": dict(self._ids)}
