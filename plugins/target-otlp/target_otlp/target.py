"""The target: its settings, its sinks, and the messages it reads."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from contextlib import contextmanager
from decimal import Decimal
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, ClassVar, cast

import msgspec
import simplejson
from singer_sdk import Target
from singer_sdk import typing as th
from singer_sdk.configuration._dict_config import parse_environment_config
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers.capabilities import PluginCapabilities
from singer_sdk.singerlib.encoding import GenericSingerReader
from singer_sdk.singerlib.exceptions import InvalidInputLine
from singer_sdk.sinks import RecordSink

from target_otlp.delivery import Delivery
from target_otlp.environment import EnvironmentFileError, fill_environment
from target_otlp.receiver import DeliveryError
from target_otlp.settings import NAME, Settings, SettingsError, read_settings, remarks
from target_otlp.stopping import Stop, StoppedError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator
    from types import FrameType

    import click
    from singer_sdk.helpers.capabilities import CapabilitiesEnum

    from target_otlp.delivery import State
    from target_otlp.values import Record

Message = dict[str, Any]

_PARTS: dict[str, dict[str, type]] = {
    "SCHEMA": {"stream": str, "schema": dict},
    "RECORD": {"stream": str, "record": dict},
    "STATE": {"value": dict},
    "ACTIVATE_VERSION": {},
}
"""What a message must have."""

_LONG = 4000
_WRONG_TYPE = re.compile(r"in config\['?(\w+)")

_decode: Callable[[bytes], Message] = msgspec.json.Decoder(float_hook=Decimal).decode


def on_signals(do: signal.Handlers) -> None:
    """Say what the signals do that tell a program to stop."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, do)


class MessageReader(GenericSingerReader[bytes]):
    """Reads messages with every number in full, and tells of a bad one without repeating it."""

    def __init__(
        self, stop: Stop | None = None, at_first_line: Callable[[], None] = lambda: None
    ) -> None:
        """Make a reader; it calls a function when the first line has come."""
        super().__init__()
        self._stop = stop or Stop()
        self._at_first_line = at_first_line
        self._lines = 0

    @property
    def default_input(self) -> IO[bytes]:
        """What is read."""
        return sys.stdin.buffer

    def process_lines(
        self,
        file_input: IO[bytes] | None,
        callbacks: dict[str, Callable[[Message], None]],
    ) -> Counter[str]:
        """Read all messages, or up to a signal; what the SDK opens as text is read as bytes too."""
        lines = getattr(file_input, "buffer", file_input) or self.default_input
        # All that the SDK does with it is to go through its lines.
        return super().process_lines(cast("IO[bytes]", self._read(lines)), callbacks)

    def _read(self, lines: IO[bytes]) -> Iterator[bytes]:
        while True:
            try:
                with self._stop:
                    line = lines.readline()
            except StoppedError:
                return
            if not line:
                return
            if not self._lines:
                self._at_first_line()
            yield line

    def deserialize_json(self, line: bytes) -> Message:
        """Return a line's message.

        Raises:
            InvalidInputLine: It is none that a target can use.

        """
        self._lines += 1
        message: Message | None
        try:
            message = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError):
            try:
                message = _decode_leniently(line)
            except (ValueError, RecursionError):
                message = None
        problem = _problem(message)
        if problem or message is None:
            error = f"Line {self._lines:,} of the input {problem}."
            raise InvalidInputLine(error)
        return message


def _decode_leniently(line: bytes) -> Message:
    """Read what only Python reads: lone surrogates; NaN and its like, which become text."""
    text = line.decode("utf-8-sig", "surrogatepass")
    message: Message = json.loads(
        text, parse_float=_decimal, parse_int=_integer, parse_constant=str
    )
    return message


def _decimal(digits: str) -> Decimal | str:
    """Read a number; one beyond all bounds stays text."""
    try:
        return Decimal(digits)
    except ArithmeticError:
        return digits


def _integer(digits: str) -> int | Decimal:
    """Read an integer of any length; Python has a limit for its own."""
    return int(digits) if len(digits) < _LONG else Decimal(digits)


def _problem(message: object) -> str | None:
    """Return what is wrong with a message, without what it holds."""
    if not isinstance(message, dict):
        return "is no message in JSON"
    kind = message.get("type")
    if kind == "BATCH":
        return (
            "is a BATCH, and only records can be sent: take batch_config out of the tap's settings"
        )
    if not isinstance(kind, str) or kind not in _PARTS:
        return "has no type that Singer knows"
    for name, shape in _PARTS[kind].items():
        if not isinstance(message.get(name), shape):
            return f"is a {kind} without a usable {name}"
    return _problem_of_schema(message) if kind == "SCHEMA" else None


def _problem_of_schema(message: Message) -> str | None:
    if not isinstance(message["schema"].get("properties"), dict):
        return "is a SCHEMA whose schema has no properties"
    if not isinstance(message.get("key_properties", []), list | None):
        return "is a SCHEMA whose key_properties are no list"
    return None


