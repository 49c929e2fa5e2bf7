"""OCSF's own schema, offline: what is wrong with an event."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema  # type: ignore[import-untyped]  # it has no types

if TYPE_CHECKING:
    from testing.forked import Message

VERSION = "1.8.0"
KEY = "uid"


@cache
def contents() -> dict[str, Any]:
    return dict(get_ocsf_schema(version=VERSION))


@cache
def ocsf() -> OcsfJsonSchemaEmbedded:
    return OcsfJsonSchemaEmbedded(contents())


@cache
def validator(class_uid: int) -> Draft202012Validator:
    name = ocsf().lookup_class_name_from_uid(class_uid=class_uid)
    return Draft202012Validator(ocsf().get_class_schema(class_name=name))


def flaws(event: Message) -> list[str]:
    """Where an event is invalid, the key of its stream aside, which is not OCSF's."""
    content = {name: value for name, value in event.items() if name != KEY}
    errors = validator(event["class_uid"]).iter_errors(content)
    return [f"{error.json_path}: {error.message[:200]}" for error in errors]
