"""The target and its sinks."""

from __future__ import annotations

import os
import re
import signal
from contextlib import ExitStack
from decimal import Decimal
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk import Target
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers.capabilities import PluginCapabilities
from singer_sdk.sinks import RecordSink

from target_otlp.config import (
    JSON_SCHEMA,
    NAME,
    Settings,
    SettingsError,
    load_dotenv_file,
    parse_settings,
    parse_variables,
    read_config_file,
    remarks,
)
from target_otlp.delivery import Delivery
from target_otlp.mapping import stream_mapping
from target_otlp.messages import MessageReader, write_state
from target_otlp.signals import Stop, handle_signals

if TYPE_CHECKING:
    from types import FrameType

    import click
    from singer_sdk.helpers.capabilities import CapabilitiesEnum

    from target_otlp.messages import Message
    from target_otlp.values import Record

_HELP = """Send the records of a Singer tap to an OpenTelemetry receiver (OTLP over HTTP).

\b
Example:
  export TARGET_OTLP_ENDPOINT=http://localhost:4318
  tap-sentry-audit --config tap.json | target-otlp --config ENV >> states.json

\b
Settings: --about
Documentation: plugins/target-otlp/README.md in the repository of tap-sentry-audit
"""

_WRONG_TYPE = re.compile(r"in config\['?(\w+)")


class OtlpSink(RecordSink):
    """Passes the records of a stream on as they arrive; the target's one delivery batches them."""

    include_sdc_metadata_properties = False

    def __init__(self, target: TargetOtlp, **stream: Any) -> None:  # noqa: ANN401  (the SDK's)
        """Make the sink of a stream."""
        super().__init__(target=target, **stream)
        # With a schema the SDK would turn times into Python's, which have no nanoseconds.
        self.schema = {"properties": {}, "additionalProperties": True}
        self._delivery = target.delivery
        self._mapping = stream_mapping(target.settings.mapping, self.stream_name)
        self._has_warned = self._mapping.time is None

    def get_validator(self) -> None:
        """Validate nothing: any record can be sent, and a check would take most of the time."""

    def _remove_sdc_metadata_from_record(self, record: Record) -> None:
        """Keep the metadata that the tap sent.

        The SDK would remove it even so, and has no public hook for it (singer-sdk 0.54.9,
        target_base.py:331).
        """

    def process_record(self, record: Record, context: Message) -> None:
        """Add a record to the delivery."""
        del context
        has_time = self._delivery.add(record, self._mapping, self.key_properties)
        if not has_time and not self._has_warned:
            self._has_warned = True
            self.logger.warning(
                "%s: at least one record has no time at the path in mapping; such records "
                "are sent without one",
                self.stream_name,
            )

    def clean_up(self) -> None:
        """Send the remaining records."""
        self._delivery.send()


