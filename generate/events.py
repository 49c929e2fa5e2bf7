"""The events of Sentry's audit log, as `events.yaml` describes them."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

import msgspec
from ruamel.yaml import YAML

from generate.packages import ROOT

PATH = ROOT / "events.yaml"

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z]+([-_.][a-z]+)+$")]
"""An event's name in the API, such as `project.ownership-rule.edit`."""
Text = Annotated[str, msgspec.Meta(min_length=2)]
Sentence = Annotated[str, msgspec.Meta(pattern=r"^[A-Z`0-9][^\n]+\.$")]
Keys = dict[Text, Text]
"""What `data` holds: for each key a few words."""


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event: what its actor did, and what its entries hold.

    `data` has the keys of every entry, and is None where nobody knows them; `sometimes` has those
    of some. `target_object` and `target_user` say what the entry's fields `targetObject` and
    `targetUser` are about: None where they are null or not known. `since` and `until` are the first
    and the last Sentry that knows the event, roughly; `only_on` is the one server that does. An
    event with none of them is known to 23.7.1 and to every later version. `evidence` is the best
    that all this was taken from: an entry that a Sentry wrote, the code that writes it, the
    sentence made of it, or the name alone.
    """

    meaning: Sentence
    evidence: Literal["entry", "source", "template", "name"]
    data: Keys | None = None
    sometimes: Keys = {}
    target_object: Text | None = None
    target_user: Text | None = None
    since: Text | None = None
    until: Text | None = None
    only_on: Text | None = None
    note: Sentence | None = None

    def unlisted(self, data: dict[str, Any]) -> set[str]:
        """Return the keys that are in an entry's data, and not in the file."""
        return data.keys() - (self.data or {}).keys() - self.sometimes.keys()

    def missing(self, data: dict[str, Any]) -> set[str]:
        """Return the keys that each entry's data should hold, and this one's does not."""
        return (self.data or {}).keys() - data.keys()


class Area(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events about one thing, under a heading."""

    title: Text
    events: dict[Name, Event]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    shapes: dict[Text, Keys]
    areas: list[Area]


def areas(text: str | None = None) -> list[Area]:
    """Return what the file, or another text, says.

    Raises:
        msgspec.ValidationError: A field is missing, unknown, or not as it should be.
        ruamel.yaml.error.YAMLError: It is not YAML, or a name is there twice.

    """
    content = YAML(typ="safe", pure=True).load(PATH.read_text("utf-8") if text is None else text)
    return msgspec.convert(content, _File).areas


@cache
def events() -> dict[str, Event]:
    """Return every event by its name."""
    return {name: event for area in areas() for name, event in area.events.items()}
