"""The definition for Meltano Hub, meltano.yml and .env.example say what the tap says of itself."""

from __future__ import annotations

import json
import re
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tap_sentry_audit.config import SettingsError, parse_settings
from testing.hub import Definition, read_yaml, schema_of, settings_of
from testing.sentry_tap import run_tap

if TYPE_CHECKING:
    from jsonschema import Draft7Validator

ROOT = Path(__file__).parents[1]
HUB = read_yaml(ROOT / "hub" / "tap-sentry-audit.yml")
PROJECT = read_yaml(ROOT / "meltano.yml")
EXTRACTOR: Definition = PROJECT["plugins"]["extractors"][0]

both = pytest.mark.parametrize(
    "definition", [pytest.param(HUB, id="hub"), pytest.param(EXTRACTOR, id="meltano.yml")]
)


@pytest.fixture(scope="module")
def about() -> Definition:
    told: Definition = json.loads(run_tap({}, "--about", "--format=json").stdout)
    return told


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    return schema_of("extractors")


def test_the_definition_is_valid_for_the_hub(schema: Draft7Validator) -> None:
    assert list(schema.iter_errors(HUB)) == []


@pytest.mark.parametrize(
    "mistake",
    [
        {"quality": "excellent"},
        {"domain_url": "no address"},
        {"capabilities": ["magic"]},
        {"settings": [{"name": "host", "kind": "text"}]},
        {"unheard_of": True},
    ],
    ids=str,
)
def test_a_mistake_in_the_definition_would_be_found(
    schema: Draft7Validator, mistake: Definition
) -> None:
    assert list(schema.iter_errors(HUB | mistake))


@both
def test_the_definition_has_each_setting_as_the_tap_describes_it(
    definition: Definition, about: Definition
) -> None:
    assert definition["settings"] == settings_of(about)


@both
def test_the_definition_has_the_capabilities_of_the_tap(
    definition: Definition, about: Definition
) -> None:
    assert sorted(definition["capabilities"]) == sorted(about["capabilities"])


@both
def test_the_definition_installs_the_command_under_the_name_of_the_tap(
    definition: Definition, about: Definition
) -> None:
    names = definition["name"], definition["executable"], definition["namespace"]
    assert names == (about["name"], about["name"], about["name"].replace("-", "_"))


@both
def test_each_group_of_required_settings_is_enough_and_none_of_it_can_be_left_out(
    definition: Definition,
) -> None:
    example = {"auth_token": "token", "organization": "acme", "organizations": ["acme"]}
    for group in definition["settings_group_validation"]:
        parse_settings({name: example[name] for name in group})
        for left_out in group:
            with pytest.raises(SettingsError):
                parse_settings({name: example[name] for name in group if name != left_out})


def test_the_definition_names_the_python_versions_of_the_tap(about: Definition) -> None:
    assert HUB["supported_python_versions"] == about["supported_python_versions"]


def test_no_plugin_of_the_project_needs_the_hub() -> None:
    plugins = [plugin for kind in PROJECT["plugins"].values() for plugin in kind]
    assert all({"namespace", "pip_url", "executable"} <= plugin.keys() for plugin in plugins)


def test_the_example_of_an_environment_has_each_setting_with_its_default() -> None:
    text = (ROOT / ".env.example").read_text()
    example = dict(re.findall(r"^(?:# )?TAP_SENTRY_AUDIT_(\w+)=(.*)$", text, re.MULTILINE))
    own = list(takewhile(lambda setting: setting["name"] != "stream_maps", HUB["settings"]))
    defaults = {setting["name"]: setting["value"] for setting in own if "value" in setting}

    assert {name.lower() for name in example} == {setting["name"] for setting in own}
    assert {name: example[name.upper()] for name in defaults} == {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in defaults.items()
    }
