"""What went wrong in a run, and what is said of it at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging


class Outcome:
    """The problems of a run: each is logged when it occurs, and what matters is the last line.

    `unexpected` is the first error that was not foreseen: the run ends with it once all else has
    been read.
    """

    def __init__(self, logger: logging.Logger, *, is_single: bool) -> None:
        """Start without problems; `is_single` if the run reads one stream of one organization."""
        self._logger = logger
        self._is_single = is_single
        self._problems: list[str] = []
        self._last_words = ""
        self.has_read = False
        """Whether a record was sent, or an organization was read to its end."""
        self.unexpected: Exception | None = None

    @property
    def has_failed(self) -> bool:
        """Whether something could not be read: the run fails at its end, or when it is stopped."""
        return bool(self._problems)

    def report(self, organization: str, problem: object, *, is_end: bool = False) -> None:
        """Log a problem.

        If it is the end of an organization that is read alone, it is logged as the last line only.
        """
        text = f"{organization}: {problem}"
        self._problems.append(text)
        if is_end and self._is_single:
            self._last_words = text
        else:
            self._logger.error("%s", text)

    def conclude(self) -> None:
        """Log what went wrong as the last line, if anything did."""
        if not self._problems:
            return
        text = self._last_words or self._problems[0]
        if others := len(self._problems) - 1:
            text += f". {others:,} more {'error stands' if others == 1 else 'errors stand'} above"
        self._logger.error("%s", text)
