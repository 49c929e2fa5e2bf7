"""The command `mapper-sentry-ocsf`: handles signals until the mapper takes over.

Everything else is imported after the handlers are set, because that takes about a second.
"""

import os

try:
    # For a few hundredths of a second before this, Python shows Ctrl-C as a traceback.
    import signal
    import sys
    import threading
except KeyboardInterrupt:
    os.write(
        2, b"mapper-sentry-ocsf was stopped by SIGINT before it started: nothing was written\n"
    )
    os._exit(130)

# Importing typing's own would take a while.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _quit(signum: int, _frame: object) -> None:
    """Report that nothing was written, and exit with the code that shells use for the signal."""
    name = signal.Signals(signum).name
    line = f"mapper-sentry-ocsf was stopped by {name} before it started: nothing was written\n"
    try:
        os.write(2, line.encode())
    finally:
        # Any import could swallow or show an exception.
        os._exit(128 + signum)


def _handle_signals(handler: "Callable[[int, object], None] | signal.Handlers") -> None:
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, handler)


_handle_signals(_quit)


def main() -> None:
    """Run the mapper; an error becomes one line for the user and an exit code other than 0."""
    if sys.stdout is None:  # closed from the start
        sys.exit(
            "mapper-sentry-ocsf: stdout is closed. Connect it to a target, a file, or a terminal"
        )
    # Again, because whoever imported this module may have set other handlers since.
    _handle_signals(_quit)
    try:
        # The import takes about a second; a signal in that time must not cause a traceback.
        from mapper_sentry_ocsf.command import run  # noqa: PLC0415

        run()
    finally:
        # Python's own exit takes a while, and a signal must not change the result of the run.
        _handle_signals(signal.SIG_IGN)


if __name__ == "__main__":
    main()
