"""The HTTP client of a run: session, token, retries and regions."""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import cached_property
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import urlsplit

import backoff
import requests

from tap_sentry_audit.api.clock import LONG_WAIT, Clock, time_of_day
from tap_sentry_audit.api.environment import authorities
from tap_sentry_audit.api.exceptions import (
    AccessDeniedError,
    DeadlineError,
    HtmlPageError,
    InvalidBodyError,
    RateLimitError,
    RetriableError,
    SentryError,
    connection_failure,
    error_of,
    invalid_body,
    is_permanent,
    is_wrong_address,
)
from tap_sentry_audit.api.pagination import parse_detail
from tap_sentry_audit.api.rate_limit import RateLimiter
from tap_sentry_audit.api.regions import THIS_MACHINE, Region, region_of
from tap_sentry_audit.api.transport import Transport
from tap_sentry_audit.api.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from logging import Logger

    from tap_sentry_audit.api.concurrency import Attempt
    from tap_sentry_audit.config import Settings

    Result = TypeVar("Result")
    P = ParamSpec("P")

MAX_TRIES = 7
"""Attempts at a failing request: the second is almost immediate, all take about half a minute."""

MAX_TRIES_TOO_LATE = 2
"""Attempts at a request that misses its deadline: each may take minutes."""

MAX_TRIES_OF_TEST = 2
"""Attempts under `--test` at what is most likely a wrong setting."""

MOST_SECONDS_TO_YIELD = 4
"""How long a request that is refused again and again lets others go first each time."""

MAX_SECONDS_OF_429 = 300
"""How long to retry after 429s: other clients may be using up the limit."""

_BY_OTHERS = (
    f"for {MAX_SECONDS_OF_429} s by other clients: slow them down, give the tap a token of its "
    "own, or run it later"
)


