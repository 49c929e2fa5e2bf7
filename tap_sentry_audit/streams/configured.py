"""How the tap gets its settings: from files, the environment and `.env`, checked before the SDK."""

from __future__ import annotations

import copy
import os
import re
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk import Tap
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers._classproperty import classproperty  # for _env_var_config

from tap_sentry_audit import config
from tap_sentry_audit.config import Settings, SettingsError

if TYPE_CHECKING:
    import click

    from tap_sentry_audit.config import Schema

_WRONG_TYPE = re.compile(r"in config\['?(\w+)")


class ConfiguredTap(Tap):
    """A tap with the settings of `config`."""

    config_jsonschema: ClassVar[Schema] = copy.deepcopy(config.JSON_SCHEMA)  # the SDK adds its own

    @cached_property
    def settings(self) -> Settings:
        """The settings, parsed once; a SettingsError if they cannot be used."""
        return config.parse_settings(self.config)

    @classproperty
    def _env_var_config(cls) -> dict[str, Any]:  # noqa: N805  (the SDK's)
        """Return the settings in the environment, which overrides a `.env` file.

        The SDK has no public hook. Its method lets the file win, without a word about it
        (singer-sdk 0.54.9, configuration/_dict_config.py).
        """
        if path := config.load_dotenv_file():
            cls.logger.info("Settings that the environment lacks come from %s", path)
        cls.append_builtin_config(cls.config_jsonschema)
        return config.parse_variables(os.environ, cls.config_jsonschema)

    @classmethod
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> Any:  # noqa: ANN401  (the SDK's)
        """Read the files of --config; the SDK takes a list for an object without settings."""
        given = super().cb_config(ctx, param, tuple(name for name in value if name == "ENV"))
        for name in value:
            if name != "ENV":
                given.config.update(config.read_config_file(name))
        return given

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Check the settings before the SDK does.

        The SDK has no public hook, and its errors echo values, secrets included (singer-sdk 0.54.9,
        plugin_base.py).
        """
        try:
            settings = self.settings
        except SettingsError as error:
            problems = error.problems
        else:
            # The SDK's own check does not take 1.0, which is a Decimal, for an integer.
            self._config |= {
                name: getattr(settings, name)
                for name, value in self.config.items()
                if isinstance(value, Decimal) and name in config.JSON_SCHEMA["properties"]
            }
            self.append_builtin_config(self.config_jsonschema)
            for remark in config.remarks(self.config, settings, self.config_jsonschema):
                self.logger.warning(remark)
            # Only the SDK's own settings can be wrong now; its errors would quote their values.
            problems = [
                f"{name} has a wrong type or value: compare it with --about"
                for error in super()._validate_config(raise_errors=False)
                for name in _WRONG_TYPE.findall(error)
            ]
        if problems and raise_errors:
            message = "the settings cannot be used"
            raise ConfigValidationError(message, errors=problems, schema=self.config_jsonschema)
        return problems
