"""The command `target-otlp`, which a signal ends in one line until there is work to finish.

What it needs is imported only when the signals are taken care of: that takes about a second.
"""

import os

try:
    # Some hundredths of a second, in which Python shows a Ctrl-C as a traceback.
    import signal
    import threading
except KeyboardInterrupt:
    os.write(2, b"target-otlp was stopped by SIGINT before it began: nothing was sent\n")
    os._exit(130)

# Even typing's own would take a while.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _quit(signum: int, frame: object) -> None:
    """Say that nothing was done, and end as a shell reports a signal."""
    del frame
    name = signal.Signals(signum).name
    line = f"target-otlp was stopped by {name} before it began: nothing was sent\n"
    try:
        os.write(2, line.encode())
    finally:
        # Not by an exception, which any import could swallow or show.
        os._exit(128 + signum)


def _on_signals(do: "Callable[[int, object], None] | signal.Handlers") -> None:
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, do)


_on_signals(_quit)


def main() -> None:
    """Run the target; an error becomes a line for a person and an exit code that is not 0."""
    # Once more, for whoever has imported this module for a later run.
    _on_signals(_quit)
    try:
        # Importing takes about a second, and a signal meanwhile must not end in a traceback.
        from target_otlp.command import run  # noqa: PLC0415

        run()
    finally:
        # Python's own end takes a while, and a signal must not spoil what the run has come to.
        _on_signals(signal.SIG_IGN)


if __name__ == "__main__":
    main()
