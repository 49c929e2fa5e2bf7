"""A program on a terminal of so many columns: what a person sees there."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import tempfile
import termios
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyte

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LINES = 200


@dataclass(frozen=True)
class Seen:
    """What a program wrote to stdout, and what the terminal on its stderr showed meanwhile.

    `screens` has the lines on the terminal after each piece of output that came at once.
    """

    returncode: int
    stdout: str
    screens: list[list[str]]

    @property
    def lines(self) -> list[str]:
        """What is on the terminal in the end."""
        return self.screens[-1]

    @property
    def bars(self) -> list[str]:
        """Each line with a bar that was to be seen."""
        return [line for lines in self.screens for line in lines[-1:] if line.count("|") == 2]


def run_on_a_terminal(  # noqa: PLR0913, PLR0917  (all that a program is given)
    command: Sequence[str],
    columns: int,
    environment: Mapping[str, str] | None = None,
    answers: Sequence[tuple[str, str]] = (),
    folder: Path | None = None,
    interrupt_at: str = "",
    patience: float = 60,
) -> Seen:
    """Run a program to its end, with stdin and stderr on a terminal and stdout in a file.

    Each of the `answers` is typed once the terminal's last lines have its question in them. The
    program gets a SIGINT once they have `interrupt_at`. It may be silent for `patience` seconds.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    variables = {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", **(environment or {})}
    variables.pop("COLUMNS", None)
    screen = pyte.Screen(columns, LINES)
    stream = pyte.ByteStream(screen)
    screens: list[list[str]] = []
    to_type = list(answers)
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary, "stdout")
        with output.open("wb") as stdout:
            process = subprocess.Popen(
                command,
                stdin=slave,
                stdout=stdout,
                stderr=slave,
                env=variables,
                cwd=folder,
                start_new_session=True,
            )
        os.close(slave)
        while select.select([master], [], [], patience)[0]:
            piece = b""
            with suppress(OSError):  # nobody has it open any more
                piece = os.read(master, 65536)
            if not piece:
                break
            stream.feed(piece)
            screens.append([line.rstrip() for line in screen.display[: screen.cursor.y + 1]])
            last = "".join(screens[-1][-3:])
            if interrupt_at and interrupt_at in last:
                process.send_signal(signal.SIGINT)
                interrupt_at = ""
            if to_type and to_type[0][0] in last:
                os.write(master, f"{to_type.pop(0)[1]}\n".encode())
        os.close(master)
        code = process.wait(60)
        text = output.read_text("utf-8")
    shown = [[line for line in lines if line] for lines in screens]
    return Seen(code, text, [lines for lines in shown if lines] or [[]])
