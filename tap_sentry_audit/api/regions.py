"""Which host answers for an organization, where Sentry runs in several regions.

On sentry.io the audit log lives on the main host and all the rest in the organization's region
(`us.sentry.io`, `de.sentry.io`), which the organization names as `links.regionUrl`. Servers that
have no regions name themselves (Sentry 23.7.1), an address from within, or nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from datetime import datetime

    from tap_sentry_audit.api.pagination import Row

_PLAIN = re.compile(r"https?://[a-z0-9_-]+(\.[a-z0-9_-]+)*(:[0-9]+)?(/[A-Za-z0-9_./-]*)?")
_THIS_MACHINE = {"127.0.0.1", "localhost"}


@dataclass(frozen=True, slots=True)
class Region:
    """The address to ask for an organization's projects, issues and so on.

    `server_time` is its clock when it was found out.
    """

    base_url: str
    server_time: datetime


def region_of(organization: Row, server_time: datetime, base_url: str) -> Region:
    """Return the region that an organization names, or the configured host.

    The token goes to that host and to hosts below it only, whatever a server names.
    """
    named = organization.get("links")
    region = named.get("regionUrl") if isinstance(named, dict) else None
    if isinstance(region, str) and _is_below(region, base_url):
        base_url = region.rstrip("/")
    return Region(base_url, server_time)


def _is_below(region: str, base_url: str) -> bool:
    try:
        there, here = urlsplit(region), urlsplit(base_url)
        ports = there.port, here.port
    except ValueError:
        return False
    # Nothing that one library reads as a host and another one as something else.
    if there.scheme != here.scheme or not there.hostname or not _PLAIN.fullmatch(region):
        return False
    if there.hostname in _THIS_MACHINE:
        # A developer's Sentry: its regions are ports.
        return there.hostname == here.hostname and ports[0] != ports[1]
    return there.hostname.endswith(f".{here.hostname}")
