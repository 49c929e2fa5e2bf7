"""The tap: its settings, its state, and what a signal does while it runs."""

from __future__ import annotations

import io
import os
import re
import signal
from contextlib import suppress
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any, ClassVar

from singer_sdk import Tap
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers._classproperty import classproperty  # for _env_var_config
from singer_sdk.helpers.capabilities import PluginCapabilities
from singer_sdk.singerlib import StateMessage

from tap_captivateiq_audit.config import (
    JSON_SCHEMA,
    NAME,
    SettingsError,
    load_dotenv_file,
    parse_settings,
    parse_variables,
    read_config_file,
    remarks,
)
from tap_captivateiq_audit.messages import MessageWriter, stopping
from tap_captivateiq_audit.state import parse_bookmarks, read_state_file
from tap_captivateiq_audit.stream import AuditLogs

if TYPE_CHECKING:
    from types import FrameType

    import click
    from singer_sdk.helpers.capabilities import CapabilitiesEnum

_EPILOG = f"""\b
Example:
  {NAME} --config config.json --state state.json | target-jsonl
Documentation:
  plugins/{NAME}/README.md in the repository of tap-sentry-audit
"""
_STDERR = 2
_WRONG_TYPE = re.compile(r"in config\['?(\w+)")


class TapCaptivateiqAudit(Tap):
    """Singer tap for CaptivateIQ's audit log: every entry, once, in order."""

    name = NAME
    message_writer_class = MessageWriter
    # With the SDK's batches a STATE is written before the BATCH that holds its records, and batch
    # files bypass stream_maps and the selection of fields.
    capabilities: ClassVar[list[CapabilitiesEnum]] = [
        one for one in Tap.capabilities if one is not PluginCapabilities.BATCH
    ]

    config_jsonschema: ClassVar[dict[str, Any]] = JSON_SCHEMA

    _audit_logs: AuditLogs | None = None

    _is_sync: ClassVar[bool] = False
    """Whether the command syncs, and neither tests nor discovers."""

    def discover_streams(self) -> list[AuditLogs]:
        """Return the stream."""
        self._audit_logs = AuditLogs(self)
        return [self._audit_logs]

    @classmethod
    def get_singer_command(cls) -> click.Command:
        """Return the command, whose help says what it does and ends with an example."""
        command = super().get_singer_command()
        command.help = "Read CaptivateIQ's audit log, and write it to stdout as Singer messages."
        command.epilog = _EPILOG
        return command

    @classmethod
    def invoke(cls, *, state: IO[str] | None = None, **options: Any) -> None:  # noqa: ANN401  (the SDK's)
        """Sync, with a state file that holds an object, or raise StateError.

        The SDK takes any other file for no state.
        """
        cls._is_sync = True
        whole = io.StringIO(read_state_file(state)) if state is not None else None
        super().invoke(state=whole, **options)

    def load_state(self, state: dict[str, Any]) -> None:
        """Load a state of this tap, or raise StateError; after that, a signal leaves a STATE."""
        super().load_state({"bookmarks": parse_bookmarks(state, AuditLogs.name)})
        super()._setup_signal_handlers()

    def _setup_signal_handlers(self) -> None:
        """Leave the handlers as they are until the state is loaded.

        The SDK has no public hook for it (singer-sdk 0.54.9, plugin_base.py:282). It sets its own
        before that, and a signal in between would replace the given state by an empty STATE.
        """

    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """Exit at once: with a STATE of all that was sent, or with a failure if there is none.

        The SDK has no public hook for it (singer-sdk 0.54.9, tap_base.py:507). Its own method omits
        a STATE that equals the last one, which the target may not have any more.
        """
        del frame
        stopping.set()
        code, end = 128 + signum, "no state was written"
        stream = self._audit_logs
        if self._is_sync and (state := stream.tap_state if stream else self.state):
            try:
                self.write_message(StateMessage(state))
            except OSError:  # the target is gone
                end = "its last STATE could not be written"
            else:
                code = int(stream is not None and stream.has_failed)
                end = "its last STATE covers everything that it sent"
        line = f"{self.name} was stopped by {signal.Signals(signum).name}: {end}\n"
        with suppress(OSError):
            os.write(_STDERR, line.encode())
        # The code that the signal interrupted could swallow the exception of sys.exit.
        os._exit(code)

    @classproperty
    def _env_var_config(cls) -> dict[str, Any]:  # noqa: N805  (a class's)
        """Return the settings in the environment; a `.env` file adds those that are not there.

        The SDK has no public hook for it (singer-sdk 0.54.9, plugin_base.py:333). Its own lets the
        values of the file win.
        """
        if path := load_dotenv_file():
            cls.logger.info("Settings that the environment lacks come from %s", path)
        cls.append_builtin_config(cls.config_jsonschema)
        return parse_variables(os.environ, cls.config_jsonschema["properties"])

    @classmethod
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> Any:  # noqa: ANN401  (the SDK's)
        """Read the files of --config; the SDK takes a list for an object without settings."""
        given = super().cb_config(ctx, param, tuple(name for name in value if name == "ENV"))
        for name in value:
            if name != "ENV":
                given.config.update(read_config_file(name))
        return given

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Check the settings before the SDK does.

        The SDK has no public hook for it, and its own errors echo values, secrets included
        (singer-sdk 0.54.9, plugin_base.py:447).
        """
        try:
            settings = parse_settings(self.config)
        except SettingsError as error:
            problems = error.problems
        else:
            # The SDK's own check does not take 1.0, which is a Decimal, for an integer.
            for name, value in self.config.items():
                if isinstance(value, Decimal) and hasattr(settings, name):
                    self._config[name] = int(value)
            self.append_builtin_config(self.config_jsonschema)
            for remark in remarks(self.config, self.config_jsonschema["properties"]):
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
