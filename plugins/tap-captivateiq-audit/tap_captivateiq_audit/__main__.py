"""The command `tap-captivateiq-audit`: here only what signals do while nothing else is there."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # mypy knows `signal` only

# Before anything else is imported, `signal` included: Ctrl-C must not end in a traceback.
_signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import os  # noqa: E402
import signal  # noqa: E402
import threading  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

_STDERR = 2


def _leave(signum: int, _frame: FrameType | None) -> NoReturn:
    """Tell of the signal in one line, and end without cleaning up: there is nothing to clean."""
    name = signal.Signals(signum).name
    line = f"tap-captivateiq-audit was stopped by {name} before it began: nothing was read\n"
    try:
        os.write(_STDERR, line.encode())
    finally:
        os._exit(128 + signum)


def _on_signals(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        signal.signal(signal.SIGINT, handler)
        signal.signal(signal.SIGTERM, handler)


_on_signals(_leave)


def main() -> None:
    """Run the tap. Until it has taken up its state, a signal ends it quietly."""
    _on_signals(_leave)  # a program that imported this may have set others since
    # To import it takes about a second, and a signal meanwhile must not end in a traceback.
    from tap_captivateiq_audit.command import run  # noqa: PLC0415  (when signals are handled)

    try:
        run()
    finally:
        # All is written: what is left is Python's own end, which a signal would only disturb.
        _on_signals(signal.SIG_IGN)


if __name__ == "__main__":
    main()
