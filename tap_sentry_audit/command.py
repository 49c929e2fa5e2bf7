"""Runs the tap for the command `tap-sentry-audit`, and explains errors in plain words."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys

from singer_sdk.exceptions import ConfigValidationError, SingerSDKError

from tap_sentry_audit import signals
from tap_sentry_audit.config import SettingsError
from tap_sentry_audit.streams.base import OutputError
from tap_sentry_audit.tap import TapSentryAudit


def run() -> None:
    """Run the tap; an error becomes one line on stderr and a non-zero exit code."""
    # Imported modules stay, and records form no cycles: looking for garbage costs a tenth.
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    # Threads that read must not wait long for the thread that writes.
    sys.setswitchinterval(0.0005)
    signals.limit_time_to_end()
    # It would log the URL, headers and a traceback of a response with a malformed header.
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
    try:
        _check_log_level()
        TapSentryAudit.cli()
    except Exception as error:  # noqa: BLE001  (a traceback helps nobody)
        for line in _explain(error):
            TapSentryAudit.logger.error(line)
        TapSentryAudit.logger.debug("Where it happened:", exc_info=True)
        if isinstance(error, OSError | OutputError):
            # Python would try to write what is left, and complain that it cannot.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        # The run is over: a signal must not change how it ends.
        signals.handle_with(signal.SIG_IGN)
    sys.exit(1)


def _check_log_level() -> None:
    """Raise a SettingsError for a level that the SDK would end the program for."""
    for name in ("TAP_SENTRY_AUDIT_LOGLEVEL", "LOGLEVEL"):
        if level := os.environ.get(name):
            if level.upper() not in logging.getLevelNamesMapping():
                cure = "write DEBUG, INFO, WARNING, ERROR, or CRITICAL"
                raise SettingsError([f"{name} is {level!r}: {cure}"])
            return


def _explain(error: Exception) -> list[str]:
    if isinstance(error, SettingsError):
        return error.problems
    if isinstance(error, ConfigValidationError):
        # The SDK logs these itself, but not under --test.
        return list(error.errors)
    if isinstance(error, SingerSDKError):
        return [str(error)]
    if hasattr(error, "doc"):  # json's and simplejson's errors have it, and no others
        return [f"A file given to the tap is not JSON: {error}"]
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        return [str(OutputError(error))]  # --help and the like write to stdout, too
    # The error's text can hold a part of an entry, as a stream map's does.
    return [f"Unexpected {type(error).__name__} (LOGLEVEL=DEBUG shows where)"]
