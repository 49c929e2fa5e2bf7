"""Drift: what is different from what the log says, or has changed without an entry.

Sentry does not log every change. Sentry 23.7.1 compares settings with a copy in its cache, and
often takes a change for none: of six changes of `openMembership` two had an entry.
"""

from __future__ import annotations

import json
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
_CREATED_WITH = ("name", "slug", "default_role")
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


@dataclass(slots=True)
class _Stated:
    """What the log says of one organization, the last word on each thing."""

    settings: dict[str, str] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    joined: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    has_sso: bool | None = None


def drift(database: Database, before: Database | None) -> Iterator[Drift]:
    """Yield what the rows of `organizations` and `members` hold and the log does not say.

    `before` is the same database as it was after an earlier run; without it, only what the log
    speaks of at all is compared.

    Raises:
        DetectionsError: A table is missing.

    """
    stated = _stated(database)
    for name, compare in (("organizations", _organization), ("members", _member)):
        rows = _rows(database, name)
        former = _rows(before, name) if before else rows
        for key in sorted(rows.keys() | former.keys()):
            said = stated.get(key[0], _Stated())
            for subject, detail in compare(rows.get(key), former.get(key), said):
                yield Drift(key[0], subject, detail)


_Found = Iterable[tuple[str, str]]


def _organization(row: Row | None, former: Row | None, said: _Stated) -> _Found:
    if row is None:
        yield "organization", "is no longer there"
        return
    former = former or row
    for name, key in _SETTINGS.items():
        now, was = row.get(name.lower()), former.get(name.lower())
        last = said.settings.get(key)
        if last is None:
            if was != now:
                yield name, f"{was} -> {now}, and no entry"
        elif not _agrees(not now if name in _INVERTED else now, last):
            yield name, f"is {now}, and the last entry says '{key} {last}'"
    for name in _NEVER_LOGGED:
        now, was = row.get(name.lower()), former.get(name.lower())
        if was != now:
            yield name, f"{was} -> {now}, never logged"
    now = row.get("hasauthprovider")
    last_known = former.get("hasauthprovider") if said.has_sso is None else said.has_sso
    if now is not None and last_known is not None and now != last_known:
        yield "single sign-on", f"is {'on' if now else 'off'}, and no entry"


def _agrees(now: object, last: str) -> bool:
    """Whether a value may be what the last entry says; lists and rules are not compared."""
    return not isinstance(now, bool | str | int) or f" {last}".endswith(f" to {now}")


def _member(row: Row | None, former: Row | None, said: _Stated) -> _Found:
    known = row or former or {}
    key, subject = str(known["id"]), f"member {known.get('email') or known['id']}"
    if row is None:
        if not said.left & {key, known.get("email")}:
            yield subject, "is gone, and no entry"
        return
    if former is None and key not in said.joined:
        yield subject, f"is new, as {_role(row)}, and no entry"
    if key in said.roles:
        if said.roles[key] != _role(row):
            yield subject, f"is {_role(row)}, and the last entry says {said.roles[key]}"
    elif former and _role(former) != _role(row):
        yield subject, f"{_role(former)} -> {_role(row)}, and no entry"
    if former and _has_2fa(former) and _has_2fa(row) is False:
        yield subject, "has no second factor any longer, never logged"


def _stated(database: Database) -> dict[str, _Stated]:
    found: dict[str, _Stated] = {}
    for organization, event, target, value in database.query(_ENTRIES.format(log=database.log())):
        said = found.setdefault(organization, _Stated())
        data: dict[str, Any] = (json.loads(value) if isinstance(value, str) else value) or {}
        if event == "org.edit":
            said.settings |= {key: _change(text) for key, text in data.items()}
        elif event == "org.create":
            said.settings |= {key: f"to {data[key]}" for key in _CREATED_WITH if key in data}
        elif event.startswith("sso."):
            said.has_sso = event == "sso.enable"
        elif event in _LEAVING:
            said.left |= {str(each) for each in (target, data.get("email")) if each}
        elif target:
            if event in _JOINING:
                said.joined.add(target)
            if event in {*_JOINING, "member.edit"} and data.get("role"):
                said.roles[target] = data["role"]
    return found


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
