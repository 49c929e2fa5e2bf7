"""Pages that come newest first, kept until they are given back oldest first."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_IN_MEMORY = 1 << 18
"""Bytes up to which a spool needs no file."""


class Spool:
    """Pieces of bytes, given back in the reverse order. What is much goes to a temporary file."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  (closed below)
        self._borders = [0]

    def __enter__(self) -> Self:
        """Close it in the end."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the file go."""
        self._file.close()

    def put(self, piece: bytes) -> None:
        """Keep a piece."""
        self._file.write(piece)
        self._borders.append(self._file.tell())

    def backwards(self) -> Iterator[bytes]:
        """Yield the pieces, the last one first."""
        for start, end in reversed(list(pairwise(self._borders))):
            self._file.seek(start)
            yield self._file.read(end - start)
