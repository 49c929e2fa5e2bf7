"""What the command `tap-sentry-audit` does: a run of the tap, and its errors in plain words."""

from __future__ import annotations

import gc
import logging
import os
import sys

from singer_sdk.exceptions import ConfigValidationError, SingerSDKError

from tap_sentry_audit import signals
from tap_sentry_audit.config import unusable_variables
from tap_sentry_audit.streams.progress import is_told
from tap_sentry_audit.tap import TapSentryAudit


def run() -> None:
    """Run the tap; an error becomes a line for a person and an exit code that is not 0."""
    # What was imported stays, and records are no cycles: looking for garbage costs a tenth.
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    # Threads that read must not wait long for the one that writes.
    sys.setswitchinterval(0.0005)
    TapSentryAudit.logger.addFilter(is_told)
    # Of an answer with a malformed header it would show the URL, headers and a traceback.
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
    try:
        TapSentryAudit.cli()
    except Exception as error:  # noqa: BLE001  (nobody is helped by a traceback)
        for line in _explained(error):
            TapSentryAudit.logger.error(line)
        TapSentryAudit.logger.debug("Where it happened:", exc_info=True)
    finally:
        signals.ignore_from_now_on()
    sys.exit(1)


def _explained(error: Exception) -> list[str]:
    if isinstance(error, ConfigValidationError):
        # The SDK says these itself, but not under --test.
        return list(error.errors)
    if isinstance(error, SingerSDKError):
        return [str(error)]
    if hasattr(error, "doc"):  # both json's and simplejson's errors, and no others
        return [f"A file given to the tap is not JSON: {error}"]
    if isinstance(error, FileNotFoundError):
        return [f"{error} Check what was given as --config"]
    if isinstance(error, ValueError):
        # The SDK turns variables into numbers before it lets a tap look at them.
        problems = unusable_variables(os.environ, TapSentryAudit.config_jsonschema)
        if problems:
            return problems
    # Its text could hold a part of an entry: a stream map's error does.
    return [f"Unexpected {type(error).__name__} (LOGLEVEL=DEBUG shows where)"]
