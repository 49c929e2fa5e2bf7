"""Runs the target, and explains errors in one line each."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

from singer_sdk.exceptions import ConfigValidationError, SingerSDKError
from singer_sdk.singerlib.exceptions import InvalidInputLine

from target_otlp.config import SettingsError
from target_otlp.receiver import DeliveryError
from target_otlp.signals import handle_signals
from target_otlp.target import TargetOtlp

if TYPE_CHECKING:
    from typing import NoReturn

# How the SDK reads settings and counts lines, and what it does every five minutes to sinks that
# keep nothing: users want to know about records.
_HIDDEN_LINES = (
    "Skipping parse of env var",
    "Parsing env var",
    "Reader '%s' completed",
    "One or more records have exceeded the max age",
)


def run() -> NoReturn:
    """Run the target; an error becomes a line for a user and an exit code other than 0."""
    # Modules stay, and records have no cycles: to look for garbage costs time for nothing.
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    TargetOtlp.logger.addFilter(_is_shown)
    # It would log URLs with their query, which can hold a key.
    logging.getLogger("urllib3.connectionpool").addFilter(lambda line: line.levelno > logging.DEBUG)
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
    try:
        _check_log_level()
        TargetOtlp.cli()
    except Exception as error:  # noqa: BLE001  (a traceback helps no user)
        # The run has failed, and there is nothing more to send.
        handle_signals(signal.SIG_IGN)
        # A file of SINGER_SDK_LOG_CONFIG may have disabled it.
        TargetOtlp.logger.disabled = False
        for line in _explain(error):
            TargetOtlp.logger.error(line)
        TargetOtlp.logger.debug("Where it happened:", exc_info=True)
        if isinstance(error, OSError):
            # Python would try to write what is left, and complain that it cannot.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)


def _check_log_level() -> None:
    """Raise a SettingsError for a level that the SDK would end the program for."""
    for name in ("TARGET_OTLP_LOGLEVEL", "LOGLEVEL"):
        if level := os.environ.get(name):
            if level.upper() not in logging.getLevelNamesMapping():
                cure = "write DEBUG, INFO, WARNING, ERROR, or CRITICAL"
                raise SettingsError([f"{name} is {level!r}: {cure}"])
            return


def _is_shown(line: logging.LogRecord) -> bool:
    return line.levelno > logging.INFO or not str(line.msg).startswith(_HIDDEN_LINES)


def _explain(error: Exception) -> list[str]:
    if isinstance(error, ConfigValidationError):
        return list(error.errors)
    if isinstance(error, SettingsError):
        return error.problems
    if isinstance(error, DeliveryError | InvalidInputLine | SingerSDKError):
        return [" ".join(str(error).split())]
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        return [f"stdout cannot be written: {error.strerror}"]
    # The error's own text could hold a part of a record.
    return [f"Unexpected {type(error).__name__} (LOGLEVEL=DEBUG shows where)"]
