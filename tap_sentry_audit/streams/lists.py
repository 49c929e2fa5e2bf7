"""The plain lists: the organization around the log, read in full by every run."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from singer_sdk.pagination import BaseAPIPaginator

from tap_sentry_audit.api.dated_list import read_whole
from tap_sentry_audit.api.exceptions import BadRequestError
from tap_sentry_audit.api.pagination import (
    PAGE_SIZE,
    ListCursors,
    ListPage,
    parse_detail,
    parse_list,
)
from tap_sentry_audit.streams.base import SentryStream
from tap_sentry_audit.streams.schemas import schema_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import requests
    from singer_sdk.helpers.types import Context, Record

    from tap_sentry_audit.api.pagination import Row
    from tap_sentry_audit.streams.base import SentryTap


class ListPaginator(BaseAPIPaginator[str | None]):
    """Follows the server's cursors for the SDK's request loop, beyond pages of null rows, too."""

    def __init__(self, last_page: Callable[[], ListPage]) -> None:
        """Begin at the first page; `last_page` returns the one that was read last."""
        super().__init__(None)
        self._cursors = ListCursors()
        self._last_page = last_page

    def get_next(self, response: requests.Response) -> str | None:
        """Return the cursor behind the page.

        Raises:
            SentryError: The server leads in a circle.

        """
        del response
        return self._cursors.follow(self._last_page())

    def continue_if_empty(self, response: requests.Response) -> bool:
        """Go on behind a page without rows: it can be a page of null rows."""
        del response
        return True


class ListStream(SentryStream):
    """A list of an organization, as it is now."""

    primary_keys = ("id",)
    selected_by_default = False
    # The state stays the stream's: lists have no bookmark.
    state_partitioning_keys = ()
    # One line for each request otherwise; the SDK has no public name for it (streams/rest.py).
    _LOG_REQUEST_METRICS = False

    parameters: ClassVar[Mapping[str, str]] = {"per_page": str(PAGE_SIZE)}
    needed: ClassVar[tuple[str, ...]] = ("id",)
    """Fields that every row must have."""

    def __init__(self, tap: SentryTap) -> None:
        """Make the stream."""
        super().__init__(tap)
        self._page: ListPage
        self._null_rows = 0

    @property
    def requests_session(self) -> requests.Session:
        """The client's session: it has the token, the timeout and the rate limit."""
        return self.tap.client.session

    @property
    def user_agent(self) -> str:
        """What the tap calls itself."""
        return self.settings.user_agent

    def read(self, context: Context) -> Iterator[Record]:
        """Yield the rows of an organization, each once."""
        count = 0
        for count, row in enumerate(self.rows(context), start=1):  # noqa: B007  (told below)
            yield row
        self.logger.info("%s: %s records", context["organization"], f"{count:,}")

    def rows(self, context: Context) -> Iterator[Row]:
        """Yield the rows of an organization, each once, and tell of null rows.

        Raises:
            SentryError: It cannot be read.

        """
        self._null_rows = 0
        # A row that a new one pushes to the next page comes with both.
        seen: set[str] = set()
        for row in self.request_records(context):
            if str(row["id"]) not in seen:
                seen.add(str(row["id"]))
                yield row
        self.warn_of_null_rows(context["organization"], self._null_rows)

    def get_url(self, context: Context | None) -> str:
        """Return the list's URL in the organization's region."""
        organization = (context or {})["organization"]
        base_url = self.tap.client.region(organization).base_url
        return self.tap.client.url(self.path.format(organization=organization), base_url)

    def get_url_params(
        self, context: Context | None, next_page_token: str | None
    ) -> dict[str, str]:
        """Return the list's parameters, with the page's cursor."""
        del context
        return {**self.parameters, **({"cursor": next_page_token} if next_page_token else {})}

    def get_new_paginator(self) -> ListPaginator:
        """Return what follows the server's cursors."""
        return ListPaginator(lambda: self._page)

    def request_decorator(
        self, func: Callable[..., requests.Response]
    ) -> Callable[..., requests.Response]:
        """Try again as the client does."""
        return self.tap.client.retrying(func)

    def validate_response(self, response: requests.Response) -> None:
        """Parse the page, because the SDK parses it outside its retries (streams/rest.py).

        Raises:
            SentryError: What the answer means, in plain words.

        """
        self._page = self.tap.client.read(response, self.parse_page, self.permission)

    def parse_page(self, body: bytes, headers: Mapping[str, str]) -> ListPage:
        """Return the page that an answer holds."""
        return parse_list(body, headers, *self.needed)

    def parse_response(self, response: requests.Response) -> Iterator[Row]:
        """Yield the rows of the page that was validated."""
        del response
        yield from self._counted(self._page)

    def _counted(self, page: ListPage) -> list[Row]:
        self._null_rows += page.null_rows
        return page.rows


class Organizations(ListStream):
    """Each configured organization: its settings, roles and features."""

    name = "organizations"
    path = "organizations/{organization}/"
    parameters: ClassVar[Mapping[str, str]] = {"detailed": "0"}
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

    def parse_page(self, body: bytes, headers: Mapping[str, str]) -> ListPage:
        """Return the one organization; its projects and teams have streams of their own."""
        return parse_detail(body, headers)


class Projects(ListStream):
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


class Teams(ListStream):
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


class Members(ListStream):
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


class Releases(ListStream):
    """The releases of all projects, archived ones included."""

    name = "releases"
    path = "organizations/{organization}/releases/"
    # Without project=-1 only those of the token's own user (Sentry 23.7.1).
    parameters: ClassVar[Mapping[str, str]] = {"per_page": str(PAGE_SIZE), "project": "-1"}
    permission = "the token may not read releases. It needs the scope project:read"
    schema = schema_of(
        string="id version status shortVersion ref url userAgent",
        integer="newGroups commitCount deployCount",
        object="versionInfo data owner lastCommit lastDeploy currentProjectMeta",
        array="authors projects",
        time="dateCreated dateReleased firstEvent lastEvent",
    )

    def request_records(self, context: Context | None) -> Iterator[Row]:
        """Yield the list's rows, those at the seams of its pages more than once.

        The SDK's way along the server's cursors would lose some: see `api.dated_list`.

        Raises:
            SentryError: The list could not be read, or not be proved to be whole.

        """
        organization = (context or {})["organization"]
        client = self.tap.client
        base_url = client.region(organization).base_url
        path = self.path.format(organization=organization)
        # Without status= only open ones; an empty one means all (Sentry 23.7.1).
        status = {"status": ""}

        def fetch(more: Mapping[str, str]) -> ListPage:
            parameters = {**self.parameters, **status, **more}
            return client.get(path, parameters, self.parse_page, self.permission, base_url)

        try:
            first = fetch({})
        except BadRequestError:
            status.clear()
            first = fetch({})
            self.logger.warning(
                "%s: this Sentry does not take an empty status=, so archived releases are not read",
                organization,
            )
        for page in read_whole(first, fetch):
            # Copies, because records are made in place and `read_whole` looks at its rows again.
            yield from map(dict, self._counted(page))
