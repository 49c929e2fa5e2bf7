"""The mapper: what becomes of each message."""

from __future__ import annotations

import os
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers.capabilities import PluginCapabilities
from singer_sdk.mapper_base import InlineMapper

from mapper_sentry_ocsf.config import (
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
from mapper_sentry_ocsf.events import KEY, EventMapper, UnusableEntryError
from mapper_sentry_ocsf.messages import TOO_DEEP, Line, MessageReader, MessageWriter
from mapper_sentry_ocsf.signals import Stop
from mapper_sentry_ocsf.streams import schemas, streams
from mapper_sentry_ocsf.table import table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import click
    from singer_sdk.helpers.capabilities import CapabilitiesEnum

    from mapper_sentry_ocsf.messages import Given

_HELP = """Turn the records of tap-sentry-audit into events of OCSF 1.8.0.

\b
Example:
  tap-sentry-audit --config tap.json | mapper-sentry-ocsf | target-jsonl

\b
Settings: --about
Documentation: plugins/mapper-sentry-ocsf/README.md in the repository of tap-sentry-audit
"""

_NEEDED = ("id", "dateCreated", "event")
_MOST_NAMED = 10
_NAME = re.compile(r"[\w.-]{1,60}", re.ASCII)
"""An event's name that a line of the log can hold."""

_encode = msgspec.json.Encoder(decimal_format="number").encode


class _Schema(msgspec.Struct):
    schema: Any = None


class _Record(msgspec.Struct, omit_defaults=True, tag_field="type", tag="RECORD"):
    stream: str
    record: dict[str, Any]
    time_extracted: Any = None
    version: Any = None


_decode_schema = msgspec.json.Decoder(_Schema).decode


class MapperSentryOcsf(InlineMapper):
    """Singer mapper: Sentry's audit log as events of OCSF."""

    name = NAME
    capabilities: ClassVar[list[CapabilitiesEnum]] = [
        PluginCapabilities.ABOUT,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]
    config_jsonschema: ClassVar[dict[str, Any]] = JSON_SCHEMA

    def __init__(self, **given: Any) -> None:  # noqa: ANN401  (the SDK's)
        """Make a mapper, which handles signals once it listens."""
        self._stop = Stop(
            f"{NAME} was stopped by a signal: nobody reads its output, and its last line may be cut"
        )
        writer = MessageWriter()
        self._reader = MessageReader(writer, self._stop)
        super().__init__(**{"message_reader": self._reader, "message_writer": writer, **given})
        self._has_schema = False
        self._mapped = 0

    @cached_property
    def settings(self) -> Settings:
        """The settings, parsed once; invalid ones raise a SettingsError."""
        return parse_settings(self.config)

    @cached_property
    def events(self) -> EventMapper:
        """What maps entries."""
        settings = self.settings
        return EventMapper(settings.severity_by_event, with_raw_data=settings.include_raw_data)

    @cached_property
    def _streams(self) -> dict[int, str]:
        return streams(self.settings)

    def map_schema_message(self, message_dict: Given) -> Iterator[Line]:
        """Yield the schemas of the events, or what is of another stream as it is."""
        if self._is_other(message_dict):
            yield Line(message_dict["line"])
            return
        self._check_schema(message_dict)
        self._has_schema = True
        for stream, properties in schemas(self.settings).items():
            found = {"stream": stream, "schema": properties, "key_properties": [KEY]}
            yield _line({"type": "SCHEMA", **found})

    def map_record_message(self, message_dict: Given) -> Iterable[Line]:
        """Return the event of an entry, or what is of another stream as it is."""
        if self._is_other(message_dict):
            return (Line(message_dict["line"]),)
        if not self._has_schema:
            self._reader.refuse("is a RECORD of audit entries that no SCHEMA came before")
        try:
            line = self._mapped_line(message_dict)
        except UnusableEntryError as error:
            self._reader.refuse(str(error))
        except RecursionError:
            self._reader.refuse("is an audit entry that is nested too deeply")
        except (msgspec.MsgspecError, ValueError):
            self._reader.refuse("is an audit entry that cannot be read")
        self._mapped += 1
        return (line,)

    def _mapped_line(self, message: Given) -> Line:
        record = message.get("record")
        if record is TOO_DEEP:
            raise RecursionError
        if isinstance(record, msgspec.Raw):
            event = self.events.map(record)
        else:
            event = self.events.map_object(record)
        stream = self._streams[event["class_uid"]]
        return _line(_Record(stream, event, message.get("time_extracted"), message.get("version")))

    def map_state_message(self, message_dict: Given) -> Iterable[Line]:
        """Return a state as it is: the order of messages stays."""
        return (Line(message_dict["line"]),)

    def map_activate_version_message(self, message_dict: Given) -> Iterator[Line]:
        """Yield the message for the streams of the events, or what is of another as it is."""
        if self._is_other(message_dict):
            yield Line(message_dict["line"])
            return
        given = message_dict.get
        for stream in dict.fromkeys(self._streams.values()):
            yield _line({"type": "ACTIVATE_VERSION", "stream": stream, "version": given("version")})

    def map_batch_message(self, message_dict: Given) -> Iterable[Line]:
        """Return a batch of another stream as it is; one of audit entries is an error."""
        if self._is_other(message_dict):
            return (Line(message_dict["line"]),)
        return self._reader.refuse(
            "is a BATCH, and only records can be mapped: take batch_config out of the tap's "
            "settings"
        )

    def process_endofpipe(self) -> None:
        """Say what was mapped, and what could not be as well as it should."""
        stream = self.settings.input_stream
        if not self._has_schema:
            self.logger.warning(
                "There was no stream %r in the input: everything was passed on as it is", stream
            )
            return
        entries = "1 entry" if self._mapped == 1 else f"{self._mapped:,} entries"
        self.logger.info("%s mapped to OCSF %s", entries, table().ocsf_version)
        if unknown := sorted(self.events.unknown):
            shown = [name if _NAME.fullmatch(name) else "…" for name in unknown[:_MOST_NAMED]]
            more = ", …" if len(unknown) > _MOST_NAMED else ""
            self.logger.warning(
                "Events that the table does not have were mapped by their names: %s%s",
                ", ".join(shown),
                more,
            )

    def _is_other(self, message: Given) -> bool:
        """Whether a message is of another stream, which must not be one that events go into."""
        stream = message.get("stream")
        if stream == self.settings.input_stream:
            return False
        if stream in self._streams.values():
            self._reader.refuse(
                f"is of a stream {stream!r}, as the events are: choose another output_stream"
            )
        return True

    def _check_schema(self, message: Given) -> None:
        try:
            schema = message.get("schema") or _decode_schema(message["line"]).schema
        except (msgspec.MsgspecError, RecursionError):
            schema = None
        properties = schema.get("properties") if isinstance(schema, dict) else None
        if not isinstance(properties, dict):
            self._reader.refuse("is a SCHEMA whose schema has no properties")
        if any(name.startswith(("actor__", "data__")) for name in properties):
            self._reader.refuse(
                "is a SCHEMA of flattened entries: take flattening_enabled out of the settings of "
                "the tap, and flatten in the target"
            )
        for name in _NEEDED:
            if name not in properties:
                self._reader.refuse(
                    f"is a SCHEMA of entries without {name}: select this field in the tap"
                )

    @property
    def _env_var_config(self) -> dict[str, Any]:
        """The settings in the environment; a `.env` file adds those that are not there.

        The SDK has no public hook for it (singer-sdk 0.54.9, plugin_base.py:333). Its own lets the
        values of the file win.
        """
        if path := load_dotenv_file():
            self.logger.info("Settings that the environment lacks come from %s", path)
        return parse_variables(os.environ)

    def _setup_signal_handlers(self) -> None:
        """Leave signals to the command until the mapper is made.

        The SDK has no public hook for it (singer-sdk 0.54.9, plugin_base.py:282).
        """

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Check the settings before the SDK does.

        The SDK has no public hook for it, and its own errors name one setting at a time
        (singer-sdk 0.54.9, plugin_base.py:447).
        """
        try:
            settings = self.settings
        except SettingsError as error:
            problems = error.problems
        else:
            problems = []
            for remark in remarks(self.config, settings, table().events, os.environ):
                self.logger.warning(remark)
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
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> Any:  # noqa: ANN401  (the SDK's)
        """Read the files of --config; the SDK takes a list for an object without settings."""
        given = super().cb_config(ctx, param, tuple(name for name in value if name == "ENV"))
        for name in value:
            if name != "ENV":
                given.config.update(read_config_file(name))
        return given


def _line(message: object) -> Line:
    return Line(_encode(message) + b"\n")
