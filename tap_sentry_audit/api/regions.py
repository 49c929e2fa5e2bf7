"""Which host to ask about an organization, where Sentry runs in several regions.

On sentry.io the audit log lives on the main host and everything else in the organization's region
(`us.sentry.io`, `de.sentry.io`), which the organization names as `links.regionUrl`. A server
without regions names itself (Sentry 23.7.1), an internal address, or nothing.
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
_ORIGIN = re.compile(r"https?://[a-z0-9._-]+(:[0-9]{1,5})?(?=[/?#]|$)")
THIS_MACHINE = {"127.0.0.1", "localhost"}


@dataclass(frozen=True, slots=True)
class Region:
    """The address of an organization's projects, issues and so on.

    `server_time` is the server's clock at the time of the lookup. `refused` is the scheme, host and
    port that the organization names, if the token must not go there; empty if they are odd.
    """

    base_url: str
    server_time: datetime
    refused: str | None = None


def region_of(organization: Row, server_time: datetime, base_url: str) -> Region:
    """Return the region that an organization names, or the configured host (`base_url`).

    Whatever a server names, the token goes only to that host and to hosts below it.
    """
    links = organization.get("links")
    region = links.get("regionUrl") if isinstance(links, dict) else None
    if not isinstance(region, str) or not region or region.rstrip("/") == base_url:
        return Region(base_url, server_time)
    if _is_below(region, base_url):
        return Region(region.rstrip("/"), server_time)
    # What else is in it may be a secret.
    origin = _ORIGIN.match(region)
    return Region(base_url, server_time, origin[0] if origin else "")


def _is_below(region: str, base_url: str) -> bool:
    try:
        there, here = urlsplit(region), urlsplit(base_url)
        ports = there.port, here.port
    except ValueError:
        return False
    # Refuse URLs whose host two libraries may read differently.
    if there.scheme != here.scheme or not there.hostname or not _PLAIN.fullmatch(region):
        return False
    if there.hostname in THIS_MACHINE:
        # On a developer's machine, regions are ports.
        return there.hostname == here.hostname and ports[0] != ports[1]
    return there.hostname.endswith(f".{here.hostname}")