class Client:
    """A client of Sentry's API that threads can share.

    Requests go to the configured host and to regions below it, nowhere else: the client does not
    follow redirects, and uses only the cursor of a `Link` header.
    """

    def __init__(
        self,
        settings: Settings,
        logger: Logger,
        clock: Clock | None = None,
        *,
        is_test: bool = False,
    ) -> None:
        """Create a client without sending a request.

        `logger` gets a warning for each retry, and a line for each long wait. A connection test
        gives up sooner.
        """
        self._is_test = is_test
        self.is_hasty = False
        """Whether to try everything only once: `--test` on what the run would not read."""
        self._clock = clock or Clock()
        self.rate_limiter = RateLimiter(
            settings.requests_per_second, settings.max_concurrent_requests, self._clock, logger
        )
        self._settings = settings
        self._logger = logger
        self._regions: dict[str, Region] = {}

    @cached_property
    def session(self) -> requests.Session:
        """The session, with the environment's certificate authorities.

        `Session.send` ignores the environment's authorities, and a `.netrc` must not replace the
        token. The transport knows the environment's proxies.

        Raises:
            SentryError: The environment names authorities that cannot be used.

        """
        settings, session = self._settings, requests.Session()
        if settings.host.startswith("https:"):
            session.verify = authorities()
        session.trust_env = False
        # The token alone says who asks: no cookie is taken.
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.headers["Authorization"] = f"Bearer {settings.auth_token}"
        session.headers["User-Agent"] = settings.user_agent
        transport = Transport(
            self.rate_limiter,
            Watchdog(settings.request_deadline_seconds, self._logger),
            connections=settings.max_concurrent_requests,
            timeout=settings.request_timeout_seconds,
            max_bytes=settings.max_response_mb << 20,
        )
        session.mount("https://", transport)
        session.mount("http://", transport)
        return session

    def url(self, path: str, base_url: str | None = None) -> str:
        """Return the URL of a path below `/api/0/`, on the configured host or at `base_url`."""
        return f"{base_url or self._settings.host}/api/0/{path}"

    def get(
        self,
        path: str,
        parameters: Mapping[str, str],
        parse: Callable[[bytes, Mapping[str, str]], Result],
        base_url: str | None = None,
        *,
        attempt: Attempt = nullcontext,
    ) -> Result:
        """Send a GET request and return its parsed response.

        `parse` takes the body and headers, and raises `InvalidBodyError` for an invalid body: then
        the request is sent again. Each try enters a context manager that `attempt` makes.

        Raises:
            SentryError: The request failed, and retries did not or cannot help.

        """
        request = self._request_without_url.copy()
        request.prepare_url(self.url(path, base_url), dict(parameters))

        def send() -> Result:
            with attempt():
                response = self.session.send(request, allow_redirects=False)
                return self.read(response, parse)

        return self.retrying(send)()

    @staticmethod
    def read(
        response: requests.Response,
        parse: Callable[[bytes, Mapping[str, str]], Result],
    ) -> Result:
        """Return a parsed response; `parse` is as for `get`.

        Raises:
            SentryError: The response is an error, or its body is invalid.

        """
        error = error_of(response)
        if error is not None:
            raise error
        try:
            return parse(response.content, response.headers)
        except InvalidBodyError as invalid:
            raise invalid_body(response, str(invalid)) from None

    def retrying(self, send: Callable[P, Result]) -> Callable[P, Result]:
        """Wrap `send` with retries: a number of them for failures, a time for the rate limit.

        The wrapped function raises a SentryError for every failure.
        """

        def call(*args: P.args, **options: P.kwargs) -> Result:
            failures, refusals, end = 0, 0, math.inf
            while True:
                try:
                    return send(*args, **options)
                except RateLimitError as error:
                    # The rate limiter makes every thread wait for its next turn.
                    now = self._clock.monotonic()
                    if now >= end:
                        message = f"{error.cause} {_BY_OTHERS}{error.details}"
                        raise SentryError(message) from error
                    end = min(end, now + MAX_SECONDS_OF_429)
                    # If it alone is refused, other requests come first.
                    self._clock.sleep(min(refusals, MOST_SECONDS_TO_YIELD))
                    refusals += 1
                except (RetriableError, OSError) as error:  # requests' errors are OSErrors
                    failures += 1
                    if failures >= self._max_tries(error):
                        raise self._failure(error, failures) from error
                    self._wait_to_retry(error, failures)
                except ValueError as error:
                    # requests raises it for a malformed Location, which it does not follow.
                    host = urlsplit(self._settings.host).netloc
                    message = f"{host} sent an answer that cannot be read: check host"
                    raise SentryError(message) from error

        return call

    def _max_tries(self, error: Exception) -> int:
        """Return how often to try what fails so."""
        if self.is_hasty or is_permanent(error):
            return 1
        if isinstance(error, DeadlineError):
            return MAX_TRIES_TOO_LATE
        is_likely_permanent = isinstance(error, HtmlPageError) or is_wrong_address(error)
        return MAX_TRIES_OF_TEST if self._is_test and is_likely_permanent else MAX_TRIES

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
                page = self.get(path, {"detailed": "0"}, parse_detail)
                found = region_of(page.rows[0], page.server_time, host)
                self._regions[organization] = found
                self._mention(organization, found)
            except AccessDeniedError as error:
                self._regions[organization] = Region(host, error.server_time)
        return self._regions[organization]

    def _mention(self, organization: str, region: Region) -> None:
        """Say where the token does not go, or where it goes and a tunnel could mislead it."""
        host = self._settings.host
        if region.refused is not None:
            self._logger.info(
                "%s: the server names the region %s, which is not below host: the token does not "
                "go there, and the tap asks %s instead",
                organization,
                region.refused or "with an odd address",
                urlsplit(host).netloc,
            )
        elif region.base_url != host and urlsplit(region.base_url).hostname in THIS_MACHINE:
            self._logger.info(
                "%s: the server names the region %s, another port of this machine: the token goes "
                "there too",
                organization,
                region.base_url,
            )

    @cached_property
    def _request_without_url(self) -> requests.PreparedRequest:
        """The unchanging parts of a request: preparing them takes longer than reading a page."""
        return self.session.prepare_request(requests.Request("GET", self._settings.host))

    def _wait_to_retry(self, error: RetriableError | OSError, failures: int) -> None:
        """Wait for at most 0.1, 0.3, 0.9, 2.7, 8.1 and 24.3 seconds, and at least half of that."""
        longest = 0.1 * 3 ** (failures - 1)
        wait = longest / 2 + backoff.full_jitter(longest / 2)
        end = f" ({time_of_day(self._clock.time() + wait)})" if wait > LONG_WAIT else ""
        self._logger.warning("%s; trying again in %.1f s%s", self._reason(error), wait, end)
        self._clock.sleep(wait)

    def _failure(self, error: RetriableError | OSError, failures: int) -> SentryError:
        """Return the error of a request that failed so often."""
        final = error if isinstance(error, SentryError) else RetriableError(self._reason(error))
        final.tries = failures
        return final

    def _reason(self, error: RetriableError | OSError) -> str:
        """Return why a try failed."""
        if isinstance(error, SentryError):
            return f"{error.cause}{error.details}"
        request = error.request if isinstance(error, requests.RequestException) else None
        return connection_failure(error, (request and request.url) or self._settings.host)
