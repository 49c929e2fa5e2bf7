"""The plain lists: the organization around the log, read whole by every run."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from singer_sdk.pagination import BaseAPIPaginator

from tap_sentry_audit.api.dated_list import read_whole
from tap_sentry_audit.api.exceptions import BadRequestError
from tap_sentry_audit.api.pagination import PAGE_SIZE, ListCursors, parse_detail
from tap_sentry_audit.streams.base import SentryStream
from tap_sentry_audit.streams.schemas import schema_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import requests
    from singer_sdk.helpers.types import Context, Record

    from tap_sentry_audit.api.pagination import ListPage, Row


class _Paginator(BaseAPIPaginator[str | None]):
    """Follows the server's cursors for the SDK's request loop."""

    def __init__(self, last_page: Callable[[], ListPage]) -> None:
        super().__init__(None)
        self._cursors = ListCursors()
        self._last_page = last_page

    def get_next(self, response: requests.Response) -> str | None:
        del response
        return self._cursors.follow(self._last_page())

    def continue_if_empty(self, response: requests.Response) -> bool:
        """Continue after a page without rows: it can be a page of null rows."""
        del response
        return True


class ListStream(SentryStream):
    """A list of an organization, as it is now."""

    primary_keys = ("id",)
    selected_by_default = False
    # One state for the whole stream: lists have no bookmark.
    state_partitioning_keys = ()
    # It logs a line for each request; the SDK has no public name for it (streams/rest.py).
    _LOG_REQUEST_METRICS = False

    parameters: ClassVar[Mapping[str, str]] = {"per_page": str(PAGE_SIZE)}

    _page: ListPage
    _null_rows = 0

    @property
    def requests_session(self) -> requests.Session:
        """The client's session, with the token, the timeout and the rate limit."""
        return self.tap.client.session

    @property
    def user_agent(self) -> str:
        """The client's name: the SDK would send its own."""
        return self.tap.settings.user_agent

    def read(self, context: Context) -> Iterator[Record]:
        """Yield the rows of an organization, each once."""
        for row in self.rows(context):
            self.summary.new += 1
            yield row
        self.summary.null_rows = self._null_rows
        self.summary.organizations = 1

    def rows(self, context: Context) -> Iterator[Row]:
        """Yield the rows of an organization, each once, and warn of null rows."""
        self._null_rows = 0
        # A row that a new one pushes to the next page is on both pages.
        seen: set[str] = set()
        try:
            for row in self.request_records(context):
                if str(row["id"]) not in seen:
                    seen.add(str(row["id"]))
                    yield row
        finally:
            self.warn_of_null_rows(context["organization"], self._null_rows)

    def get_url(self, context: Context | None) -> str:
        """Return the list's URL in the organization's region."""
        organization = (context or {})["organization"]
        base_url = self.tap.client.region(organization).base_url
        return self.tap.client.url(self.path.format(organization=organization), base_url)

    def get_url_params(
        self, context: Context | None, next_page_token: str | None
    ) -> dict[str, str | None]:
        """Return the list's parameters; the SDK leaves out a cursor that is None."""
        del context
        return {**self.parameters, "cursor": next_page_token}

    def get_new_paginator(self) -> _Paginator:
        """Return a paginator for one walk along the list."""
        return _Paginator(lambda: self._page)

    def request_decorator(
        self, func: Callable[..., requests.Response]
    ) -> Callable[..., requests.Response]:
        """Retry as the client does."""
        return self.tap.client.retrying(func)

    def validate_response(self, response: requests.Response) -> None:
        """Parse the page, or raise a SentryError: the SDK does not retry `parse_response`."""
        self._page = self.tap.client.read(response, self.parse_page)

    def parse_response(self, response: requests.Response) -> list[Row]:
        """Return the rows of the page that `validate_response` has parsed."""
        del response
        self._null_rows += self._page.null_rows
        self.progress.show(len(self._page.rows))
        return self._page.rows


class Organizations(ListStream):
    """Each configured organization: its settings, roles and features."""

    name = "organizations"
    path = "organizations/{organization}/"
    parameters: ClassVar[Mapping[str, str]] = {"detailed": "0"}
    scopes = ("org:read",)
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

    def parse_page(self, body: bytes, headers: Mapping[str, str]) -> ListPage:
        """Return a page with the one organization; projects and teams have their own streams."""
        return parse_detail(body, headers)


class Projects(ListStream):
    """The projects of an organization."""

    name = "projects"
    path = "organizations/{organization}/projects/"
    required_fields = ("id", "slug")
    scopes = ("org:read",)
    schema = schema_of(
        string="id slug name platform",
        boolean="isBookmarked isMember hasAccess firstTransactionEvent hasSessions hasProfiles "
        "hasReplays hasMonitors hasMinifiedStackTrace hasUserReports",
        object="team eventProcessing latestRelease latestDeploys",
        array="teams access environments features platforms",
        time="dateCreated firstEvent",
    )


class Teams(ListStream):
    """The teams of an organization, with their projects."""

    name = "teams"
    path = "organizations/{organization}/teams/"
    scopes = ("org:read",)
    schema = schema_of(
        string="id slug name teamRole orgRole",
        integer="memberCount",
        boolean="isMember hasAccess isPending",
        object="flags avatar",
        array="access externalTeams projects",
        time="dateCreated",
    )


class Members(ListStream):
    """The members of an organization and their roles, invited members included."""

    name = "members"
    path = "organizations/{organization}/members/"
    scopes = ("member:read",)
    schema = schema_of(
        string="id email name role roleName orgRole inviteStatus inviterName",
        boolean="pending expired",
        object="user flags",
        array="groupOrgRoles",
        time="dateCreated",
    )


class Releases(ListStream):
    """The releases of all projects, archived ones included.

    The scope `project:releases` is enough, too.
    """

    name = "releases"
    path = "organizations/{organization}/releases/"
    # Without project=-1, only releases of the token's own user (Sentry 23.7.1).
    parameters: ClassVar[Mapping[str, str]] = {"per_page": str(PAGE_SIZE), "project": "-1"}
    scopes = ("project:read",)
    schema = schema_of(
        string="id version status shortVersion ref url userAgent",
        integer="newGroups commitCount deployCount",
        object="versionInfo data owner lastCommit lastDeploy currentProjectMeta",
        array="authors projects",
        time="dateCreated dateReleased firstEvent lastEvent",
    )

    def request_records(self, context: Context | None) -> Iterator[Row]:
        """Yield the list's rows, some at the borders of pages twice or more.

        The server's cursors, which the SDK would follow, lose some: see `api.dated_list`. A
        SentryError may come last: the list could not be proved whole.
        """
        context = context or {}
        # Without status= only open releases; an empty one means all (Sentry 23.7.1).
        parameters = {**self.parameters, "status": ""}

        def fetch(more: Mapping[str, str]) -> ListPage:
            return self.get_page(context, {**parameters, **more})

        try:
            first = fetch({})
        except BadRequestError:
            del parameters["status"]
            first = fetch({})
            self.logger.warning(
                "%s: this Sentry does not accept an empty status=, so archived releases are not "
                "read",
                context["organization"],
            )
        for page in read_whole(first, fetch):
            self._null_rows += page.null_rows
            # Copies, because records are made in place and `read_whole` needs its rows unchanged.
            yield from map(dict, page.rows)