class TargetOtlp(Target):
    """Singer target for OpenTelemetry: any stream to an OTLP receiver, as log records."""

    name = NAME
    default_sink_class = OtlpSink
    message_reader_class = MessageReader
    capabilities: ClassVar[list[CapabilitiesEnum]] = [
        PluginCapabilities.ABOUT,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]
    config_jsonschema: ClassVar[dict[str, Any]] = JSON_SCHEMA

    _is_over = False

    def __init__(self, **given: Any) -> None:  # noqa: ANN401  (the SDK's)
        """Make a target, which handles signals once it has read a line."""
        self._stop = Stop()
        self._progress_lines = ExitStack()
        reader = MessageReader(self._stop, self._begin, self._progress_lines.close, self._put_aside)
        super().__init__(**{"message_reader": reader, **given})

    @cached_property
    def settings(self) -> Settings:
        """The settings, parsed once; invalid ones raise a SettingsError."""
        return parse_settings(self.config, os.environ)

    @cached_property
    def delivery(self) -> Delivery:
        """The one delivery of the run: streams share its batches."""
        return Delivery(self.settings, partial(write_state, stop=self._stop), self._stop)

    def process_endofpipe(self) -> None:
        """Send the remaining records, and log how many were accepted."""
        with self._progress_lines:
            if self._stop.signum is not None:
                self.logger.info(
                    "Stopped by signal %d: sending the records that wait", self._stop.signum
                )
            super().process_endofpipe()
            self._is_over = True
        self.delivery.finish()
        self.logger.info(self.delivery.progress.line())

    def _begin(self) -> None:
        """Handle signals, and log lines of progress, from the first line of the input on."""
        super()._setup_signal_handlers()
        self._progress_lines.enter_context(self.delivery.progress.lines())

    def _put_aside(self, message: Message) -> None:
        """Put a record aside that is nested too deeply to be sent."""
        mapping = stream_mapping(self.settings.mapping, message["stream"])
        self.delivery.add_unreadable(message["line"], mapping, message["what"])

    def _process_state_message(self, message_dict: Message) -> None:
        """Write a state as soon as every record before it is accepted.

        The SDK has no public hook for it (singer-sdk 0.54.9, target_base.py:410). Its own method
        writes a state at the end alone, and none if the run ends with an error.
        """
        self.delivery.add_state(message_dict["value"])

    def _process_activate_version_message(self, message_dict: Message) -> None:
        """Do nothing: logs have no versions, and the SDK would warn of columns to be added."""

    @property
    def _env_var_config(self) -> dict[str, Any]:
        """The settings in the environment; a `.env` file adds those that are not there.

        The SDK has no public hook for it (singer-sdk 0.54.9, plugin_base.py:333). Its own lets the
        values of the file win.
        """
        if path := load_dotenv_file():
            self.logger.info("Settings that the environment lacks come from %s", path)
        self.append_builtin_config(self.config_jsonschema)
        return parse_variables(os.environ, self.config_jsonschema["properties"])

    def _setup_signal_handlers(self) -> None:
        """Leave signals to the command until a line was read.

        The SDK has no public hook for it (singer-sdk 0.54.9, plugin_base.py:282). It sets its own
        handlers before that, and a signal would then end the run with 0.
        """

    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """Ask the run to stop; a second signal stops it at once.

        The SDK has no public hook for it (singer-sdk 0.54.9, target_base.py:536). Its own
        method sends from within the handler, and ends with 0 even if that fails.
        """
        del frame
        if not self._is_over:
            handle_signals(signal.SIG_DFL)
            self._stop.request(signum)

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Check the settings before the SDK does.

        The SDK has no public hook for it, and its own errors echo values, secrets included
        (singer-sdk 0.54.9, plugin_base.py:447).
        """
        try:
            settings = self.settings
        except SettingsError as error:
            problems = error.problems
        else:
            # The SDK's own check does not take 1.0, which is a Decimal, for an integer.
            for name, value in self.config.items():
                if isinstance(value, Decimal) and hasattr(settings, name):
                    self._config[name] = int(value)
            self.append_builtin_config(self.config_jsonschema)
            for remark in remarks(self.config, settings, self.config_jsonschema["properties"]):
                self.logger.warning(remark)
            # Only the SDK's own settings can be wrong now; its errors would quote their values.
            problems = [
                f"{name} has a wrong type or value: compare it with --about"
                for error in super()._validate_config(raise_errors=False)
                for name in _WRONG_TYPE.findall(error)
            ]
            if self.config.get("stream_maps", {}) is None:
                problems.append("stream_maps is null: leave it out")
        if problems and raise_errors:
            message = "the settings cannot be used"
            raise ConfigValidationError(message, errors=problems, schema=self.config_jsonschema)
        return problems

    @classmethod
    def get_singer_command(cls) -> click.Command:
        """Return the SDK's command, with a help that says what comes next."""
        command = super().get_singer_command()
        command.help = _HELP
        return command

    @classmethod
    def append_builtin_config(cls, config_jsonschema: dict[str, Any]) -> None:
        """Offer the SDK's stream maps and flattening; its other settings are for tables."""
        super(Target, cls).append_builtin_config(config_jsonschema)

    @classmethod
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> Any:  # noqa: ANN401  (the SDK's)
        """Read the files of --config; the SDK takes a list for an object without settings."""
        given = super().cb_config(ctx, param, tuple(name for name in value if name == "ENV"))
        for name in value:
            if name != "ENV":
                given.config.update(read_config_file(name))
        return given
