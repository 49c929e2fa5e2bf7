"""The file of rejected records: a line of JSON for each, on the disk before a state goes out."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from target_otlp.values import json_text

if TYPE_CHECKING:
    from target_otlp.values import Record

_MODE = 0o600
_NEWLINE = b"\n"


class RejectedRecordsFile:
    """Appends lines to a file that its owner alone can read; it is made with the first line."""

    def __init__(self, path: str) -> None:
        """Name the file; nothing is opened yet."""
        self.path = path
        self._descriptor: int | None = None

    def append(self, entry: Record) -> None:
        """Write one line and wait until it is on the disk, or raise OSError."""
        if self._descriptor is None:
            self._descriptor = _opened(self.path)
        rest = json_text(entry).encode("utf-8", "backslashreplace") + _NEWLINE
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        os.fsync(self._descriptor)


def _opened(path: str) -> int:
    """Open the file behind its last whole line."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags, _MODE)
    Path(path).chmod(_MODE)  # it may be there already, with another mode
    size = os.fstat(descriptor).st_size
    os.lseek(descriptor, max(0, size - 1), os.SEEK_SET)
    if size and os.read(descriptor, 1) != _NEWLINE:  # a run was killed, or the disk was full
        os.write(descriptor, _NEWLINE)
    with suppress(OSError):  # not every system can sync a folder, which has the new name
        folder = os.open(Path(path).resolve().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return descriptor
