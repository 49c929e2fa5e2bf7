"""Meltano Hub's schemas of definitions."""

from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft7Validator
from referencing import Registry

SCHEMAS = Path(__file__).resolve().with_name("hub_schema")


def schema_of(kind: str) -> Draft7Validator:
    """The schema of definitions of `extractors`, `loaders` or `mappers`.

    That of mappers is not at hand; what they have is what loaders have, too.
    """
    contents = {path.as_uri(): json.loads(path.read_text()) for path in SCHEMAS.rglob("*.json")}
    for content in contents.values():
        # By these ids the references between the files would lead nowhere.
        del content["$id"]
    known = "loaders" if kind == "mappers" else kind
    root = SCHEMAS / "plugin_definitions" / f"{known}.schema.json"
    return Draft7Validator(
        {"$ref": root.as_uri()},
        registry=Registry().with_contents(contents.items()),
        format_checker=Draft7Validator.FORMAT_CHECKER,
    )
