"""The one HTTP client of a run: session, token, retries, region."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import urlsplit

import backoff
import requests

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

    from tap_sentry_audit.config import Settings

    Result = TypeVar("Result")
    P = ParamSpec("P")

MAX_TRIES = 7
"""Tries of one request that fails: about half a minute in all, the second one almost at once."""

MAX_SECONDS_OF_429 = 300
"""How long the rate limit may turn one request away; other clients may be using it up."""

_ENVIRONMENT_CA_BUNDLE = "SSL_CERT_FILE"


class Client:
    """Asks Sentry's API. Threads may share it.

    A request goes to the configured host or to a region below it and nowhere else: redirects
    are not followed, and of a `Link` header only the cursor is used.
    """

    def __init__(self, settings: Settings, logger: Logger) -> None:
        """Make a client; nothing is asked yet. `logger` tells what is tried again."""
        self.rate_limiter = RateLimiter(
            settings.requests_per_second, settings.max_concurrent_requests
        )
        self._settings = settings
        self._logger = logger
        self._regions: dict[str, Region] = {}

    @cached_property
    def session(self) -> requests.Session:
        """A session for several threads, with the environment's proxies and authorities.

        `Session.send` does not look at the environment's authorities by itself, and a
        `.netrc` must not replace the token: so the environment is read here, once.
        """
        session = requests.Session()
        url = self._settings.host
        found = session.merge_environment_settings(url, {}, None, None, None)
        session.proxies.update(found["proxies"])
        session.verify = found["verify"]
        if session.verify is True:
            session.verify = os.environ.get(_ENVIRONMENT_CA_BUNDLE) or True
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {self._settings.auth_token}"
        session.headers["User-Agent"] = self._settings.user_agent
        adapter = RateLimitedAdapter(
            self.rate_limiter,
            connections=self._settings.max_concurrent_requests,
            timeout=self._settings.request_timeout_seconds,
        )
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session

    def url(self, path: str, base_url: str | None = None) -> str:
        """Return the URL of a path below `/api/0/`, on the configured host or a region's."""
        return f"{base_url or self._settings.host}/api/0/{path}"

    def get(
        self,
        path: str,
        parameters: Mapping[str, str],
        parse: Callable[[bytes, Mapping[str, str]], Result],
        permission: str,
        base_url: str | None = None,
    ) -> Result:
        """Return what `parse` makes of the body and headers that a path answers.

        `permission` says what the token and its user need, for a 403. `parse` raises
        `InvalidBodyError` for a body that is not an answer, and the request is tried again.

        Raises:
            SentryError: The request failed, and trying again did not help or does not.

        """
        request = self._request_without_url.copy()

        def send() -> Result:
            response = self.session.send(request, allow_redirects=False)
            return self.read(response, parse, permission)

        request.prepare_url(self.url(path, base_url), dict(parameters))
        return self.retrying(send)()

    @staticmethod
    def read(
        response: requests.Response,
        parse: Callable[[bytes, Mapping[str, str]], Result],
        permission: str,
    ) -> Result:
        """Return what `parse` makes of an answer.

        Raises:
            SentryError: What the answer means, in plain words; a RetriableError may be tried again.

        """
        error = error_of(response, permission)
        if error is not None:
            raise error
        try:
            return parse(response.content, response.headers)
        except InvalidBodyError as invalid:
            raise invalid_body(response, str(invalid)) from None

    def retrying(self, send: Callable[P, Result]) -> Callable[P, Result]:
        """Wrap `send` with retries: by number for failures, by time for the rate limit.

        After a 429 the rate limiter makes everybody wait, so trying again needs no wait of its own.
        What the wrapped function raises in the end is a SentryError in plain words.
        """
        failures = backoff.on_exception(
            # Waits of at most 0.1, 0.3, 0.9, 2.7, 8.1 and 24.3 seconds.
            lambda: backoff.expo(base=3, factor=0.1),
            (RetriableError, requests.RequestException),
            max_tries=MAX_TRIES,
            giveup=_is_final,
            jitter=_half_to_all,
            on_backoff=self._log_retry,
            logger=None,
        )
        rate_limit = backoff.on_exception(
            backoff.constant,
            RateLimitError,
            interval=0,
            max_time=MAX_SECONDS_OF_429,
            jitter=None,
            logger=None,
        )
        retried = rate_limit(failures(send))

        def call(*args: P.args, **options: P.kwargs) -> Result:
            try:
                return retried(*args, **options)
            except RateLimitError as error:
                cause = "others use up the token's limit"
                message = f"{error} for {MAX_SECONDS_OF_429} seconds: {cause}"
                raise SentryError(message) from error
            except RetriableError as error:
                message = f"{error}, and so did {MAX_TRIES - 1} more tries"
                raise SentryError(message) from error
            except OSError as error:  # the base of requests.RequestException, too
                raise SentryError(connection_failure(error, self._host(error))) from error
            except ValueError as error:
                # What requests makes of a malformed Location, even if it is not followed.
                message = f"{self._host(error)} sent an answer that cannot be read: check host"
                raise SentryError(message) from error

        return call

    def region(self, organization: str) -> Region:
        """Return what to ask for all of an organization but its audit log.

        Where the token may not read the organization, that is the configured host. It is asked
        for once in a run.

        Raises:
            SentryError: It could not be found out.

        """
        if organization not in self._regions:
            host = self._settings.host
            try:
                path = f"organizations/{organization}/"
                page = self.get(path, {"detailed": "0"}, parse_detail, permission="")
                self._regions[organization] = region_of(page.rows[0], page.server_time, host)
            except AccessDeniedError as error:
                self._regions[organization] = Region(host, error.server_time)
        return self._regions[organization]

    @cached_property
    def _request_without_url(self) -> requests.PreparedRequest:
        """All of a request that does not change: preparing it takes longer than reading a page."""
        return self.session.prepare_request(requests.Request("GET", self._settings.host))

    def _log_retry(self, details: Details) -> None:
        """Say on one line what failed and what follows."""
        error = details.get("exception")
        what = str(error)
        if isinstance(error, requests.RequestException):
            what = connection_failure(error, self._host(error))
        self._logger.warning("%s; trying again in %.1f s", what, details["wait"])

    def _host(self, error: Exception) -> str:
        """Return the host that a failed request went to."""
        request = error.request if isinstance(error, requests.RequestException) else None
        return urlsplit((request and request.url) or self._settings.host).netloc


def _half_to_all(wait: float) -> float:
    """Return a wait between half of the given one and all of it."""
    return wait / 2 + backoff.full_jitter(wait / 2)


def _is_final(error: Exception) -> bool:
    return isinstance(error, RateLimitError | requests.exceptions.SSLError)
