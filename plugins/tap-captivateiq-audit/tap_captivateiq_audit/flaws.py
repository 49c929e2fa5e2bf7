"""What is wrong with what the API shows: reported once, without quoting any of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable
    from logging import Logger, LoggerAdapter

    from tap_captivateiq_audit.entries import Days


class Flaws:
    """What was wrong in a run. It does not end the run, but the run fails at its end."""

    def __init__(self, logger: Logger | LoggerAdapter[Logger]) -> None:
        """Start with nothing wrong."""
        self.left_out: set[Hashable] = set()
        """The rows that are not entries, by what identifies them."""
        self.has_any = False
        self._doubled: set[str] = set()
        self._logger = logger

    def odd_rows(self, days: Days, offset: int, rows: set[Hashable]) -> None:
        """Report the rows of a page that are not entries."""
        new = rows - self.left_out
        self.left_out |= new
        if new:
            are = "1 entry is" if len(new) == 1 else f"{len(new):,} entries are"
            self._report(
                f"{are} left out for lack of a usable id or created_at: see the page at "
                f"offset {offset:,} of {days}"
            )

    def doubled_ids(self, days: Days, ids: set[str]) -> None:
        """Report ids that stand for several entries, of which one is sent."""
        new = ids - self._doubled
        self._doubled |= new
        if new:
            have = "1 id has" if len(new) == 1 else f"{len(new):,} ids have"
            self._report(
                f"{have} several entries from {days}, of which the last is sent: ask CaptivateIQ "
                "why, and tell us"
            )

    def miscount(self, days: Days, counted: int, shown: int) -> None:
        """Report entries that the server counts and never shows."""
        self._report(
            f"the server counts {counted:,} entries from {days} but never shows more than "
            f"{shown:,}, all of which were read: ask CaptivateIQ what the others are, and tell us"
        )

    def changing_order(self, days: Days, shown: int, most: int) -> None:
        """Warn of a log that was shown whole, as far as its count tells."""
        self._logger.warning(
            "the server shows the entries from %s in a different order at each request, at most %s "
            "per page. All %s that it counts were shown and are sent; one that arrived while "
            "another one disappeared would go unnoticed",
            days,
            f"{most:,}",
            f"{shown:,}",
        )

    def _report(self, message: str) -> None:
        self.has_any = True
        self._logger.error(message)
