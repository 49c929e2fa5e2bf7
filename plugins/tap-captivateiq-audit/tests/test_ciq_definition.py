"""The definition for Meltano Hub says what the tap says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry
from ruamel.yaml import YAML

from ciq_process import run_tap
from tap_captivateiq_audit.settings import SettingsError, read_settings

Definition = dict[str, Any]

HERE = Path(__file__).parent
SCHEMAS = HERE.parents[2] / "tests" / "hub_schema"
HUB: Definition = YAML(typ="safe", pure=True).load(HERE.parent / "hub/tap-captivateiq-audit.yml")


@pytest.fixture(scope="module")
def about() -> Definition:
    told: Definition = json.loads(run_tap({}, "--about", "--format=json").stdout)
    return told


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    contents = {path.as_uri(): json.loads(path.read_text()) for path in SCHEMAS.rglob("*.json")}
    for content in contents.values():
        # By these ids the references between the files would lead nowhere.
        del content["$id"]
    root = SCHEMAS / "plugin_definitions" / "extractors.schema.json"
    return Draft7Validator(
        {"$ref": root.as_uri()},
        registry=Registry().with_contents(contents.items()),
        format_checker=Draft7Validator.FORMAT_CHECKER,
    )


def test_the_definition_is_valid_for_the_hub(schema: Draft7Validator) -> None:
    assert list(schema.iter_errors(HUB)) == []


@pytest.mark.parametrize("mistake", [{"quality": "x"}, {"capabilities": ["x"]}, {"x": 1}], ids=str)
def test_a_mistake_in_the_definition_would_be_found(
    schema: Draft7Validator, mistake: Definition
) -> None:
    assert list(schema.iter_errors(HUB | mistake))


def test_the_definition_says_what_the_tap_says(about: Definition) -> None:
    assert HUB["settings"] == [
        {"name": name, "label": found["title"], "kind": found["type"][0]}
        | ({"value": found["default"]} if "default" in found else {})
        | ({"sensitive": True} if found.get("secret") else {})
        | {"description": found["description"]}
        for name, found in about["settings"]["properties"].items()
    ]
    assert sorted(HUB["capabilities"]) == sorted(about["capabilities"])
    assert HUB["name"] == HUB["executable"] == about["name"]
    assert HUB["supported_python_versions"] == about["supported_python_versions"]


def test_the_required_settings_are_enough_and_none_can_be_left_out() -> None:
    assert HUB["settings_group_validation"] == [["api_token"]]
    read_settings({"api_token": "token"})
    with pytest.raises(SettingsError):
        read_settings({})
