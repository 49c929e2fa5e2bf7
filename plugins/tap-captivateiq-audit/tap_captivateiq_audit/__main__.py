"""The command `tap-captivateiq-audit`: handles signals until the tap takes over."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # mypy knows `signal` only

# Before anything else is imported, `signal` included: Ctrl-C must not end in a traceback.
_signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable


_STDERR = 2


def _exit(signum: int, _frame: object) -> None:
    """Report the signal in one line, and exit without cleanup: there is nothing to clean up."""
    name = signal.Signals(signum).name
    line = f"tap-captivateiq-audit was stopped by {name}: no state was written\n"
    try:
        os.write(_STDERR, line.encode())
    finally:
        os._exit(128 + signum)


def _handle_signals(handler: Callable[[int, object], None] | signal.Handlers) -> None:
    if threading.current_thread() is threading.main_thread():  # the only one that may set handlers
        signal.signal(signal.SIGINT, handler)
        signal.signal(signal.SIGTERM, handler)


_handle_signals(_exit)


def main() -> None:
    """Run the tap. Until it has loaded its state, a signal ends it without a traceback."""
    if sys.stdout is None:  # it was closed from the start
        sys.exit(
            "tap-captivateiq-audit: stdout is closed. Connect it to a target, a file, or a terminal"
        )
    if sys.stderr is None:  # it was closed: nothing else should get its number, or its lines
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDERR)
        sys.stderr = os.fdopen(_STDERR, "w", encoding="utf-8")
    _handle_signals(_exit)  # whoever imported this may have set others since
    # The import takes about a second, and a signal meanwhile must not end in a traceback.
    from tap_captivateiq_audit.command import run  # noqa: PLC0415  (once signals are handled)

    try:
        run()
    finally:
        # Everything is written, and a signal would only disturb Python's own exit.
        _handle_signals(signal.SIG_IGN)


if __name__ == "__main__":
    main()
