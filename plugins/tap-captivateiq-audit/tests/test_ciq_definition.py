"""The definition for Meltano Hub says what the tap says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tap_captivateiq_audit.config import SettingsError, parse_settings
from testing.captivateiq_tap import run_tap
from testing.hub import Definition, read_yaml, schema_of, settings_of

if TYPE_CHECKING:
    from jsonschema import Draft7Validator

HUB = read_yaml(Path(__file__).parents[1] / "hub" / "tap-captivateiq-audit.yml")


@pytest.fixture(scope="module")
def about() -> Definition:
    told: Definition = json.loads(run_tap({}, "--about", "--format=json").stdout)
    return told


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    return schema_of("extractors")


def test_the_definition_is_valid_for_the_hub(schema: Draft7Validator) -> None:
    assert list(schema.iter_errors(HUB)) == []


@pytest.mark.parametrize("mistake", [{"quality": "x"}, {"capabilities": ["x"]}, {"x": 1}], ids=str)
def test_a_mistake_in_the_definition_would_be_found(
    schema: Draft7Validator, mistake: Definition
) -> None:
    assert list(schema.iter_errors(HUB | mistake))


def test_the_definition_says_what_the_tap_says(about: Definition) -> None:
    assert HUB["settings"] == settings_of(about)
    assert sorted(HUB["capabilities"]) == sorted(about["capabilities"])
    assert HUB["name"] == HUB["executable"] == about["name"]
    assert HUB["supported_python_versions"] == about["supported_python_versions"]


def test_the_required_settings_are_enough_and_none_can_be_left_out() -> None:
    assert HUB["settings_group_validation"] == [["api_token"]]
    parse_settings({"api_token": "token"})
    with pytest.raises(SettingsError):
        parse_settings({})
