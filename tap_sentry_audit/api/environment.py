"""What the environment says of the network: proxies and certificate authorities.

The variables are those of requests and curl. What is wrong with one is reported by name, before a
request is sent: a proxy's address can hold a password.
"""

from __future__ import annotations

import os
import re
import ssl
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from tap_sentry_audit.api.exceptions import SentryError, proxy_variable

_AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
"""The name of a certificate in a folder that `openssl rehash` has prepared."""


def authorities() -> str | bool:
    """Return the file or folder of trusted certificates, or True for those of requests.

    Raises:
        SentryError: A variable names something else.

    """
    for variable in _AUTHORITIES:
        path = os.environ.get(variable)
        if path:
            if problem := _problem_of_authorities(Path(path)):
                cure = "set it to a file of certificates (PEM), or unset it"
                message = f"{variable} {problem}: {cure}"
                raise SentryError(message)
            return path
    return True


def _problem_of_authorities(path: Path) -> str | None:
    try:
        if path.is_dir():
            named = any(_HASHED.fullmatch(each.name) for each in path.iterdir())
            return None if named else "names a folder without certificates"
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return "names a file that holds no certificates"
    except (OSError, ValueError) as error:
        return f"names a file that cannot be read ({type(error).__name__})"
    return None


def proxies(url: str) -> dict[str, str]:
    """Return the proxies for a URL, by scheme, as requests takes them.

    Raises:
        SentryError: The address of its proxy cannot be used.

    """
    found = get_environ_proxies(url)
    proxy = select_proxy(url, found)
    if proxy and (problem := _problem_of_proxy(proxy)):
        variable = proxy_variable(urlsplit(url).scheme)
        message = f"{variable} {problem}"
        raise SentryError(message)
    return found


def _problem_of_proxy(proxy: str) -> str | None:
    try:
        parts = parse_url(proxy if "://" in proxy else f"http://{proxy}")
        if parts.host:
            parts.host.encode("idna")  # as connecting would
    except (LocationParseError, UnicodeError):
        parts = None
    scheme = parts.scheme if parts else ""
    if scheme in {"socks4", "socks4a", "socks5", "socks5h"} and not find_spec("socks"):
        return "names a SOCKS proxy, which needs another package: install PySocks next to the tap"
    known = {"http", "https", "socks4", "socks4a", "socks5", "socks5h"}
    if parts is None or not parts.host or scheme not in known:
        return "is not the address of a proxy: write http://name:port, or http://user:password@name:port"
    return None
