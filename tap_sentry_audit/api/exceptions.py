"""The errors of Sentry's API, with messages that say what to do.

* SentryError
  * BadRequestError: 400
  * AccessDeniedError
    * ForbiddenError: 403
    * NotFoundError: 404
  * RetriableError: 5xx, or a 200 with an invalid body
    * RateLimitError: 429
    * HtmlPageError: a 200 with an HTML page
    * DeadlineError: no complete answer in time
* InvalidBodyError: raised by parsers; `Client` turns it into a RetriableError

No message contains a body, a header's value or the token: audit entries are personal data.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from http import HTTPStatus
from http.client import LineTooLong, responses
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import requests

from tap_sentry_audit.api.timestamps import server_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime


class SentryError(Exception):
    """A request failed.

    `cause` says why, for the user, and usually what to do; if that depends on whether the tap
    retries, it is in `cure`. `details` is what was requested and answered.
    """

    def __init__(self, cause: str, details: str = "", cure: str = "") -> None:
        """Keep the parts: the details come last in the message."""
        super().__init__(cause, details, cure)
        self.cause = cause
        self.details = f" ({details})" if details else ""
        self.cure = f": {cure}" if cure else ""
        self.tries = 1

    def __str__(self) -> str:
        """Return the message of an error that is final."""
        tries = f". Tried {self.tries} times" if self.tries > 1 else ""
        return f"{self.cause}{self.cure}{self.details}{tries}"


class BadRequestError(SentryError):
    """400: the server does not accept the parameters (Sentry 23.7.1: a bad cursor)."""


class AccessDeniedError(SentryError):
    """The server denies access. `server_time` is its clock at that moment."""

    def __init__(self, cause: str, server_time: datetime, details: str = "") -> None:
        """Keep the time."""
        super().__init__(cause, details)
        self.server_time = server_time


class ForbiddenError(AccessDeniedError):
    """403: the token or its user may not read this. `api.access` finds out which."""


class NotFoundError(AccessDeniedError):
    """404: it does not exist, or the token may not see it."""


class RetriableError(SentryError):
    """Trying again may help."""


class RateLimitError(RetriableError):
    """429: the server's limit, not a fault of the request."""


class HtmlPageError(RetriableError):
    """200 with an HTML page: another server, or a proxy in front of it."""


class DeadlineError(RetriableError):
    """No complete answer before the request's deadline."""


class InvalidBodyError(ValueError):
    """A response body is not what its endpoint sends."""


_UNAUTHORIZED = {
    "Invalid token": (
        "Sentry does not know this auth_token: it was mistyped or revoked. Copy it again, or "
        "make a new one"
    ),
    "Token expired": "this auth_token has expired: make a new one",
    "Authentication credentials were not provided.": (
        "Sentry saw no token: something between here and Sentry, such as a reverse proxy, removes "
        "the Authorization header. Configure it to pass the header on"
    ),
}

_DENIALS: dict[int, type[AccessDeniedError]] = {
    HTTPStatus.FORBIDDEN: ForbiddenError,
    HTTPStatus.NOT_FOUND: NotFoundError,
}

_REGION_HOSTS = {"us.sentry.io", "de.sentry.io"}


def error_of(response: requests.Response) -> SentryError | None:
    """Return the error of a response, or None for a 200."""
    status, details = response.status_code, describe(response)
    if status == HTTPStatus.OK:
        return None
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimitError("Sentry's rate limit is used up", details)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return RetriableError(
            "Sentry failed to answer", details, "run again later, nothing is lost"
        )
    if status == HTTPStatus.BAD_REQUEST:
        return BadRequestError("Sentry does not accept the request", details)
    cause = _cause(response)
    denial = _DENIALS.get(status)
    if denial:
        return denial(cause, server_time(response.headers), details)
    return SentryError(cause, details)


def invalid_body(response: requests.Response, problem: str) -> RetriableError:
    """Return the error for a 200 with an invalid body."""
    if html_page := _html_page(response):
        return HtmlPageError(html_page, describe(response))
    return RetriableError(f"Sentry's answer cannot be used: {problem}", describe(response))


def describe(response: requests.Response) -> str:
    """Return a request's path and the status of its response."""
    status = response.status_code
    path = urlsplit(response.url).path
    return f"GET {path} answered {status} {responses.get(status, '')}".rstrip()


def _cause(response: requests.Response) -> str:
    if response.is_redirect:
        target = urlsplit(response.headers["Location"])
        where = f"{target.scheme}://{target.netloc}" if target.hostname else "another path"
        return (
            f"the server redirects to {where}, but the token goes to the configured host only: if "
            "that is your Sentry, set host to it"
        )
    detail = _detail(response)
    if detail is None and (html_page := _html_page(response)):
        return html_page
    match response.status_code:
        case HTTPStatus.UNAUTHORIZED:
            unknown = "Sentry does not accept this auth_token: make a new one"
            cause = _UNAUTHORIZED.get(detail or "", unknown)
        case HTTPStatus.FORBIDDEN:
            cause = "the token may not read this"
        case HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            cause = _proxy_authentication(urlsplit(response.url).scheme)
        case HTTPStatus.NOT_FOUND:
            cause = _not_found(response)
        case _:
            cause = "this is not how Sentry's API answers: check host"
    return cause


