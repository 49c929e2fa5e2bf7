"""The target: its settings, its sinks, and the messages it reads."""

from __future__ import annotations

import json
import os
import sys
from decimal import Decimal
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, ClassVar

import msgspec
import simplejson
from singer_sdk import Target
from singer_sdk import typing as th
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers.capabilities import PluginCapabilities
from singer_sdk.singerlib.encoding import GenericSingerReader
from singer_sdk.singerlib.exceptions import InvalidInputLine
from singer_sdk.sinks import BatchSink

from target_otlp.delivery import Delivery
from target_otlp.settings import NAME, Settings, SettingsError, read_settings, remarks

if TYPE_CHECKING:
    from types import FrameType

    from singer_sdk.helpers.capabilities import CapabilitiesEnum

    from target_otlp.delivery import State
    from target_otlp.values import Record

Message = dict[str, Any]

_decode = msgspec.json.Decoder(float_hook=Decimal).decode


class MessageReader(GenericSingerReader[bytes]):
    """Reads messages with every number in full, and tells of a bad one without repeating it."""

    _lines = 0

    @property
    def default_input(self) -> IO[bytes]:
        """What is read."""
        return sys.stdin.buffer

    def deserialize_json(self, line: bytes) -> Message:
        """Return a line's message.

        Raises:
            InvalidInputLine: It is none.

        """
        self._lines += 1
        try:
            message = _decode(line)
        except (msgspec.DecodeError, RecursionError):
            message = self._decode_leniently(line)
        if not isinstance(message, dict):
            error = f"Line {self._lines:,} of the input is no object."
            raise InvalidInputLine(error)
        if message.get("type") == "RECORD" and not isinstance(message.get("record"), dict):
            error = f"Line {self._lines:,} of the input is a RECORD without a record."
            raise InvalidInputLine(error)
        return message

    def _decode_leniently(self, line: bytes) -> object:
        """Read what only Python reads: lone surrogates, NaN and its like, which become text."""
        try:
            return json.loads(line, parse_float=Decimal, parse_constant=str)
        except (ValueError, RecursionError) as error:
            message = f"Line {self._lines:,} of the input is no JSON ({error})."
            raise InvalidInputLine(message) from None

    @staticmethod
    def assert_line_requires(line_dict: Message, requires: set[str]) -> None:
        """Raise an error if a message lacks something; the SDK's would hold the whole message."""
        missing = sorted(requires - line_dict.keys())
        if missing:
            kind = line_dict.get("type", "message")
            error = f"A {kind} of the input has no {' and no '.join(missing)}."
            raise InvalidInputLine(error)


