"""Why a token may not read something, as far as Sentry says.

Every refusal is the same 403 (Sentry 23.7.1). But `/api/0/` names the token's scopes, and an
organization names the role of the token's user and the scopes that the user has there. It answers
403 to a user or an integration that does not belong to it.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING

import msgspec

from tap_sentry_audit.api.exceptions import (
    ForbiddenError,
    SentryError,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import TypeVar

    from tap_sentry_audit.api.client import Client

    Body = TypeVar("Body", bound="_Index | _Organization")

AUDIT_LOG = "org:write"
"""The scope that reads the audit log; `org:admin` alone does not (Sentry 23.7.1)."""

PERMISSIONS = {
    "org:read": "Organization: Read",
    AUDIT_LOG: "Organization: Read & Write",
    "project:read": "Project: Read",
    "member:read": "Member: Read",
    "event:read": "Issue & Event: Read",
}
"""What an internal integration's settings call the scopes that streams need."""

_OUTSIDE = (
    "the token's user is not a member of this organization, or the token is that of another "
    "organization's integration: use one that belongs to this organization"
)


class _Auth(msgspec.Struct):
    scopes: list[str]


class _Index(msgspec.Struct):
    auth: _Auth | None = None


class _Organization(msgspec.Struct):
    access: list[str] = []
    role: str | None = None


class MissingScopeError(ForbiddenError):
    """The token lacks `scope`, without which it may not read `what`."""

    def __init__(self, what: str, scope: str, error: ForbiddenError) -> None:
        """Keep the scope, and the details of the refusal."""
        cause = (
            f"the token lacks the scope {scope}, which {what} needs: make one that has it (an "
            f"internal integration: {PERMISSIONS[scope]})"
        )
        super().__init__(cause, error.server_time)
        self.details = error.details
        self.what = what
        self.scope = scope


class Access:
    """What the run's token may do."""

    def __init__(self, client: Client) -> None:
        """Send no request before the first refusal."""
        self._client = client

    @cached_property
    def scopes(self) -> list[str] | None:
        """The token's scopes, or None if the server does not say.

        Raises:
            SentryError: The request failed.

        """
        index = self._client.get("", {}, partial(_parse, kind=_Index))
        return index.auth.scopes if index and index.auth else None

    def explain(
        self, organization: str, what: str, scopes: Collection[str], error: ForbiddenError
    ) -> ForbiddenError:
        """Return the error with the reason why the token may not read `what`, which needs `scopes`.

        The first refusal of a run takes a request, and so does each one of a token that has the
        scopes.
        """
        try:
            granted = self.scopes
            if granted is None:
                cause = _possible_reasons(what, scopes)
            elif lacking := [scope for scope in scopes if not _is_granted(scope, granted)]:
                return MissingScopeError(what, lacking[0], error)
            else:
                cause = self._reason_of_user(organization, what, scopes, granted)
        except SentryError:
            cause = _possible_reasons(what, scopes)
        told = ForbiddenError(cause, error.server_time)
        told.details = error.details
        return told

    def _reason_of_user(
        self, organization: str, what: str, scopes: Collection[str], granted: Collection[str]
    ) -> str:
        """Return why a token with the scopes may not use them in an organization."""
        try:
            path = f"organizations/{organization}/"
            parse = partial(_parse, kind=_Organization)
            found = self._client.get(path, {"detailed": "0"}, parse)
        except ForbiddenError:
            is_sure = _is_granted("org:read", granted)
            return _OUTSIDE if is_sure else _possible_reasons(what, scopes)
        if found is None:
            return _possible_reasons(what, scopes)
        if all(_is_granted(scope, found.access) for scope in scopes):
            cure = "look at what the organization's settings allow"
            if AUDIT_LOG in scopes:
                cure = "on sentry.io, the audit log needs a Business plan"
            return f"Sentry refuses {what}, although the scopes and the role suffice: {cure}"
        role = f" ({found.role})" if found.role else ""
        cure = "give the user a higher one"
        if AUDIT_LOG in scopes:
            cure = "make the user an Owner or Manager"
        return (
            f"the role of the token's user{role} is too low for {what}: {cure}, or use the token "
            "of an internal integration"
        )


def _is_granted(scope: str, granted: Collection[str]) -> bool:
    """Whether these scopes include a scope; to read something, any scope for it will do."""
    if scope == AUDIT_LOG:
        return scope in granted
    area = scope.partition(":")[0]
    return any(each.startswith(f"{area}:") for each in granted)


def _possible_reasons(what: str, scopes: Collection[str]) -> str:
    needed = " and ".join(f"the scope {scope} ({PERMISSIONS[scope]})" for scope in scopes)
    role = ""
    if AUDIT_LOG in scopes:
        role = (
            ", its user the role Owner or Manager, and on sentry.io the organization a Business "
            "plan"
        )
    return f"the token may not read {what}: it needs {needed}{role}"


def _parse(body: bytes, headers: Mapping[str, str], kind: type[Body]) -> Body | None:
    """Return what a body holds, or None if it holds something else: to ask again would not help."""
    del headers
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
