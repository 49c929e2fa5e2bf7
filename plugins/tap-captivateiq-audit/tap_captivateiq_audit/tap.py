"""The tap: its settings and its one stream."""

from __future__ import annotations

import io
import os
import signal
from contextlib import suppress
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, ClassVar

from singer_sdk import Tap
from singer_sdk import typing as th
from singer_sdk.configuration._dict_config import parse_environment_config
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers._classproperty import classproperty
from singer_sdk.helpers.capabilities import PluginCapabilities
from singer_sdk.singerlib import StateMessage

from tap_captivateiq_audit.client import Client
from tap_captivateiq_audit.messages import MessageWriter
from tap_captivateiq_audit.pacing import Pacer
from tap_captivateiq_audit.settings import (
    API_URL,
    NAME,
    PER_HOUR,
    PER_SECOND,
    Settings,
    SettingsError,
    add_dotenv,
    read_settings,
    remarks,
    unusable_variables,
)
from tap_captivateiq_audit.state import bookmarks_in, read_state_file
from tap_captivateiq_audit.stream import AuditLogs

if TYPE_CHECKING:
    from types import FrameType

    from singer_sdk.helpers.capabilities import CapabilitiesEnum

_STDERR = 2


class TapCaptivateiqAudit(Tap):
    """Singer tap for CaptivateIQ's audit log: every entry, once, in order."""

    name = NAME
    message_writer_class = MessageWriter
    # With the SDK's batches a STATE goes out before the BATCH that holds its records, and batch
    # files bypass stream_maps and the selection of fields.
    capabilities: ClassVar[list[CapabilitiesEnum]] = [
        one for one in Tap.capabilities if one is not PluginCapabilities.BATCH
    ]

    has_failed = False
    """Whether the run is to end with an error though it goes on to its end."""

    _is_sync: ClassVar[bool] = False
    """Whether the command is to sync, and neither to test nor to discover."""

    config_jsonschema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property(
            "api_token",
            th.StringType,
            required=True,
            secret=True,
            title="API token",
            description="Made in CaptivateIQ, in your profile on the tab API Tokens.",
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
            "lookback_days",
            th.IntegerType,
            default=1,
            title="Lookback",
            description="How many days before the bookmark each run looks again for late entries.",
        ),
        th.Property(
            "requests_per_second",
            th.IntegerType,
            default=PER_SECOND,
            title="Requests per second",
            description="Most requests a second: 5 on the Standard plan, 15 on Enterprise.",
        ),
        th.Property(
            "requests_per_hour",
            th.IntegerType,
            default=PER_HOUR,
            title="Requests per hour",
            description="Most requests an hour: 1,500 on the Standard plan, 6,000 on Enterprise.",
        ),
        th.Property(
            "api_url",
            th.StringType,
            default=API_URL,
            title="API URL",
            description="Where the API is.",
        ),
    ).to_dict()

    @cached_property
    def settings(self) -> Settings:
        """The settings, checked."""
        return read_settings(self.config)

    @cached_property
    def pacer(self) -> Pacer:
        """The one pacer of the run."""
        return Pacer(self.settings.requests_per_second, self.settings.requests_per_hour)

    @cached_property
    def client(self) -> Client:
        """The one client of the run."""
        return Client(self.settings, self.pacer)

    def discover_streams(self) -> list[AuditLogs]:
        """Return the stream."""
        return [AuditLogs(self)]

    @classmethod
    def invoke(cls, *, state: IO[str] | None = None, **options: Any) -> None:  # noqa: ANN401  (the SDK's)
        """Sync, with a state file that holds an object: the SDK takes anything else for none.

        Raises:
            StateError: The state file holds something else.

        """
        cls._is_sync = True
        whole = io.StringIO(read_state_file(state)) if state is not None else None
        super().invoke(state=whole, **options)

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a state; from then on a sync that a signal stops ends with a STATE.

        Raises:
            StateError: It is none of this tap's.

        """
        super().load_state({"bookmarks": bookmarks_in(state, AuditLogs.name)})
        super()._setup_signal_handlers()

    def _setup_signal_handlers(self) -> None:
        """Leave the handlers as they are until the state is taken up.

        The SDK has no public hook for it. It sets its own before, and a signal in between would
        let an empty STATE take the place of the one that was given.
        """

    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """End at once: a sync with a STATE of all that it sent, a test or a discovery with none.

        The SDK has no public hook for it. Its own leaves out a STATE that equals the last one,
        which a target may have forgotten since.
        """
        del frame
        code, end = 128 + signum, ""
        if self._is_sync:
            try:
                if self.state:
                    self.write_message(StateMessage(self.state))
            except OSError:  # the target is gone
                end = ": its last STATE could not be written"
            else:
                code = int(self.has_failed)
                sent = "its last STATE holds all that it sent" if self.state else "nothing was sent"
                end = f": {sent}"
        line = f"{self.name} was stopped by {signal.Signals(signum).name}{end}\n"
        with suppress(OSError):
            os.write(_STDERR, line.encode())
        # The exception behind sys.exit could be swallowed, in whatever code the signal came.
        os._exit(code)

    @classproperty
    def _env_var_config(cls) -> dict[str, Any]:  # noqa: N805  (a class's)
        """Return the settings in the environment; a `.env` file adds what is not there.

        The SDK has no public hook for it. Its own lets the file's values win.
        """
        if file := add_dotenv():
            cls.logger.info("Settings that the environment lacks come from %s", file)
        cls.append_builtin_config(cls.config_jsonschema)
        return parse_environment_config(
            cls.config_jsonschema, cls._env_var_prefix, dotenv_path=os.devnull
        )

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Check the settings before the SDK does.

        The SDK has no public hook for it, and its own errors echo values, secrets included.
        """
        problems = unusable_variables(os.environ)
        try:
            read_settings(self.config)
        except SettingsError as error:
            problems += error.problems
        if problems and raise_errors:
            message = "the settings cannot be used"
            raise ConfigValidationError(message, errors=problems, schema=self.config_jsonschema)
        if problems:
            return problems
        self.append_builtin_config(self.config_jsonschema)
        for remark in remarks(self.config, self.config_jsonschema["properties"]):
            self.logger.warning(remark)
        return super()._validate_config(raise_errors=raise_errors)
