"""The organization around the log: plain lists, read in full by every run."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from singer_sdk.helpers.conform import TypeConformanceLevel

from tap_sentry_audit.api.pagination import PAGE_SIZE, ListPage, pages, read_detail, read_list
from tap_sentry_audit.streams.base import SentryStream
from tap_sentry_audit.streams.records import row_record
from tap_sentry_audit.streams.schemas import schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from singer_sdk.helpers.types import Context, Record

    from tap_sentry_audit.api.pagination import Row


class InventoryStream(SentryStream):
    """A list of an organization, as it is now."""

    primary_keys = ("id",)
    selected_by_default = False
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.ROOT_ONLY
    STATE_MSG_FREQUENCY = 1000

    parameters: ClassVar[Mapping[str, str]] = {"per_page": str(PAGE_SIZE)}
    needed: ClassVar[tuple[str, ...]] = ("id",)
    """Fields that every row must have."""

    def read(self, organization: str, context: Context | None) -> Iterator[Record]:
        """Yield the rows of an organization, each once."""
        del context
        redact_secrets = self.settings.redact_secrets
        count = 0
        # A row that a new one pushes to the next page comes with both.
        seen: set[str] = set()
        for rows in self.rows(organization):
            for row in rows:
                if str(row["id"]) not in seen:
                    seen.add(str(row["id"]))
                    count += 1
                    self.tap.hold_signals()
                    yield row_record(row, self.schema, organization, redact_secrets=redact_secrets)
                    self.tap.release_signals()
        self.logger.info("%s: %s records", organization, f"{count:,}")

    def rows(self, organization: str) -> Iterator[list[Row]]:
        """Yield the list's pages."""
        for page in pages(
            lambda cursor: self.page(organization, {"cursor": cursor} if cursor else {})
        ):
            self.tell_null_rows(organization, [page])
            yield page.rows

    def page(self, organization: str, more: Mapping[str, str]) -> ListPage:
        """Return the page that the list's parameters and these ask for.

        Raises:
            SentryError: It cannot be read.

        """
        return self.get(
            self.path.format(organization=organization),
            {**self.parameters, **more},
            lambda body, headers: read_list(body, headers, *self.needed),
            self.region(organization).base_url,
        )


class Organizations(InventoryStream):
    """Each configured organization: its settings, roles and features."""

    name = "organizations"
    path = "organizations/{organization}/"
    permission = "the token may not read this organization. It needs the scope org:read"
    schema = schema_of(
        string="id slug name defaultRole attachmentsRole debugFilesRole role orgRole",
        integer="storeCrashReports pendingAccessRequests",
        boolean="isEarlyAdopter require2FA requireEmailVerification hasAuthProvider isDefault "
        "openMembership allowSharedIssues enhancedPrivacy dataScrubber dataScrubberDefaults "
        "eventsMemberAdmin alertsMemberWrite scrubIPAddresses scrapeJavaScript allowJoinRequests "
        "codecovAccess aiSuggestedSolution githubPRBot isDynamicallySampled",
        object="status avatar links experiments quota relayPiiConfig",
        array="features availableRoles orgRoleList teamRoleList sensitiveFields safeFields "
        "trustedRelays access onboardingTasks",
        time="dateCreated",
    )

    def rows(self, organization: str) -> Iterator[list[Row]]:
        """Yield the one organization; its projects and teams have streams of their own."""
        detail = self.get(
            self.path.format(organization=organization),
            {"detailed": "0"},
            read_detail,
            self.region(organization).base_url,
        )
        yield [detail.row]


class Projects(InventoryStream):
    """The projects of an organization."""

    name = "projects"
    path = "organizations/{organization}/projects/"
    needed = ("id", "slug")
    permission = "the token may not read the list of projects. It needs the scope org:read"
    schema = schema_of(
        string="id slug name platform",
        boolean="isBookmarked isMember hasAccess firstTransactionEvent hasSessions hasProfiles "
        "hasReplays hasMonitors hasMinifiedStackTrace hasUserReports",
        object="team eventProcessing latestRelease latestDeploys",
        array="teams access environments features platforms",
        time="dateCreated firstEvent",
    )


class Teams(InventoryStream):
    """The teams of an organization, with their projects."""

    name = "teams"
    path = "organizations/{organization}/teams/"
    permission = "the token may not read the list of teams. It needs the scope org:read"
    schema = schema_of(
        string="id slug name teamRole orgRole",
        integer="memberCount",
        boolean="isMember hasAccess isPending",
        object="flags avatar",
        array="access externalTeams projects",
        time="dateCreated",
    )


class Members(InventoryStream):
    """The members of an organization, invited ones included: who has which role."""

    name = "members"
    path = "organizations/{organization}/members/"
    permission = "the token may not read members. It needs the scope member:read"
    schema = schema_of(
        string="id email name role roleName orgRole inviteStatus inviterName",
        boolean="pending expired",
        object="user flags",
        array="groupOrgRoles",
        time="dateCreated",
    )
