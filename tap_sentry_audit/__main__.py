"""The command `tap-sentry-audit`."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # mypy knows `signal` only

# Before anything else is imported, `signal` included: Ctrl-C must not end in a traceback.
_signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import sys  # noqa: E402

from tap_sentry_audit import signals  # noqa: E402

signals.handle_with(signals.stop_at_once)


def main() -> None:
    """Run the tap; an error becomes one line on stderr and a non-zero exit code."""
    if sys.stdout is None:  # it was closed from the start
        sys.exit(
            "tap-sentry-audit: stdout is closed. Connect it to a target, a file, or a terminal"
        )
    signals.handle_with(signals.stop_at_once)  # whoever imported this may have set others since
    # This import takes about a second: a signal must not end in a traceback meanwhile.
    from tap_sentry_audit.command import run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
