"""The command `target-otlp`: handles signals until the target takes over.

Everything else is imported after the handlers are set, because that takes about a second.
"""

import os

try:
    # Meanwhile, for some hundredths of a second, Python shows a Ctrl-C as a traceback.
    import signal
    import sys
    import threading
except KeyboardInterrupt:
    os.write(2, b"target-otlp was stopped by SIGINT before it started: nothing was sent\n")
    os._exit(130)

# The import of typing's own would take a while.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _quit(signum: int, _frame: object) -> None:
    """Report that nothing was sent, and exit with the code that a shell has for the signal."""
    name = signal.Signals(signum).name
    line = f"target-otlp was stopped by {name} before it started: nothing was sent\n"
    try:
        os.write(2, line.encode())
    finally:
        # An exception could be swallowed or shown by any import.
        os._exit(128 + signum)


def _handle_signals(handler: "Callable[[int, object], None] | signal.Handlers") -> None:
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, handler)


_handle_signals(_quit)


def main() -> None:
    """Run the target; an error becomes a line for a user and an exit code other than 0."""
    if sys.stdout is None:  # it was closed from the start
        sys.exit("target-otlp: stdout is closed. Connect it to a file or a terminal, for the state")
    # Again, because whoever imported this module may have set others since.
    _handle_signals(_quit)
    try:
        # The import takes about a second, and a signal meanwhile must not end in a traceback.
        from target_otlp.command import run  # noqa: PLC0415

        run()
    finally:
        # Python's own exit takes a while, and a signal must not change the result of the run.
        _handle_signals(signal.SIG_IGN)


if __name__ == "__main__":
    main()
