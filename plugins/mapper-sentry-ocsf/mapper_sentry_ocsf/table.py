"""table.json: what each event of Sentry's audit log is in OCSF, as data for others too."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

CATEGORY_UID, CATEGORY_NAME = 3, "Identity & Access Management"
"""The category of all the classes used."""

USER, TEAM, ACTOR = "user", "team", "actor"
"""The targets that are no managed entity."""


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What changes if `data` has a key whose value is one of some, ends with one, or is there.

    A list is one of some if it holds one, and is not there if it is empty.
    """

    key: str
    is_: list[Any] | None = msgspec.field(default=None, name="is")
    ends_with: list[str] | None = None
    is_present: bool = False
    severity_id: int | None = None
    activity_id: int | None = None
    activity_name: str | None = None
    why: str | None = None

    def holds(self, data: dict[str, Any]) -> bool:
        """Whether it holds for the data of an entry."""
        if self.key not in data:
            return False
        value = data[self.key]
        if self.ends_with is not None:
            return str(value).endswith(tuple(self.ends_with))
        if self.is_present:
            # `[]`, or a text such as `from ['card'] to []`.
            return not str(value).endswith("[]")
        values = value if isinstance(value, list) else [value]
        # 0 is no False: both come from JSON.
        return any(
            type(each) is type(one) and each == one for each in values for one in self.is_ or ()
        )


class Activity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An activity of a class; 99 is Other, with a name of our own."""

    activity_id: int
    activity_name: str


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one of Sentry's events is in OCSF. `about` in the file says what the fields mean."""

    class_uid: int
    activity_id: int
    activity_name: str
    severity_id: int
    target: str
    has_uid: bool = False
    name_from: list[str] | None = None
    name: str | None = None
    when: list[Condition] = []
    why: str | None = None


class Fallback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an event is that the table does not know, by the last part of its name."""

    class_uid: int
    severity_id: int
    why: str
    activities: dict[str, Activity]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. `names` are the keys of `data` that name an entity or a team, best first."""

    ocsf_version: str
    about: str
    classes: dict[int, str]
    severities: dict[int, str]
    names: list[str]
    fallback: Fallback
    events: dict[str, Event]

    def find(self, name: str) -> Event:
        """Return what an event is, known or not."""
        return self.events.get(name) or self._guess(name)

    def _guess(self, name: str) -> Event:
        entity, _, last = name.rpartition(".")
        activity = self.fallback.activities.get(last) or Activity(99, last or "Other")
        return Event(
            class_uid=self.fallback.class_uid,
            activity_id=activity.activity_id,
            activity_name=activity.activity_name,
            severity_id=self.fallback.severity_id,
            target=entity or last or "Unknown",
        )


@cache
def table() -> Table:
    """Return the table of this package."""
    text = files("mapper_sentry_ocsf").joinpath("table.json").read_bytes()
    return msgspec.json.decode(text, type=Table)
