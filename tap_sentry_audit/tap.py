"""The tap: its settings and its streams."""

from __future__ import annotations

import os
import sys
from functools import cached_property
from io import StringIO
from signal import Signals
from typing import IO, TYPE_CHECKING, Any, ClassVar

from singer_sdk import Tap
from singer_sdk import typing as th
from singer_sdk.configuration._dict_config import parse_environment_config
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers._classproperty import classproperty
from singer_sdk.helpers.capabilities import PluginCapabilities, TapCapabilities
from singer_sdk.singerlib import StateMessage

from tap_sentry_audit import signals
from tap_sentry_audit.api.rate_limit import Pacer
from tap_sentry_audit.config import (
    DEFAULT_HOST,
    NAME,
    Settings,
    SettingsError,
    load_dotenv_file,
    read_settings,
    remarks,
    unusable_variables,
)
from tap_sentry_audit.streams.audit_logs import AuditLogs
from tap_sentry_audit.streams.events import Events
from tap_sentry_audit.streams.flattening import FlatteningMapper
from tap_sentry_audit.streams.issues import Issues
from tap_sentry_audit.streams.lists import (
    Members,
    Organizations,
    Projects,
    Teams,
)
from tap_sentry_audit.streams.messages import MessageWriter
from tap_sentry_audit.streams.releases import Releases
from tap_sentry_audit.streams.state import read_state_file, usable_state

if TYPE_CHECKING:
    from types import FrameType

    from singer_sdk.helpers.capabilities import CapabilitiesEnum

    from tap_sentry_audit.api.regions import Region
    from tap_sentry_audit.streams.base import SentryStream
    from tap_sentry_audit.streams.schemas import Schema

STREAMS = (AuditLogs, Organizations, Projects, Teams, Members, Releases, Issues, Events)


