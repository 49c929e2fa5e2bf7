"""Runs the tap, and explains errors in one line each."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from singer_sdk.exceptions import ConfigValidationError, SingerSDKError

from tap_captivateiq_audit.config import SettingsError
from tap_captivateiq_audit.exceptions import ApiError, StateError
from tap_captivateiq_audit.messages import limit_time_to_end
from tap_captivateiq_audit.tap import TapCaptivateiqAudit

if TYPE_CHECKING:
    from typing import NoReturn


def run() -> NoReturn:
    """Run the tap; an error becomes a line for a user and an exit code other than 0."""
    # It would log every URL.
    logging.getLogger("urllib3").setLevel(logging.INFO)
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
    limit_time_to_end()
    try:
        _check_log_level()
        TapCaptivateiqAudit.cli()
    except Exception as error:  # noqa: BLE001  (a traceback helps no user)
        for line in _explain(error):
            TapCaptivateiqAudit.logger.error(line)
        TapCaptivateiqAudit.logger.debug("Where it happened:", exc_info=True)
        if isinstance(error, OSError):
            # Python would try to write what is left, and complain that it cannot.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)


def _check_log_level() -> None:
    """Raise a SettingsError for a level that the SDK would end the program for."""
    for name in ("TAP_CAPTIVATEIQ_AUDIT_LOGLEVEL", "LOGLEVEL"):
        if level := os.environ.get(name):
            if level.upper() not in logging.getLevelNamesMapping():
                cure = "write DEBUG, INFO, WARNING, ERROR, or CRITICAL"
                raise SettingsError([f"{name} is {level!r}: {cure}"])
            return


def _explain(error: Exception) -> list[str]:
    if isinstance(error, SettingsError):
        return error.problems
    if isinstance(error, ConfigValidationError):
        return list(error.errors)
    if isinstance(error, ApiError | StateError | SingerSDKError):
        return [" ".join(str(error).split())]
    if hasattr(error, "doc"):  # both json's and simplejson's errors, and no others
        return [f"A file given to the tap is not JSON: {error}"]
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        return [f"stdout cannot be written: {error.strerror}"]
    # The error's own text could hold a part of an entry.
    return [f"Unexpected {type(error).__name__} (LOGLEVEL=DEBUG shows where)"]
