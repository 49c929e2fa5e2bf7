"""Meltano Hub's schemas, and what a definition must say of a plugin's settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from referencing import Registry
from ruamel.yaml import YAML

Definition = dict[str, Any]

SCHEMAS = Path(__file__).resolve().with_name("hub_schema")


def read_yaml(path: Path) -> Definition:
    content: Definition = YAML(typ="safe", pure=True).load(path)
    return content


def schema_of(kind: str) -> Draft7Validator:
    """The schema of definitions of `extractors` or `loaders`."""
    contents = {path.as_uri(): json.loads(path.read_text()) for path in SCHEMAS.rglob("*.json")}
    for content in contents.values():
        # By these ids the references between the files would lead nowhere.
        del content["$id"]
    root = SCHEMAS / "plugin_definitions" / f"{kind}.schema.json"
    return Draft7Validator(
        {"$ref": root.as_uri()},
        registry=Registry().with_contents(contents.items()),
        format_checker=Draft7Validator.FORMAT_CHECKER,
    )


def settings_of(about: Definition) -> list[Definition]:
    """The settings of a definition, from what a plugin says under --about."""
    return [
        {"name": name, "label": found["title"], "kind": found["type"][0]}
        | ({"value": found["default"]} if "default" in found else {})
        | ({"sensitive": True} if found.get("secret") else {})
        | {"description": found["description"]}
        for name, found in about["settings"]["properties"].items()
    ]