def _detail(response: requests.Response) -> str | None:
    """Return the `detail` of Sentry's error bodies, or None if the body is not JSON."""
    try:
        body = msgspec.json.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return str(body.get("detail", "")) if isinstance(body, dict) else ""


def _html_page(response: requests.Response) -> str:
    """Return the explanation for an HTML page; empty if the response is not one."""
    if "html" not in response.headers.get("Content-Type", ""):
        return ""
    return (
        f"{urlsplit(response.url).netloc} sent an HTML page, which Sentry's API never does: it is "
        "another server, or a proxy or login page stands in front of it. Check host and your proxy "
        "settings"
    )


def _not_found(response: requests.Response) -> str:
    url = urlsplit(response.url)
    host, parts = url.netloc, url.path.split("/")
    if "organizations" not in parts:
        return f"{host} does not have this"
    if host in _REGION_HOSTS and "audit-logs" in parts:
        return (
            f"there is no such audit log on {host}: audit logs live on sentry.io, not on a "
            "region's host. Set host to sentry.io, or check organization"
        )
    return (
        f"there is no such organization on {host}, or the token may not see it: check "
        "organization (the slug, not the name or number) and host"
    )


def proxy_variable(scheme: str) -> str:
    """Return the name of the environment variable that gives the proxy for a URL's scheme."""
    lower = (f"{scheme}_proxy", "all_proxy")
    names = [each for name in lower for each in (name, name.upper())]
    return next((name for name in names if os.environ.get(name)), names[1])


def _proxy_authentication(scheme: str) -> str:
    variable = proxy_variable(scheme)
    if "@" in os.environ.get(variable, ""):
        return f"the proxy does not accept the user name and password in {variable}: correct them"
    return (
        "the proxy needs a user name and password: put them into "
        f"{variable} (http://user:password@name:port)"
    )


def connection_failure(error: OSError, url: str) -> str:
    """Return why a request to a URL got no response."""
    parts = urlsplit(url)
    host, name = parts.netloc, parts.hostname or ""
    causes = list(_causes(error))
    if refusal := _refusal_of_proxy(causes):
        if refusal == str(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED.value):
            words = _proxy_authentication(parts.scheme)
        else:
            words = f"the proxy does not connect to it: check {proxy_variable(parts.scheme)}"
        return f"{host} cannot be reached (the proxy answered {refusal}): {words}"
    for kind, words in _FAILURES.items():
        for cause in causes:
            if isinstance(cause, kind):
                why = getattr(cause, "verify_message", "").rstrip(".")
                is_of_other_name = getattr(cause, "verify_code", None) in _OTHER_NAME
                told = _FOR_OTHER_NAME if is_of_other_name else words
                return told.format(host=host, name=name, error=why)
    return f"The connection to {host} failed ({type(causes[-1]).__name__})"


def _refusal_of_proxy(causes: list[BaseException]) -> str | None:
    """Return the status with which a proxy refused to connect, if one did (http.client, 3.11)."""
    found = (re.match(r"Tunnel connection failed: (\d{3})", str(cause)) for cause in causes)
    return next((match[1] for match in found if match), None)


def is_permanent(error: Exception) -> bool:
    """Whether to try again cannot help: with a certificate, or a proxy that wants a password."""
    if isinstance(error, RetriableError):
        return False
    if isinstance(error, requests.exceptions.SSLError | ValueError):
        return True
    is_of_proxy = _refusal_of_proxy(list(_causes(error))) == "407"
    return is_of_proxy or not isinstance(error, requests.RequestException)


def is_wrong_address(error: Exception) -> bool:
    """Whether nobody is there: most often a setting is wrong, now and then a server is down."""
    nobody = ConnectionRefusedError | socket.gaierror | requests.ConnectTimeout
    return any(isinstance(cause, nobody) for cause in _causes(error))


_OTHER_NAME = {62, 64}
"""OpenSSL's codes for a certificate of another name or IP address."""

_FOR_OTHER_NAME = (
    "The certificate of {host} is for another name ({error}): set host to a name that is in it"
)

_FAILURES: dict[type[BaseException], str] = {
    ssl.SSLCertVerificationError: (
        "The certificate of {host} cannot be trusted ({error}). For a private authority set "
        "REQUESTS_CA_BUNDLE to its certificate file"
    ),
    ssl.SSLError: "{host} does not speak TLS as expected: check host, its port and https://",
    requests.exceptions.ProxyError: (
        "The proxy in front of {host} cannot be used: check HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
    ),
    socket.gaierror: "The name {name} cannot be found: check host and your DNS",
    ConnectionRefusedError: "{host} refused the connection: check host and port",
    requests.Timeout: "{host} did not answer in time (request_timeout_seconds)",
    requests.exceptions.ContentDecodingError: "{host} sent a body that cannot be decompressed",
    LineTooLong: "{host} sent headers that cannot be read",
    requests.exceptions.ChunkedEncodingError: "{host} broke off in the middle of its answer",
}


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes; requests and urllib3 also put them into `args`."""
    pending: list[object] = [error]
    seen: set[int] = set()
    while pending:
        cause = pending.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        pending += [cause.__cause__, cause.__context__, getattr(cause, "reason", None)]
        pending += cause.args
