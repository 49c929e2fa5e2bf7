"""What a fleet takes, computed from what was measured: the table in docs/fleet.md."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

# Of docs/performance.md and docs/state.md, measured on two cores on 21 and 22 November 2026.
START_OF_A_PIPE = 1.9
"""Seconds of CPU that `tap | target` takes to start and find nothing new."""
START_OF_MELTANO = 6.5
READ_AN_ENTRY = 48e-6
"""Seconds of CPU."""
LOAD_AN_ENTRY = 47 / 120_000
"""Seconds that target-postgres takes as the slowest part of a pipe."""
REQUESTS_PER_SECOND = 40
"""What sentry.io allows a token, with a hundred entries each."""
PAGE = 100
BYTES_OF_AN_ID = 25
BYTES_OF_A_BOOKMARK = 250
HOUR = 3600

# What is assumed.
ENTRIES_AN_HOUR = 20
GROUP = 250
HISTORY = 50_000
"""Entries of an organization that a first backfill loads."""


@dataclass(frozen=True)
class Paper:
    """A fleet of so many organizations, each hour."""

    organizations: int

    @property
    def groups(self) -> int:
        """How many processes start."""
        return ceil(self.organizations / GROUP)

    @property
    def rows(self) -> int:
        """New rows."""
        return self.organizations * ENTRIES_AN_HOUR

    @property
    def requests(self) -> int:
        """One for each page of the new entries and of the lookback of an hour."""
        return self.organizations * ceil(2 * ENTRIES_AN_HOUR / PAGE)

    @property
    def cpu(self) -> float:
        """Seconds of CPU in groups."""
        read = 2 * self.rows * READ_AN_ENTRY
        return self.groups * START_OF_A_PIPE + read + self.rows * LOAD_AN_ENTRY

    @property
    def state(self) -> int:
        """Bytes of all states."""
        return self.organizations * (BYTES_OF_A_BOOKMARK + ENTRIES_AN_HOUR * BYTES_OF_AN_ID)

    @property
    def history(self) -> int:
        """Entries of the first backfill."""
        return self.organizations * HISTORY

    def cells(self) -> list[str]:
        """Return this fleet's column of the table."""
        by_limit = self.history / PAGE / REQUESTS_PER_SECOND
        by_target = self.history * LOAD_AN_ENTRY
        return [
            f"{self.rows:,}",
            f"{self.requests:,} in {_time(self.requests / REQUESTS_PER_SECOND)}",
            f"{self.groups}, {_time(self.cpu)}",
            _time(self.organizations * START_OF_A_PIPE),
            _time(self.organizations * START_OF_MELTANO),
            f"{self.state / 1e6:.2g} MB, {self.state / self.groups / 1000:.0f} kB a group",
            _time(by_limit),
            _time(by_target),
        ]


HEAD = [
    "new rows an hour",
    "requests an hour with one token, at 40/s",
    "processes and CPU an hour, in groups",
    "CPU an hour, a plain pipe for each organization",
    "CPU an hour, a `meltano run` for each organization",
    "state",
    "first backfill at a token's limit",
    "first backfill by one pipe",
]


def on_paper() -> list[list[str]]:
    """Return the table's rows: what it is, then the fleets of 100, 1,000 and 10,000."""
    columns = [Paper(count).cells() for count in (100, 1_000, 10_000)]
    return [[name, *cells] for name, *cells in zip(HEAD, *columns, strict=True)]


def _time(seconds: float) -> str:
    """Return seconds as people say it."""
    for unit, length in ("h", HOUR), ("min", 60):
        if seconds >= 1.5 * length:
            return (
                f"{seconds / length:.2g} {unit}"
                if seconds < 100 * length
                else (f"{seconds / length:,.0f} {unit}")
            )
    return f"{seconds:.2g} s"