class OtlpSink(BatchSink):
    """Hands a stream's records on as they come; the target's one delivery has the batches."""

    current_size = 0
    """The sink itself keeps nothing back."""

    def __init__(self, target: TargetOtlp, **stream: Any) -> None:  # noqa: ANN401  (the SDK's)
        """Make a sink of a stream."""
        super().__init__(target=target, **stream)
        # By a schema the SDK would turn times into Python's, which have no nanoseconds.
        self.schema = {"properties": {}, "additionalProperties": True}
        self._delivery = target.delivery
        self._mapping = target.settings.mapping(self.stream_name)
        self._is_told = self._mapping.time is None

    def get_validator(self) -> None:
        """Validate nothing: any record can be sent, and a check would take most of the time."""

    def _remove_sdc_metadata_from_record(self, record: Record) -> None:
        """Leave what the tap sent; the SDK would drop it, and has no public hook for it."""

    def process_record(self, record: Record, context: Message) -> None:
        """Take a record."""
        del context
        has_time = self._delivery.add(record, self._mapping)
        if not has_time and not self._is_told:
            self._is_told = True
            self.logger.warning(
                "%s: at least one record has no time at the path that mapping says; such records "
                "are sent without one",
                self.stream_name,
            )

    def process_batch(self, context: Message) -> None:
        """Take the records of a BATCH message's file."""
        for record in context.get("records", ()):
            self.process_record(record, context)

    def clean_up(self) -> None:
        """Send what waits at the end."""
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

    # What OpenTelemetry's variables can say has no default here: the SDK would set it.
    config_jsonschema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property(
            "endpoint",
            th.StringType,
            title="Endpoint",
            description=(
                "Where the receiver is: an http or https URL. Without a path it gets /v1/logs."
            ),
        ),
        th.Property(
            "headers",
            th.ObjectType(additional_properties=True),
            secret=True,
            title="Headers",
            description="Headers of every request, such as one with an API key.",
        ),
        th.Property(
            "max_batch_size",
            th.IntegerType,
            default=500,
            title="Batch size",
            description="Most log records of a request, 1 to 1000.",
        ),
        th.Property(
            "max_batch_bytes",
            th.IntegerType,
            default=4_000_000,
            title="Batch bytes",
            description=(
                "Most bytes of a request, before compression and as protobuf; a single log record "
                "can be larger."
            ),
        ),
        th.Property(
            "compression",
            th.StringType,
            title="Compression",
            description="none or gzip. Default: none.",
        ),
        th.Property(
            "encoding",
            th.StringType,
            title="Encoding",
            description="protobuf or json. Default: protobuf.",
        ),
        th.Property(
            "timeout_seconds",
            th.IntegerType,
            title="Timeout",
            description="Seconds to wait for a connection, and for an answer. Default: 10.",
        ),
        th.Property(
            "max_retry_seconds",
            th.IntegerType,
            default=300,
            title="Longest retry",
            description="Seconds for which a request is tried again before the run fails.",
        ),
        th.Property(
            "on_partial_success",
            th.StringType,
            default="fail",
            title="On partial success",
            description=(
                "fail or warn: what to do if the receiver rejects some records of a request."
            ),
        ),
        th.Property(
            "resource_attributes",
            th.ObjectType(additional_properties=True),
            title="Resource attributes",
            description="Attributes of the resource. Default: service.name is singer.",
        ),
        th.Property(
            "mapping",
            th.ObjectType(additional_properties=True),
            title="Mapping",
            description=(
                "For each stream, and for * (every stream): JSON paths of time, event_name, id, "
                "severity and body, and attributes as names and paths. Default: the whole record "
                "as JSON in the body."
            ),
        ),
    ).to_dict()

    @cached_property
    def settings(self) -> Settings:
        """The settings, checked."""
        return read_settings(self.config, os.environ)

    @cached_property
    def delivery(self) -> Delivery:
        """The one delivery of the run: streams share its batches."""
        return Delivery(self.settings, _write_state)

    def process_endofpipe(self) -> None:
        """Send what waits, and say how much it was."""
        super().process_endofpipe()
        self.logger.info(
            "%s records accepted by %s", f"{self.delivery.accepted:,}", self.delivery.receiver.name
        )

    def _process_state_message(self, message_dict: Message) -> None:
        """Let a state out as soon as all before it is accepted.

        The SDK has no public hook for it: by itself it writes state at the end alone, and none
        where that is an error.
        """
        self.message_reader.assert_line_requires(message_dict, {"value"})
        self.delivery.add_state(message_dict["value"])

    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """Send what waits, and stop. The SDK would end with 0 even where that failed."""
        del frame
        self.logger.info("Stopped by signal %d", signum)
        self.process_endofpipe()
        sys.exit(0)

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Check the settings before the SDK does.

        The SDK has no public hook for it, and its own errors echo values, secrets included.
        """
        try:
            settings = read_settings(self.config, os.environ)
        except SettingsError as error:
            if not raise_errors:
                return error.problems
            message = "the settings cannot be used"
            raise ConfigValidationError(
                message, errors=error.problems, schema=self.config_jsonschema
            ) from None
        self.append_builtin_config(self.config_jsonschema)
        for remark in remarks(self.config, settings, self.config_jsonschema["properties"]):
            self.logger.warning(remark)
        return super()._validate_config(raise_errors=raise_errors)

    @classmethod
    def append_builtin_config(cls, config_jsonschema: dict[str, Any]) -> None:
        """Offer the SDK's stream maps and flattening; its other settings are for tables."""
        super(Target, cls).append_builtin_config(config_jsonschema)


def _write_state(state: State) -> None:
    sys.stdout.write(f"{simplejson.dumps(state, use_decimal=True)}\n")
    sys.stdout.flush()
