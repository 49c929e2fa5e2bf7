"""A run of the command, and what a person reads of it: fewer lines, and no traceback."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys

from singer_sdk.exceptions import ConfigValidationError, SingerSDKError
from singer_sdk.singerlib.exceptions import InvalidInputLine

from target_otlp.receiver import DeliveryError
from target_otlp.settings import unusable_variables
from target_otlp.target import TargetOtlp, on_signals

# How the SDK reads settings, its count of lines, and what it does every five minutes to sinks that
# keep nothing: a person wants to know of records.
_NOT_TOLD = (
    "Skipping parse of env var",
    "Parsing env var",
    "Reader '%s' completed",
    "One or more records have exceeded the max age",
)


def run() -> None:
    """Run the target; an error becomes a line for a person and an exit code that is not 0.

    Raises:
        SystemExit: In the end, with the exit code.

    """
    # What was imported stays, and records are no cycles: looking for garbage costs time.
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    TargetOtlp.logger.addFilter(_is_told)
    # It would show URLs with their query, which can hold a key.
    logging.getLogger("urllib3.connectionpool").addFilter(lambda line: line.levelno > logging.DEBUG)
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
    try:
        TargetOtlp.cli()
    except Exception as error:  # noqa: BLE001  (nobody is helped by a traceback)
        # The run has failed, and what could be sent has been tried.
        on_signals(signal.SIG_IGN)
        # A file of SINGER_SDK_LOG_CONFIG may have disabled it.
        TargetOtlp.logger.disabled = False
        for line in _explained(error):
            TargetOtlp.logger.error(line)
        TargetOtlp.logger.debug("Where it happened:", exc_info=True)
    sys.exit(1)


def _is_told(line: logging.LogRecord) -> bool:
    return line.levelno > logging.INFO or not str(line.msg).startswith(_NOT_TOLD)


def _explained(error: Exception) -> list[str]:
    if isinstance(error, ConfigValidationError):
        return list(error.errors)
    if isinstance(error, DeliveryError | InvalidInputLine | SingerSDKError):
        return [" ".join(str(error).split())]
    if isinstance(error, ValueError):
        # The SDK turns variables into values before it lets a target look at them.
        problems = unusable_variables(os.environ, TargetOtlp.config_jsonschema["properties"])
        if problems:
            return problems
    # Its text could hold a part of a record.
    return [f"Unexpected {type(error).__name__} (LOGLEVEL=DEBUG shows where)"]
