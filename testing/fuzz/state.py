"""What each STATE promises about the records before it, checked without a kill.

A bookmark says: of all that lies before this time, the target has everything. Its lookback ids
say: these, of the time that is read again, the target has. So whatever run goes on from a STATE
loses nothing and repeats nothing, and no lucky kill is needed to see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from testing.sentry_model import Entry

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Bookmark:
    """An organization's part of a state: times in microseconds since 1970, and what is known.

    A run that goes on from it reads what was created at `start` or later, and takes what
    `ids` holds for delivered.
    """

    time: int | None = None
    start: int = 0
    ids: frozenset[str] = frozenset()

    @classmethod
    def of(cls, state: object, organization: str) -> Self:
        """Return an organization's bookmark, an empty one where the state has none."""
        bookmarks = state["bookmarks"] if isinstance(state, dict) else {}
        for partition in bookmarks.get("audit_logs", {}).get("partitions", []):
            if partition["context"]["organization"] == organization:
                return cls._of_partition(partition)
        return cls()

    @classmethod
    def _of_partition(cls, partition: dict[str, Any]) -> Self:
        lookback = partition.get("lookback", {})
        ids = frozenset(lookback.get("ids", ()))
        if "replication_key_value" not in partition:
            return cls(ids=ids)
        time = _microseconds(partition["replication_key_value"])
        start = time - 1_000_000 * lookback.get("seconds", 0)
        if "since" in lookback:
            start = max(start, _microseconds(lookback["since"]))
        return cls(time, start, ids)


@dataclass(frozen=True)
class Run:
    """What is known of one organization in a run.

    `state` is what the run was given, `sent` are the ids that the target had by then. `standing`
    are the entries that the server could show all the time, `known` all that it ever had, by id.
    """

    organization: str
    state: object
    sent: frozenset[str]
    standing: list[Entry]
    known: Mapping[str, Entry]

    def broken_promises(self, messages: Iterable[dict[str, Any]]) -> list[str]:
        """Return what is wrong with the organization's bookmark in the STATEs among messages."""
        problems: list[str] = []
        sent = set(self.sent)
        begun = previous = Bookmark.of(self.state, self.organization)
        for message in messages:
            if message["type"] == "RECORD":
                if message["record"]["organization"] == self.organization:
                    sent.add(message["record"]["id"])
            elif message["type"] == "STATE":
                bookmark = Bookmark.of(message["value"], self.organization)
                problems += self._broken_by(bookmark, sent)
                if bookmark.time is not None:
                    if bookmark.time < (previous.time or 0):
                        problems.append("a STATE's bookmark lies before the last one")
                    # Until it moves, what turned up since the last run may still have to come.
                    if bookmark.time != begun.time:
                        problems += self._skipped_by(bookmark.time, sent)
                previous = bookmark
        return [f"{self.organization}: {problem}" for problem in problems]

    def _broken_by(self, bookmark: Bookmark, sent: set[str]) -> Iterator[str]:
        times = {key: self.known[key].at for key in sent if key in self.known}
        again = {key for key, at in times.items() if at >= bookmark.start} - bookmark.ids
        unsent = bookmark.ids - sent
        if again:
            yield f"after a STATE, {len(again)} entries would come twice"
        if unsent:
            yield f"a STATE knows {len(unsent)} entries that were not sent before it"
        if bookmark.time is not None and bookmark.time > max(times.values(), default=0):
            yield "a STATE's bookmark is ahead of all records before it"

    def _skipped_by(self, time: int, sent: set[str]) -> Iterator[str]:
        skipped = [entry for entry in self.standing if entry.at < time and entry.id not in sent]
        if skipped:
            yield f"a STATE's bookmark skips {len(skipped)} entries"


def _microseconds(time: str) -> int:
    return (datetime.fromisoformat(time) - _EPOCH) // _MICROSECOND
