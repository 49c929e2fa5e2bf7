"""The organization's releases: archived ones too, and those of one date."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tap_sentry_audit.api.dated_list import read_whole
from tap_sentry_audit.api.exceptions import Refused
from tap_sentry_audit.api.pagination import PAGE_SIZE
from tap_sentry_audit.streams.lists import InventoryStream
from tap_sentry_audit.streams.schemas import schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tap_sentry_audit.api.pagination import Row


class Releases(InventoryStream):
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

    def rows(self, organization: str) -> Iterator[list[Row]]:
        """Yield the list's rows, those at the seams of its pages more than once.

        Raises:
            SentryError: The list could not be read, or not be proved to be whole.

        """
        # Without status= only open ones; an empty one means all (Sentry 23.7.1).
        status = {"status": ""}
        try:
            first = self.page(organization, status)
        except Refused:
            status = {}
            first = self.page(organization, status)
            self.logger.warning(
                "%s: this Sentry does not take an empty status=, so archived releases are not read",
                organization,
            )
        for page in read_whole(first, lambda more: self.page(organization, {**status, **more})):
            self.tell_null_rows(organization, [page])
            yield page.rows
