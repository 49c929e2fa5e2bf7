"""The HTTP client of a run: session, token, retries and regions."""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import cached_property
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import urlsplit

import backoff
import requests

from tap_sentry_audit.api.clock import Clock
from tap_sentry_audit.api.exceptions import (
    AccessDeniedError,
    InvalidBodyError,
    RateLimitError,
    RetriableError,
    SentryError,
    connection_failure,
    error_of,
    invalid_body,
)
from tap_sentry_audit.api.pagination import parse_detail
from tap_sentry_audit.api.rate_limit import RateLimitedAdapter, RateLimiter
from tap_sentry_audit.api.regions import Region, region_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from logging import Logger

    from backoff.types import Details

    from tap_sentry_audit.api.concurrency import Attempt
    from tap_sentry_audit.config import Settings

    Result = TypeVar("Result")
    P = ParamSpec("P")

MAX_TRIES = 7
"""Attempts at a failing request: the second is almost immediate, all take about half a minute."""

MAX_SECONDS_OF_429 = 300
"""How long to retry after 429s: other clients may be using up the limit."""


class Client:
    """A client of Sentry's API that threads can share.

    Requests go to the configured host and to regions below it, nowhere else: the client does not
    follow redirects, and uses only the cursor of a `Link` header.
    """

    def __init__(self, settings: Settings, logger: Logger, clock: Clock | None = None) -> None:
        """Create a client without sending a request. `logger` gets a warning for each retry."""
        self._clock = clock or Clock()
        self.rate_limiter = RateLimiter(
            settings.requests_per_second, settings.max_concurrent_requests, self._clock
        )
        self._settings = settings
        self._logger = logger
        self._regions: dict[str, Region] = {}

    @cached_property
    def session(self) -> requests.Session:
        """The session, with the environment's proxies and certificate authorities.

        It reads the environment here, once: `Session.send` ignores the environment's authorities,
        and a `.netrc` must not replace the token.
        """
        settings, session = self._settings, requests.Session()
        found = session.merge_environment_settings(settings.host, {}, None, None, None)
        session.proxies.update(found["proxies"])
        session.verify = found["verify"]
        if session.verify is True:
            session.verify = os.environ.get("SSL_CERT_FILE") or True
        session.trust_env = False
        # The token alone says who asks: no cookie is taken.
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.headers["Authorization"] = f"Bearer {settings.auth_token}"
        session.headers["User-Agent"] = settings.user_agent
        adapter = RateLimitedAdapter(
            self.rate_limiter,
            connections=settings.max_concurrent_requests,
            timeout=settings.request_timeout_seconds,
        )
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session

    def url(self, path: str, base_url: str | None = None) -> str:
        """Return the URL of a path below `/api/0/`, on the configured host or at `base_url`."""
        return f"{base_url or self._settings.host}/api/0/{path}"

    def get(  # noqa: PLR0913  (what a request is made of)
        self,
        path: str,
        parameters: Mapping[str, str],
        parse: Callable[[bytes, Mapping[str, str]], Result],
        permission: str,
        base_url: str | None = None,
        *,
        attempt: Attempt = nullcontext,
    ) -> Result:
        """Send a GET request and return its parsed response.

        `parse` takes the body and headers, and raises `InvalidBodyError` for an invalid body: then
        the request is sent again. `permission` is the text of a 403: what the token and its user
        need. Each try enters a context manager that `attempt` makes.

        Raises:
            SentryError: The request failed, and retries did not or cannot help.

        """
        request = self._request_without_url.copy()
        request.prepare_url(self.url(path, base_url), dict(parameters))

        def send() -> Result:
            with attempt():
                response = self.session.send(request, allow_redirects=False)
                return self.read(response, parse, permission)

        return self.retrying(send)()

    @staticmethod
    def read(
        response: requests.Response,
        parse: Callable[[bytes, Mapping[str, str]], Result],
        permission: str,
    ) -> Result:
        """Return a parsed response; `parse` and `permission` are as for `get`.

        Raises:
            SentryError: The response is an error, or its body is invalid.

        """
        error = error_of(response, permission)
        if error is not None:
            raise error
        try:
            return parse(response.content, response.headers)
        except InvalidBodyError as invalid:
            raise invalid_body(response, str(invalid)) from None

    def retrying(self, send: Callable[P, Result]) -> Callable[P, Result]:
        """Wrap `send` with retries: a number of them for failures, a time for the rate limit.

        After a 429 the rate limiter makes every thread wait, so the retry itself does not wait.
        The wrapped function raises a SentryError for every failure.
        """
        retry_failures = backoff.on_exception(
            backoff.constant,
            (RetriableError, requests.RequestException),
            max_tries=MAX_TRIES,
            giveup=lambda error: isinstance(error, RateLimitError | requests.exceptions.SSLError),
            # backoff can only wait by the machine's clock, so we wait ourselves, and it waits 0 s.
            interval=0,
            jitter=None,
            on_backoff=self._wait_to_retry,
            logger=None,
        )
        retry_rate_limit = backoff.on_exception(
            backoff.constant,
            RateLimitError,
            interval=0,
            max_time=MAX_SECONDS_OF_429,
            jitter=None,
            logger=None,
        )
        retried = retry_rate_limit(retry_failures(send))

        def call(*args: P.args, **options: P.kwargs) -> Result:
            try:
                return retried(*args, **options)
            except RateLimitError as error:
                seconds = MAX_SECONDS_OF_429
                message = f"{error} for {seconds} seconds: others use up the token's limit"
                raise SentryError(message) from error
            except RetriableError as error:
                message = f"{error}, and so did {MAX_TRIES - 1} more tries"
                raise SentryError(message) from error
            except OSError as error:  # includes requests.RequestException
                raise SentryError(connection_failure(error, self._host(error))) from error
            except ValueError as error:
                # requests raises it for a malformed Location, even if it does not follow redirects.
                message = f"{self._host(error)} sent an answer that cannot be read: check host"
                raise SentryError(message) from error

        return call

    def region(self, organization: str) -> Region:
        """Return where to read everything of an organization but its audit log.

        If the token may not read the organization, that is the configured host. Each organization
        is looked up once per run.

        Raises:
            SentryError: The lookup failed.

        """
        if organization not in self._regions:
            host, path = self._settings.host, f"organizations/{organization}/"
            try:
                page = self.get(path, {"detailed": "0"}, parse_detail, permission="")
                self._regions[organization] = region_of(page.rows[0], page.server_time, host)
            except AccessDeniedError as error:
                self._regions[organization] = Region(host, error.server_time)
        return self._regions[organization]

    @cached_property
    def _request_without_url(self) -> requests.PreparedRequest:
        """The unchanging parts of a request: preparing them takes longer than reading a page."""
        return self.session.prepare_request(requests.Request("GET", self._settings.host))

    def _wait_to_retry(self, details: Details) -> None:
        """Wait for at most 0.1, 0.3, 0.9, 2.7, 8.1 and 24.3 seconds, and at least half of that."""
        error: object = details.get("exception")
        if isinstance(error, requests.RequestException):
            error = connection_failure(error, self._host(error))
        longest = 0.1 * 3 ** (details["tries"] - 1)
        wait = longest / 2 + backoff.full_jitter(longest / 2)
        self._logger.warning("%s; trying again in %.1f s", error, wait)
        self._clock.sleep(wait)

    def _host(self, error: Exception) -> str:
        """Return the host of a failed request."""
        request = error.request if isinstance(error, requests.RequestException) else None
        return urlsplit((request and request.url) or self._settings.host).netloc
