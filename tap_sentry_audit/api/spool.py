"""Keeps pages that arrive newest first, to return them oldest first."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

_IN_MEMORY = 1 << 18
"""Bytes that a spool holds in memory before it uses a file."""


class Spool:
    """Pieces of bytes, returned in reverse order. Large amounts go to a temporary file."""

    def __init__(self) -> None:
        """Create an empty spool."""
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  (`__exit__` closes it)
        self._ends = [0]

    def __enter__(self) -> Self:
        """Return the spool."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the file."""
        self._file.close()

    def put(self, piece: bytes) -> None:
        """Append a piece."""
        self._file.write(piece)
        self._ends.append(self._file.tell())

    def backwards(self) -> Iterator[bytes]:
        """Yield the pieces, last one first."""
        for start, end in reversed(list(pairwise(self._ends))):
            self._file.seek(start)
            yield self._file.read(end - start)