class OtlpSink(RecordSink):
    """Hands a stream's records on as they come; the target's one delivery has the batches."""

    include_sdc_metadata_properties = False

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
            description=(
                "Seconds to wait for a connection, and for each part of an answer. Default: 10."
            ),
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

    _is_over = False

    def __init__(self, **given: Any) -> None:  # noqa: ANN401  (the SDK's)
        """Make a target; signals are its business once it has read a line."""
        self._stop = Stop()
        reader = MessageReader(self._stop, super()._setup_signal_handlers)
        super().__init__(**{"message_reader": reader, **given})

    @cached_property
    def settings(self) -> Settings:
        """The settings, checked."""
        return read_settings(self.config, os.environ)

    @cached_property
    def delivery(self) -> Delivery:
        """The one delivery of the run: streams share its batches."""
        return Delivery(self.settings, _write_state, self._stop)

    def process_endofpipe(self) -> None:
        """Send what waits, and say how much it was."""
        if self._stop.signum is not None:
            self.logger.info("Stopped by signal %d: sending what waits", self._stop.signum)
        super().process_endofpipe()
        self._is_over = True
        self._say_accepted()

    def _process_state_message(self, message_dict: Message) -> None:
        """Let a state out as soon as all before it is accepted.

        The SDK has no public hook for it: by itself it writes state at the end alone, and none
        where that is an error.
        """
        self.delivery.add_state(message_dict["value"])

    def _process_activate_version_message(self, message_dict: Message) -> None:
        """Do nothing: logs have no versions. The SDK would warn of columns that no one adds."""

    @property
    def _env_var_config(self) -> dict[str, Any]:
        """What the environment says, and for what it lacks the SDK's .env file.

        The SDK has no public hook for it, and would let the file win over the environment.
        """
        try:
            path = fill_environment()
        except EnvironmentFileError as error:
            raise self._unusable([str(error)]) from None
        if path:
            self.logger.info("Settings that the environment lacks come from %s", path)
        self.append_builtin_config(self.config_jsonschema)
        return parse_environment_config(
            self.config_jsonschema, self._env_var_prefix, dotenv_path=os.devnull
        )

    def _setup_signal_handlers(self) -> None:
        """Leave signals to the command until there is something to finish.

        The SDK has no public hook for it, and would take them over before anything is read: a
        signal would then end with 0.
        """

    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """Tell the run to stop; a second signal stops it at once.

        The SDK has no public hook for it. It would send from within the handler, and end with 0
        even where that failed.
        """
        del frame
        if not self._is_over:
            on_signals(signal.SIG_DFL)
            self._stop.tell(signum)

    def _say_accepted(self) -> None:
        accepted, name = f"{self.delivery.accepted:,}", self.delivery.receiver.name
        self.logger.info("%s records accepted by %s", accepted, name)

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Check the settings before the SDK does.

        The SDK has no public hook for it, and its own errors echo values, secrets included.
        """
        try:
            settings = read_settings(self.config, os.environ)
        except SettingsError as error:
            problems = error.problems
        else:
            self.append_builtin_config(self.config_jsonschema)
            for remark in remarks(self.config, settings, self.config_jsonschema["properties"]):
                self.logger.warning(remark)
            # Without the values that its errors hold, only the SDK's own settings are left here.
            problems = [
                f"{name} has a wrong type or value: compare it with --about"
                for error in super()._validate_config(raise_errors=False)
                for name in _WRONG_TYPE.findall(error)
            ]
            if self.config.get("stream_maps", {}) is None:
                problems.append("stream_maps is null: leave it out")
        if problems and raise_errors:
            raise self._unusable(problems)
        return problems

    @classmethod
    def _unusable(cls, problems: list[str]) -> ConfigValidationError:
        message = "the settings cannot be used"
        return ConfigValidationError(message, errors=problems, schema=cls.config_jsonschema)

    @classmethod
    def append_builtin_config(cls, config_jsonschema: dict[str, Any]) -> None:
        """Offer the SDK's stream maps and flattening; its other settings are for tables."""
        super(Target, cls).append_builtin_config(config_jsonschema)

    @classmethod
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> Any:  # noqa: ANN401  (the SDK's)
        """Read the files of --config."""
        try:
            return super().cb_config(ctx, param, value)
        except (OSError, TypeError, ValueError):
            names = ", ".join(name for name in value if name != "ENV")
            problem = f"--config is {names}: name files that each hold one JSON object"
            raise cls._unusable([problem]) from None


def _write_state(state: State) -> None:
    try:
        with _undisturbed():
            sys.stdout.write(f"{simplejson.dumps(state, use_decimal=True)}\n")
            sys.stdout.flush()
    except (AttributeError, OSError) as error:
        # Where stdout was closed from the start, Python has none. Otherwise what is left in its
        # buffer must go somewhere, or Python complains of it at the end.
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        message = f"The state cannot be written to stdout ({type(error).__name__})"
        raise DeliveryError(message) from None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no signal break off what is being written: with PYTHONUNBUFFERED the rest were lost."""
    if sys.platform == "win32":  # which has no signals to put off
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
