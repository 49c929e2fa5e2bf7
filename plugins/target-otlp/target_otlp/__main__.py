"""The command `target-otlp`."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

from singer_sdk.exceptions import ConfigValidationError, SingerSDKError
from singer_sdk.singerlib.exceptions import InvalidInputLine

from target_otlp.receiver import DeliveryError
from target_otlp.settings import unusable_variables
from target_otlp.target import TargetOtlp

if TYPE_CHECKING:
    from logging import LogRecord


def main() -> None:
    """Run the target; an error becomes a line for a person and an exit code that is not 0."""
    # What was imported stays, and records are no cycles: looking for garbage costs time.
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    TargetOtlp.logger.addFilter(_is_told)
    try:
        TargetOtlp.cli()
    except Exception as error:  # noqa: BLE001  (nobody is helped by a traceback)
        for line in _explained(error):
            TargetOtlp.logger.error(line)
        TargetOtlp.logger.debug("Where it happened:", exc_info=True)
    sys.exit(1)


def _is_told(line: LogRecord) -> bool:
    """Leave out how the SDK reads settings, and its count of lines: a person wants records."""
    return "env var" not in str(line.msg) and not str(line.msg).startswith("Reader '%s'")


def _explained(error: Exception) -> list[str]:
    if isinstance(error, ConfigValidationError):
        return list(error.errors)
    if isinstance(error, DeliveryError | InvalidInputLine | SingerSDKError):
        return [" ".join(str(error).split())]
    if hasattr(error, "doc"):  # both json's and simplejson's errors, and no others
        # The SDK turns variables into objects before it lets a target look at them.
        return _problems() or [f"A file given as --config is no JSON: {error}"]
    if isinstance(error, FileNotFoundError):
        return [f"{error} Check what was given as --config"]
    if isinstance(error, ValueError) and _problems():
        return _problems()
    return [f"Unexpected {type(error).__name__}: {error} (LOGLEVEL=DEBUG shows where)"]


def _problems() -> list[str]:
    return unusable_variables(os.environ, TargetOtlp.config_jsonschema["properties"])


if __name__ == "__main__":
    main()
