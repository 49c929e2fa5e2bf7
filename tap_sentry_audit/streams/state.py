"""The state given to a run: unwrapped, and refused if it cannot be used.

A state that is not understood must not count as a first run, which would send everything again.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import msgspec
from singer_sdk.exceptions import SingerSDKError

from tap_sentry_audit.streams.bookmark import LAST_READ, LOOKBACK, VALUE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_WRAPPERS = ("value", "singer_state")
"""The key of a Singer STATE message, and Meltano's (`meltano state get`)."""

_KEYS = {
    "context",
    "partitions",
    "replication_key",
    "starting_replication_value",
    "progress_markers",
    LOOKBACK,
    LAST_READ,
}
"""What the bookmark of a stream that has delivered nothing yet can have."""

_CURE = (
    'Give the value of the last STATE message, an object such as {"bookmarks": {...}}, or leave '
    "the state out to read everything again"
)


class StateError(SingerSDKError):
    """A state cannot be used; the text says why and what to do, without quoting its values."""

    def __init__(self, why: str) -> None:
        """Add the cure to the cause."""
        super().__init__(f"the state cannot be used: {why}. {_CURE}")


class _Partition(msgspec.Struct):
    context: dict[str, str]


class _Stream(msgspec.Struct):
    partitions: list[_Partition] = []


class _State(msgspec.Struct):
    bookmarks: dict[str, _Stream]


def read_state_file(file: IO[str]) -> str:
    """Return the text of a state file, which must be one JSON object, or raise a StateError."""
    try:
        text = file.read()
        if text.strip():
            msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            return text
        why = "its file is empty"
    except UnicodeDecodeError:
        why = "its file is not UTF-8 text"
    except msgspec.ValidationError:
        why = "its file holds JSON, but not an object"
    except (msgspec.DecodeError, RecursionError):
        why = "its file is not one JSON object: it is truncated, or has more than one line"
    raise StateError(why)


def usable_state(given: dict[str, Any], streams: Collection[str]) -> dict[str, Any]:
    """Return the state inside a given one: `{}` for a first run, otherwise with `bookmarks`.

    `streams` are the names of the tap's streams. A state that cannot be used raises a StateError;
    the content of a partition's bookmark is checked when the partition is read.
    """
    state = _unwrapped(given)
    problem = next(_problems(state, streams), None) if state else None
    if problem:
        raise StateError(problem)
    return state


def _problems(state: dict[str, Any], streams: Collection[str]) -> Iterator[str]:
    try:
        bookmarks = msgspec.convert(state, _State).bookmarks
    except msgspec.ValidationError as error:
        yield str(error)
        return
    if bookmarks and not bookmarks.keys() & set(streams):
        yield "it has no bookmark for a stream of this tap, so it belongs to another tap"
    for name, stream in bookmarks.items():
        raw = state["bookmarks"][name]
        for bookmark in (raw, *raw.get("partitions", ())):
            yield from _problems_of_value(name, bookmark)
        contexts = [partition.context for partition in stream.partitions]
        if len({tuple(sorted(context.items())) for context in contexts}) < len(contexts):
            yield f"two partitions of {name} have the same context"
        if name in streams and any("organization" not in context for context in contexts):
            yield f"a partition of {name} names no organization"


def _problems_of_value(stream: str, bookmark: dict[str, Any]) -> Iterator[str]:
    """Yield why a bookmark has no usable value: a stream would take that for a first run."""
    if VALUE in bookmark:
        value = bookmark[VALUE]
        if not (isinstance(value, str) and value.strip()):
            yield f"a bookmark of {stream} has no time as {VALUE}"
    else:
        for unknown in bookmark.keys() - _KEYS:
            yield f"a bookmark of {stream} has no {VALUE}, but a field {unknown[:40]!r}"


def _unwrapped(state: dict[str, Any]) -> dict[str, Any]:
    while "bookmarks" not in state and state.get("type", "STATE") == "STATE":
        inner = next((state[key] for key in _WRAPPERS if key in state), None)
        if inner is None:
            break
        if not isinstance(inner, dict):
            why = "what it wraps is not an object"
            raise StateError(why)
        state = inner
    return state
