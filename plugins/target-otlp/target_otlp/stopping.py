"""To be told to stop by a signal: the run stops where it only waits, and nowhere else.

A signal can come between any two steps. A request from its handler, or an exception there, could
meet a lock that nobody will release, or half a line on stdout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class StoppedError(Exception):
    """The run was told to stop while it only waited."""


class Stop:
    """Whether the run was told to stop. What is inside of `with` is waiting, and can be left."""

    def __init__(self) -> None:
        """Nobody has told anything yet."""
        self.signum: int | None = None
        """The signal that told it."""
        self._waits = False

    def tell(self, signum: int) -> None:
        """Tell the run to stop.

        Raises:
            StoppedError: It waits.

        """
        self.signum = signum
        if self._waits:
            raise StoppedError

    def __enter__(self) -> None:
        """Begin to wait.

        Raises:
            StoppedError: The run was told to stop before.

        """
        self._waits = True
        if self.signum is not None:
            raise StoppedError

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait no longer."""
        self._waits = False