class TapSentryAudit(Tap):
    """Singer tap for Sentry's organization audit log: every entry, once, in order."""

    name = NAME
    message_writer_class = MessageWriter

    # All of the SDK's but BATCH: its STATE goes out before the batch of its records, and its files
    # hold what stream maps mask and what was deselected (singer-sdk 0.54.9).
    capabilities: ClassVar[list[CapabilitiesEnum]] = [
        TapCapabilities.CATALOG,
        TapCapabilities.STATE,
        TapCapabilities.DISCOVER,
        TapCapabilities.ACTIVATE_VERSION,
        PluginCapabilities.ABOUT,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]

    message_writer: MessageWriter
    has_failed = False
    """Whether something could not be read: then the run fails at its end, or when it is stopped."""

    _is_held = False
    _is_state_loaded = False
    _signal: int | None = None

    config_jsonschema: ClassVar[Schema] = th.PropertiesList(
        th.Property(
            "auth_token",
            th.StringType,
            required=True,
            secret=True,
            title="Auth token",
            description=(
                "Token of an internal integration with Organization: Read & Write, or a "
                "personal token (scope org:write) of an Owner or Manager."
            ),
        ),
        th.Property(
            "organization",
            th.StringType,
            title="Organization",
            description="Slug of the organization. Exactly one of this and organizations.",
        ),
        th.Property(
            "organizations",
            th.ArrayType(th.StringType),
            title="Organizations",
            description="Slugs of several organizations, each with a bookmark of its own.",
        ),
        th.Property(
            "host",
            th.StringType,
            default=DEFAULT_HOST,
            title="Host",
            description=(
                "Where Sentry is: a name, a name and port, or a URL with a path prefix. Audit "
                "logs of sentry.io are there, whatever the organization's region."
            ),
        ),
        th.Property(
            "start_date",
            th.StringType,
            title="Start date",
            description="Where a first run begins: a date or date-time. Default: all there is.",
        ),
        th.Property(
            "backfill",
            th.BooleanType,
            default=True,
            title="Backfill",
            description=(
                "false: a first run reads nothing of the past, records the position, and the "
                "next run goes on from there."
            ),
        ),
        th.Property(
            "end_date",
            th.StringType,
            title="End date",
            description="Where to stop, exclusive: for one-off and sharded back-fills.",
        ),
        th.Property(
            "lookback_seconds",
            th.IntegerType,
            default=3600,
            title="Lookback",
            description="How far before the bookmark each run looks again for late entries.",
        ),
        th.Property(
            "requests_per_second",
            th.IntegerType,
            default=40,
            title="Requests per second",
            description="Most requests a second; the server's own limit can only lower it.",
        ),
        th.Property(
            "max_concurrent_requests",
            th.IntegerType,
            default=12,
            title="Requests at once",
            description="Most requests at once; the server's own limit can only lower it.",
        ),
        th.Property(
            "request_timeout_seconds",
            th.IntegerType,
            default=60,
            title="Request timeout",
            description="Seconds to wait for a connection, and for each part of an answer.",
        ),
        th.Property(
            "user_agent",
            th.StringType,
            title="User agent",
            description="What the tap calls itself. Default: its name and version.",
        ),
        th.Property(
            "redact_secrets",
            th.BooleanType,
            default=True,
            title="Redact secrets",
            description=(
                "Mask tokens, keys and passwords in every record, all but their last four "
                "characters."
            ),
        ),
    ).to_dict()

    @cached_property
    def settings(self) -> Settings:
        """The settings, checked."""
        return read_settings(self.config)

    @cached_property
    def pacer(self) -> Pacer:
        """The one pacer of the run: limits count per token, whatever is asked."""
        return Pacer(self.settings.requests_per_second, self.settings.max_concurrent_requests)

    @cached_property
    def regions(self) -> dict[str, Region]:
        """Each organization's region, as far as it was asked for."""
        return {}

    def discover_streams(self) -> list[SentryStream]:
        """Return the streams."""
        return [stream(self) for stream in STREAMS]

    @classmethod
    def invoke(cls, *, state: IO[str] | None = None, **options: Any) -> None:  # noqa: ANN401  (the SDK's)
        """Run the tap, unless the state file holds no state: the SDK takes `[]` for none given.

        Raises:
            StateError: It holds none.

        """
        if state is not None:
            state = StringIO(read_state_file(state))
        super().invoke(state=state, **options)

    def setup_mapper(self) -> None:
        """Set up stream maps, with a flattening behind them that loses nothing."""
        self.mapper = FlatteningMapper(self.config, self.logger)
        self.mapper.register_raw_streams_from_catalog(self.catalog)

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state, whatever wraps it.

        Raises:
            StateError: It is none.

        """
        super().load_state(usable_state(state, [stream.name for stream in STREAMS]))
        self._is_state_loaded = True

    def end_test(self, stream: SentryStream) -> None:
        """End a connection test with an error if a stream could not be read, behind the last."""
        selected = [stream for stream in self.streams.values() if stream.selected]
        if stream is selected[-1]:
            for one in selected:
                one.log_sync_costs()

    def hold_signals(self) -> None:
        """Put off a signal to stop: a record is being written and noted in the state."""
        self._is_held = True

    def release_signals(self) -> None:
        """Obey signals again, and one that came meanwhile."""
        self._is_held = False
        if self._signal is not None:
            self._handle_termination(self._signal, None)

    def close_state(self) -> None:
        """Write a STATE if other messages follow the last one, even if it says the same.

        Some targets forget a state when a record follows it (target-jsonl 0.1.4), and the SDK's
        own writer leaves out a STATE that equals the last one.
        """
        if self.state and not self.message_writer.ends_with_state:
            self.write_message(StateMessage(value=self.state))

    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """Stop with a last STATE, but not between a record and its note in the state.

        The SDK has no public hook for it. Its own writes a STATE even before the given state is
        loaded, which makes a target forget what it had.
        """
        if not self._is_state_loaded or not self.state or self._is_test:
            signals.stop_at_once(signum, frame)
        if self._is_held:
            self._signal = signum
            return
        self.logger.info("Stopped by %s: the state holds all that was sent", Signals(signum).name)
        try:
            self.close_state()
        except OSError:  # nobody reads any more
            sys.exit(1)
        sys.exit(int(self.has_failed))

    @property
    def _is_test(self) -> bool:
        return any(stream.ABORT_AT_RECORD_COUNT == 1 for stream in self.streams.values())

    @classproperty
    def _env_var_config(cls) -> dict[str, Any]:  # noqa: N805  (the SDK's)
        """Return the settings in the environment, which wins over a `.env` file.

        The SDK has no public hook for it. Its own lets the file win (singer-sdk 0.54.9,
        configuration/_dict_config.py), and does not say that there is one.
        """
        try:
            path = load_dotenv_file()
        except SettingsError as error:
            raise _unusable(error.problems) from None
        if path:
            cls.logger.info("Settings that the environment lacks come from %s", path)
        cls.append_builtin_config(cls.config_jsonschema)
        schema, prefix = cls.config_jsonschema, cls._env_var_prefix
        config = parse_environment_config(schema, prefix, dotenv_path=os.devnull)
        batch_config = os.environ.get(f"{prefix}BATCH_CONFIG")
        return config | ({"batch_config": batch_config} if batch_config else {})

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Check the settings before the SDK does.

        The SDK has no public hook for it, and its own errors echo values, secrets included.
        """
        problems = unusable_variables(os.environ, self.config_jsonschema)
        try:
            read_settings(self.config)
        except SettingsError as error:
            problems += error.problems
        if problems and raise_errors:
            raise _unusable(problems)
        if problems:
            return problems
        self.append_builtin_config(self.config_jsonschema)
        for remark in remarks(self.config, self.config_jsonschema):
            self.logger.warning(remark)
        return super()._validate_config(raise_errors=raise_errors)


def _unusable(problems: list[str]) -> ConfigValidationError:
    message = "the settings cannot be used"
    schema = TapSentryAudit.config_jsonschema
    return ConfigValidationError(message, errors=problems, schema=schema)
