"""The state that a run is given: taken out of known wrappings, and refused if it is none.

A state that is not understood must not pass for a first run: all would be sent again.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import msgspec
from singer_sdk.exceptions import SingerSDKError

from tap_sentry_audit.streams.bookmark import LOOKBACK, VALUE

if TYPE_CHECKING:
    from collections.abc import Collection

_WRAPPERS = ("value", "singer_state")
"""The key of a Singer STATE message, and Meltano's (`meltano state get`)."""

_KEYS = {
    "context",
    "partitions",
    "replication_key",
    "starting_replication_value",
    "progress_markers",
    LOOKBACK,
}
"""What a bookmark of a stream that has delivered nothing yet can have."""

_CURE = (
    'Give the value of the last STATE message, an object such as {"bookmarks": {...}}, or leave '
    "the state out to read everything again"
)


class StateError(SingerSDKError):
    """A state that cannot be used; the text says why and what to do, and holds no part of it."""

    def __init__(self, why: str) -> None:
        """Add what to do."""
        super().__init__(f"the state cannot be used: {why}. {_CURE}")


class _Partition(msgspec.Struct):
    context: dict[str, str]


class _Stream(msgspec.Struct):
    partitions: list[_Partition] = []


class _State(msgspec.Struct):
    bookmarks: dict[str, _Stream]


def read_state_file(file: IO[str]) -> str:
    """Return the text of a state file: one JSON object.

    Raises:
        StateError: It holds something else.

    """
    try:
        text = file.read()
    except UnicodeDecodeError:
        why = "its file is no text in UTF-8"
        raise StateError(why) from None
    if not text.strip():
        why = "its file is empty"
        raise StateError(why)
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        why = "its file holds JSON, but no object"
        raise StateError(why) from None
    except (msgspec.DecodeError, RecursionError):
        why = "its file is not one JSON object: it is broken off, or has more than one line"
        raise StateError(why) from None
    return text


def usable_state(given: dict[str, Any], streams: Collection[str]) -> dict[str, Any]:
    """Return the state inside a given one: `{}` for a first run, otherwise with `bookmarks`.

    `streams` are the names that a bookmark can have. What a partition's bookmark holds is looked
    at when the partition is read.

    Raises:
        StateError: There is none in it.

    """
    state = _unwrapped(given)
    if not state:
        return {}
    try:
        bookmarks = msgspec.convert(state, _State).bookmarks
    except msgspec.ValidationError as error:
        raise StateError(str(error)) from None
    if bookmarks and not bookmarks.keys() & set(streams):
        why = "it has no bookmark of a stream of this tap, so it is another tap's"
        raise StateError(why)
    for name, stream in bookmarks.items():
        _check_bookmarks(name, state["bookmarks"][name])
        contexts = [partition.context for partition in stream.partitions]
        if len({tuple(sorted(context.items())) for context in contexts}) < len(contexts):
            why = f"two partitions of {name} have the same context"
            raise StateError(why)
        if name in streams and any("organization" not in context for context in contexts):
            why = f"a partition of {name} names no organization"
            raise StateError(why)
    return state


def _check_bookmarks(stream: str, bookmarks: dict[str, Any]) -> None:
    """Refuse bookmarks without a usable value: a stream would take them for a first run."""
    for bookmark in (bookmarks, *bookmarks.get("partitions", ())):
        value = bookmark.get(VALUE, "")
        if VALUE in bookmark and not (isinstance(value, str) and value.strip()):
            why = f"a bookmark of {stream} has no time as {VALUE}"
            raise StateError(why)
        unknown = next(iter(bookmark.keys() - _KEYS), None)
        if VALUE not in bookmark and unknown is not None:
            why = f"a bookmark of {stream} has no {VALUE}, but a field {unknown[:40]!r}"
            raise StateError(why)


def _unwrapped(state: dict[str, Any]) -> dict[str, Any]:
    while "bookmarks" not in state and state.get("type", "STATE") == "STATE":
        inner = next((state[key] for key in _WRAPPERS if key in state), None)
        if inner is None:
            break
        if not isinstance(inner, dict):
            why = "what it wraps is no object"
            raise StateError(why)
        state = inner
    return state
