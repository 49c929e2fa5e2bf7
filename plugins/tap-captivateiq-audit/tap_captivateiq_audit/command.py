"""What the command does: it runs the tap and explains what goes wrong."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from singer_sdk.exceptions import ConfigValidationError, SingerSDKError

from tap_captivateiq_audit.errors import ApiError, StateError
from tap_captivateiq_audit.settings import SettingsError, unusable_variables
from tap_captivateiq_audit.tap import TapCaptivateiqAudit

if TYPE_CHECKING:
    from typing import NoReturn


def run() -> NoReturn:
    """Run the tap; an error becomes a line for a person and an exit code that is not 0."""
    # It would show each URL that is asked.
    logging.getLogger("urllib3").setLevel(logging.INFO)
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
    try:
        TapCaptivateiqAudit.cli()
    except Exception as error:  # noqa: BLE001  (nobody is helped by a traceback)
        for line in _explained(error):
            TapCaptivateiqAudit.logger.error(line)
        TapCaptivateiqAudit.logger.debug("Where it happened:", exc_info=True)
    sys.exit(1)


def _explained(error: Exception) -> list[str]:
    # Its text could hold a part of an entry.
    lines = [f"Unexpected {type(error).__name__} (LOGLEVEL=DEBUG shows where)"]
    if isinstance(error, ConfigValidationError):
        lines = list(error.errors)
    elif isinstance(error, SettingsError):
        lines = error.problems
    elif isinstance(error, ApiError | StateError | SingerSDKError):
        lines = [" ".join(str(error).split())]
    elif hasattr(error, "doc"):  # both json's and simplejson's errors, and no others
        lines = [f"A file given to the tap is not JSON: {error}"]
    elif isinstance(error, FileNotFoundError):
        lines = [f"{error} Check what was given as --config"]
    elif isinstance(error, ValueError):
        lines = unusable_variables(os.environ) or lines
    return lines
