"""Runs the mapper, and reports each error in one line."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

from singer_sdk.exceptions import ConfigValidationError, SingerSDKError
from singer_sdk.singerlib.exceptions import InvalidInputLine

from mapper_sentry_ocsf.config import SettingsError
from mapper_sentry_ocsf.mapper import MapperSentryOcsf
from mapper_sentry_ocsf.messages import OutputError, StoppedError
from mapper_sentry_ocsf.signals import handle_signals

if TYPE_CHECKING:
    from typing import NoReturn

# These lines say how the SDK reads settings and counts lines; users want to know about entries. The
# last line should be what is wrong with the settings.
_HIDDEN_LINES = (
    "Config validation failed",
    "Skipping parse of env var",
    "Parsing env var",
    "Reader '%s' completed",
)


def run() -> NoReturn:
    """Run the mapper; an error becomes one line for the user and an exit code other than 0."""
    # Modules stay, and records have no cycles, so collecting garbage would only cost time.
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    MapperSentryOcsf.logger.addFilter(_is_shown)
    try:
        _check_log_level()
        MapperSentryOcsf.cli()
    except StoppedError as stopped:
        _fail(stopped, 128 + stopped.signum)
    except Exception as error:  # noqa: BLE001  (a traceback helps no user)
        _fail(error, 1)
    sys.exit(1)


def _fail(error: Exception, code: int) -> NoReturn:
    # The run has failed, and there is nothing more to write.
    handle_signals(signal.SIG_IGN)
    logger = MapperSentryOcsf.logger
    # A file of SINGER_SDK_LOG_CONFIG may have disabled it.
    logger.disabled = False
    for line in _explain(error):
        logger.error(line)
    logger.debug("Where it happened:", exc_info=error)
    if isinstance(error, OSError):
        # Python would try to write what is left, and complain that it cannot.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _check_log_level() -> None:
    """Raise a SettingsError for a level that the SDK would end the program for."""
    for name in ("MAPPER_SENTRY_OCSF_LOGLEVEL", "LOGLEVEL"):
        if level := os.environ.get(name):
            if level.upper() not in logging.getLevelNamesMapping():
                cure = "write DEBUG, INFO, WARNING, ERROR, or CRITICAL"
                raise SettingsError([f"{name} is {level!r}: {cure}"])
            return


def _is_shown(line: logging.LogRecord) -> bool:
    return not str(line.msg).startswith(_HIDDEN_LINES)


def _explain(error: Exception) -> list[str]:
    if isinstance(error, ConfigValidationError):
        return list(error.errors)
    if isinstance(error, SettingsError):
        return error.problems
    if isinstance(error, InvalidInputLine | OutputError | SingerSDKError | StoppedError):
        return [" ".join(str(error).split())]
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        return [f"stdout cannot be written: {error.strerror}"]
    # The error's own text could contain part of a record.
    return [f"Unexpected {type(error).__name__} (LOGLEVEL=DEBUG shows where)"]
