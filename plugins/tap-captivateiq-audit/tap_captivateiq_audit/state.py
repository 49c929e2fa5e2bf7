"""The state that a run is given: read completely, unwrapped and checked.

A state that the tap did not understand would count as none, and everything would be sent again. So
a state with unknown keys is refused; the message names the keys and none of the values.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import IO, TYPE_CHECKING, NoReturn

from tap_captivateiq_audit.bookmark import LOOKBACK, REPLICATION_KEY, VALUE, Bookmark
from tap_captivateiq_audit.exceptions import StateError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ANEW = "leave --state out to read everything again"
_CURE = f"give the last state that the target wrote, or {_ANEW}"
_KEYS = {"replication_key", VALUE, LOOKBACK, "starting_replication_value"}
"""What this tap and the SDK write into a stream's bookmark."""

_SHOWN, _LONGEST = 5, 40
"""How many keys a message names, and how many characters of each."""


def _refuse(problem: str, cure: str = _CURE) -> NoReturn:
    message = f"{problem}: {cure}"
    raise StateError(message) from None


def read_state_file(file: IO[str]) -> str:
    """Return the text of a state file, or raise StateError if it is not one JSON object."""
    try:
        text = file.read()
        if not text.strip():
            _refuse("the state file is empty")
        content = json.loads(text)
    except UnicodeDecodeError:
        _refuse("the state file is not text in UTF-8")
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            _refuse("the state file holds more than one state", "keep only its last line")
        where = f"line {error.lineno}, column {error.colno}"
        _refuse(f"the state file is not JSON, or is truncated (at {where})")
    except (ValueError, RecursionError):  # a number too long, or brackets too deep
        _refuse("the state file is not the JSON of a state")
    if not isinstance(content, dict):
        _refuse(f"the state file holds {_kind(content)} instead of a JSON object")
    return text


def parse_bookmarks(state: object, stream: str) -> dict[str, dict[str, object]]:
    """Return the bookmarks of a state by stream: empty for a first run.

    The state may be a STATE message, wrapped as by `meltano state get`, or in `value`. Raises
    StateError if it is not a state, is another tap's, or its bookmark for `stream` is invalid.
    """
    state = _unwrap(state)
    bookmarks = state.get("bookmarks") if state else {}
    if not isinstance(bookmarks, dict) or not all(
        isinstance(bookmark, dict) for bookmark in bookmarks.values()
    ):
        _refuse("the state's bookmarks are not an object of objects")
    if bookmarks and stream not in bookmarks:
        others = _names(bookmarks)
        _refuse(f"the state is another tap's: it has bookmarks for {others} but not for {stream!r}")
    _check(bookmarks.get(stream, {}), stream)
    return bookmarks


def _unwrap(state: object) -> Mapping[str, object]:
    while isinstance(state, dict):
        if not state or ("bookmarks" in state and not state.keys() & {"singer_state", "value"}):
            return state
        if state.keys() == {"singer_state"}:
            state = state["singer_state"]
        elif state.keys() - {"type"} == {"value"} and state.get("type", "STATE") == "STATE":
            state = state["value"]
        else:
            _refuse(f"the state has {_names(state)} where 'bookmarks' should be")
    _refuse(f"the state holds {_kind(state)} where an object should be")


def _check(bookmark: Mapping[str, object], stream: str) -> None:
    """Refuse a bookmark that would be ignored or misread."""
    is_others = f"the state is another tap's: its bookmark for {stream!r} has"
    if unknown := bookmark.keys() - _KEYS:
        _refuse(f"{is_others} {_names(unknown)}, which this tap does not write")
    if bookmark.get("replication_key", REPLICATION_KEY) != REPLICATION_KEY:
        _refuse(f"{is_others} another key")
    if not bookmark.keys() & {VALUE, LOOKBACK}:
        return  # a first run was stopped before its first entry
    try:
        Bookmark.from_state(bookmark, timedelta())
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        _refuse(
            f"the bookmark for {stream!r} in the state cannot be read", f"correct it, or {_ANEW}"
        )


def _names(keys: Mapping[str, object] | set[str]) -> str:
    shown = [repr(key[:_LONGEST]) for key in sorted(keys)[:_SHOWN]]
    return ", ".join(shown) + (" and more" if len(keys) > _SHOWN else "")


def _kind(value: object) -> str:
    kinds: dict[type, str] = {type(None): "null", bool: "a boolean", list: "a list", str: "text"}
    return kinds.get(type(value), "a number")
