"""Drift: what is different from what the log says, or has changed without an entry.

Sentry does not log every change. Sentry 23.7.1 compares settings with a copy in its cache, and
often takes a change for none: of six changes of `openMembership` two had an entry.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sentry_audit_detections.database import Database, Row

TITLE = "Differs from what the log says"
SEVERITY = "medium"

# Fields of an organization, and their keys in the data of org.edit where those are others.
_KEYS = {
    "defaultRole": "default_role",
    "require2FA": "require_2fa",
    "openMembership": "allow_joinleave",
    "allowSharedIssues": "disable_shared_issues",
    "enhancedPrivacy": "enhanced_privacy",
    "isEarlyAdopter": "early_adopter",
    "codecovAccess": "codecov_access",
}
# Those that the log names by their opposite.
_INVERTED = {"allowSharedIssues"}
_OPTIONS = (
    *("name", "slug", "dataScrubber", "dataScrubberDefaults", "scrubIPAddresses"),
    *("allowJoinRequests", "scrapeJavaScript", "eventsMemberAdmin", "alertsMemberWrite"),
    *("attachmentsRole", "debugFilesRole", "storeCrashReports", "aiSuggestedSolution"),
    *("githubPRBot", "safeFields", "sensitiveFields", "trustedRelays", "relayPiiConfig"),
)
_SETTINGS = {name: name for name in _OPTIONS} | _KEYS
_CREATED_WITH = {"name", "slug", "default_role"}
_NEVER_LOGGED = ("requireEmailVerification",)
_JOINING = {"member.invite", "member.add", "member.accept-invite", "invite-request.create"}
_LEAVING = {"member.remove", "invite.remove", "invite-request.remove"}

_ENTRIES = """WITH audit_logs AS (
{log}
)
SELECT organization, event, targetObject, data FROM audit_logs
WHERE event IN ('org.edit', 'org.create', 'sso.enable', 'sso.disable')
  OR event LIKE 'member.%' OR event LIKE 'invite%'
ORDER BY dateCreated, id"""


@dataclass(frozen=True, slots=True)
class Drift:
    """Something of an organization that the log does not account for."""

    organization: str
    subject: str
    detail: str


Thing = tuple[str, str]
"""What an entry is about: `setting` and its key, `role`, `joined`, or `left` and the member."""

_SSO: Thing = ("setting", "single sign-on")


@dataclass(slots=True)
class _Stated:
    """What the log says of one organization: how often of each thing, and the last word."""

    times: Counter[Thing] = field(default_factory=Counter)
    last: dict[Thing, str] = field(default_factory=dict)

    def since(self, former: _Stated) -> set[Thing]:
        """Return what entries are about that a former reading of the log did not have."""
        return {thing for thing, times in self.times.items() if times > former.times[thing]}


def drift(database: Database, before: Database | None) -> Iterator[Drift]:
    """Yield what the rows of `organizations` and `members` hold and the log does not say.

    `before` is the same database as it was after an earlier run, log included; without it, only
    what the log speaks of at all is compared.

    Raises:
        DetectionsError: A table is missing.

    """
    stated = _stated(database)
    # Without an earlier run nothing has changed since.
    earlier = _stated(before) if before else stated
    for name, compare in (("organizations", _organization), ("members", _member)):
        rows = _rows(database, name)
        former = _rows(before, name) if before else rows
        for key in sorted(rows.keys() | former.keys()):
            said = stated.get(key[0], _Stated())
            new = said.since(earlier.get(key[0], _Stated()))
            for subject, detail in compare(rows.get(key), former.get(key), said.last, new):
                yield Drift(key[0], subject, detail)


_Found = Iterable[tuple[str, str]]


def _organization(
    row: Row | None, former: Row | None, last: dict[Thing, str], new: set[Thing]
) -> _Found:
    if row is None:
        yield "organization", "is no longer there"
        return
    former = former or row
    for name, key in _SETTINGS.items():
        now, was = row.get(name.lower()), former.get(name.lower())
        thing = ("setting", key)
        if was != now and thing not in new:
            yield name, f"{was} -> {now}, and no entry"
        elif thing in last and not _agrees(not now if name in _INVERTED else now, last[thing]):
            yield name, f"is {now}, and the last entry says '{key} {last[thing]}'"
    for name in _NEVER_LOGGED:
        now, was = row.get(name.lower()), former.get(name.lower())
        if was != now:
            yield name, f"{was} -> {now}, never logged"
    now, was = row.get("hasauthprovider"), former.get("hasauthprovider")
    if now is not None and (
        (was is not None and was != now and _SSO not in new) or last.get(_SSO, str(now)) != str(now)
    ):
        yield "single sign-on", f"is {'on' if now else 'off'}, and no entry"


def _agrees(now: object, last: str) -> bool:
    """Whether a value may be what the last entry says; lists and rules are not compared."""
    return not isinstance(now, bool | str | int) or f" {last}".endswith(f" to {now}")


def _member(row: Row | None, former: Row | None, last: dict[Thing, str], new: set[Thing]) -> _Found:
    known = row or former or {}
    key, subject = str(known["id"]), f"member {known.get('email') or known['id']}"
    if row is None:
        if not new & {("left", key), ("left", str(known.get("email")))}:
            yield subject, "is gone, and no entry"
        return
    if former is None and ("joined", key) not in last:
        yield subject, f"is new, as {_role(row)}, and no entry"
    role = ("role", key)
    if former and _role(former) != _role(row) and role not in new:
        yield subject, f"{_role(former)} -> {_role(row)}, and no entry"
    elif last.get(role, _role(row)) != _role(row):
        yield subject, f"is {_role(row)}, and the last entry says {last[role]}"
    if former and _has_2fa(former) and _has_2fa(row) is False:
        yield subject, "has no second factor any longer, never logged"


def _stated(database: Database) -> dict[str, _Stated]:
    found: dict[str, _Stated] = {}
    for organization, event, target, value in database.query(_ENTRIES.format(log=database.log())):
        data: dict[str, Any] = (json.loads(value) if isinstance(value, str) else value) or {}
        stated = found.setdefault(organization, _Stated())
        for thing, word in _said(event, target, data):
            stated.times[thing] += 1
            stated.last[thing] = str(word)
    return found


def _said(event: str, target: str | None, data: dict[str, Any]) -> Iterator[tuple[Thing, object]]:
    """Yield what an entry is about, and its word on it."""
    if event == "org.edit":
        yield from ((("setting", key), _change(text)) for key, text in data.items())
    elif event == "org.create":
        yield from ((("setting", key), f"to {data[key]}") for key in _CREATED_WITH & data.keys())
    elif event.startswith("sso."):
        yield _SSO, event == "sso.enable"
    elif event in _LEAVING:
        yield from ((("left", str(member)), event) for member in (target, data.get("email")))
    elif target and event in {*_JOINING, "member.edit"}:
        if event in _JOINING:
            yield ("joined", target), event
        if data.get("role"):
            yield ("role", target), data["role"]


def _change(text: object) -> str:
    """Return a text that ends in the value: `from True to False`, `to True`."""
    return str(text).removesuffix(" when enabling SSO")


def _rows(database: Database, name: str) -> dict[tuple[str, str], Row]:
    return {(str(row["organization"]), str(row["id"])): row for row in database.table(name)}


def _role(row: Row) -> str:
    return str(row.get("orgrole") or row.get("role"))


def _has_2fa(row: Row) -> bool | None:
    found: bool | None = (row.get("user") or {}).get("has2fa")
    return found
