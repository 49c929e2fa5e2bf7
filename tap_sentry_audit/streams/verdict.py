"""What a connection test found out: what can be read, and what each refusal needs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tap_sentry_audit.api.access import MissingScopeError
from tap_sentry_audit.api.exceptions import ForbiddenError, RetriableError, SentryError

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_KINDS = 5
_MOST_SLUGS = 3


@dataclass(frozen=True, slots=True)
class Trial:
    """One stream of one organization, and the error if it cannot be read."""

    organization: str
    stream: str
    error: SentryError | None = None

    @property
    def cause(self) -> str:
        """Why it cannot be read, without what was requested."""
        return f"{self.error.cause}{self.error.cure}" if self.error else ""


@dataclass(slots=True)
class Verdict:
    """What can be read; the `selected` streams have to be readable."""

    selected: list[str]
    trials: list[Trial] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether all that is selected can be read."""
        return not any(trial.error for trial in self.trials if trial.stream in self.selected)

    @property
    def is_connected(self) -> bool:
        """Whether nothing has failed in a way that is not a stream's own."""
        for trial in self.trials:
            is_own = trial.stream not in self.selected and not isinstance(
                trial.error, RetriableError
            )
            if not (is_own or isinstance(trial.error, ForbiddenError | None)):
                return False
        return True

    def add_success(self, organization: str, stream: str) -> None:
        """Add that a stream could be read, unless there was a problem with it."""
        found = {(each.organization, each.stream) for each in self.trials}
        if (organization, stream) not in found:
            self.trials.append(Trial(organization, stream))

    def lines(self) -> list[str]:
        """Return a few lines, the most important one last."""
        organizations = {trial.organization: None for trial in self.trials}
        if len(organizations) == 1:
            return self._lines_of_one(*organizations)
        return self._lines_of_many(len(organizations))

    def _lines_of_one(self, organization: str) -> list[str]:
        readable = [trial.stream for trial in self.trials if not trial.error]
        refused = [trial for trial in self.trials if trial.error]
        needed = [trial for trial in refused if trial.stream in self.selected]
        lines = [f"{organization}: can be read: {', '.join(readable)}"] if readable else []
        last = f"{organization}: {needed[0].error}" if needed else ""
        scopes: dict[str, list[str]] = defaultdict(list)
        others: dict[str, list[str]] = defaultdict(list)
        for trial in refused:
            if needed and trial.cause == needed[0].cause:
                continue
            if isinstance(trial.error, MissingScopeError):
                scopes[trial.error.scope].append(trial.stream)
            else:
                others[trial.cause].append(trial.stream)
        if scopes:
            texts = [f"{scope} for {_and(streams)}" for scope, streams in scopes.items()]
            lines.append(f"{organization}: the token lacks the scopes {', '.join(texts)}")
        causes = list(others.items())
        for cause, streams in causes[:_MOST_KINDS]:
            lines.append(f"{organization}: {_and(streams)} cannot be read: {cause}")
        if len(causes) > _MOST_KINDS:
            rest = _and([each for _, streams in causes[_MOST_KINDS:] for each in streams])
            lines.append(f"{organization}: {rest} cannot be read for other reasons")
        works = f"{organization}: the connection works: {_and(self.selected)} can be read"
        return [*lines, last or works]

    def _lines_of_many(self, count: int) -> list[str]:
        if self.is_good:
            streams = _and(self.selected)
            return [f"the connection works: {streams} of {count:,} organizations can be read"]
        lines = []
        for stream in self.selected:
            readable = sum(not each.error for each in self.trials if each.stream == stream)
            lines.append(f"{stream}: {readable:,} of {count:,} organizations can be read")
        slugs: dict[str, dict[str, None]] = defaultdict(dict)
        for trial in self.trials:
            if trial.error:
                slugs[trial.cause][trial.organization] = None
        kinds = sorted(slugs.items(), key=lambda item: len(item[1]))
        return lines + [f"{_some(list(found))}: {cause}" for cause, found in kinds]


def _and(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _some(slugs: list[str]) -> str:
    if len(slugs) == 1:
        return slugs[0]
    shown = ", ".join(slugs[:_MOST_SLUGS])
    more = f" and {len(slugs) - _MOST_SLUGS:,} more" if len(slugs) > _MOST_SLUGS else ""
    return f"{len(slugs):,} organizations ({shown}{more})"
