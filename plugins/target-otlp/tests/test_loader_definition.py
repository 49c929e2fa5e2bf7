"""The definition for Meltano Hub and meltano.yml say what the target says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from target_otlp.config import SettingsError, parse_settings
from testing.hub import Definition, read_yaml, schema_of, settings_of
from testing.otlp_target import EXAMPLE, run_target

if TYPE_CHECKING:
    from jsonschema import Draft7Validator

ROOT = Path(__file__).parents[3]
HUB = read_yaml(Path(__file__).parents[1] / "hub" / "target-otlp.yml")
(LOADER,) = (
    loader
    for loader in read_yaml(ROOT / "meltano.yml")["plugins"]["loaders"]
    if loader["name"] == "target-otlp"
)

both = pytest.mark.parametrize(
    "definition", [pytest.param(HUB, id="hub"), pytest.param(LOADER, id="meltano.yml")]
)


@pytest.fixture(scope="module")
def about() -> Definition:
    told: Definition = json.loads(run_target([], "--about", "--format=json").stdout)
    return told


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    return schema_of("loaders")


def test_the_definition_is_valid_for_the_hub(schema: Draft7Validator) -> None:
    assert list(schema.iter_errors(HUB)) == []


@pytest.mark.parametrize(
    "mistake", [{"quality": "excellent"}, {"capabilities": ["magic"]}, {"unheard_of": 1}], ids=str
)
def test_a_mistake_in_the_definition_would_be_found(
    schema: Draft7Validator, mistake: Definition
) -> None:
    assert list(schema.iter_errors(HUB | mistake))


@both
def test_the_definition_has_each_setting_as_the_target_describes_it(
    definition: Definition, about: Definition
) -> None:
    assert definition["settings"] == settings_of(about)


@both
def test_the_definition_has_capabilities_and_names_of_the_target(
    definition: Definition, about: Definition
) -> None:
    assert sorted(definition["capabilities"]) == sorted(about["capabilities"])
    assert definition["name"] == definition["executable"] == about["name"]
    assert definition["namespace"] == about["name"].replace("-", "_")


def test_the_definition_names_the_python_versions_of_the_target(about: Definition) -> None:
    assert HUB["supported_python_versions"] == about["supported_python_versions"]


def test_the_required_settings_are_enough_and_none_can_be_left_out() -> None:
    assert HUB["settings_group_validation"] == [["endpoint"]]
    parse_settings({"endpoint": "http://localhost"}, {})
    with pytest.raises(SettingsError):
        parse_settings({}, {})


def test_the_project_maps_audit_logs_as_the_example_does() -> None:
    assert LOADER["config"] == EXAMPLE
