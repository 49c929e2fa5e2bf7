"""What every stream of Sentry's API shares: addresses, token, errors, retries, the test."""

from __future__ import annotations

import os
from functools import cached_property
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import backoff
import requests
from requests.adapters import HTTPAdapter
from singer_sdk import RESTStream
from singer_sdk.authenticators import BearerTokenAuthenticator
from singer_sdk.singerlib import SelectionMask

from tap_sentry_audit.api.decoding import Unreadable
from tap_sentry_audit.api.exceptions import (
    Forbidden,
    NotFound,
    PassingError,
    SentryError,
    TooManyRequests,
    error_of,
    of_exception,
    unreadable,
)
from tap_sentry_audit.api.pagination import read_detail
from tap_sentry_audit.api.rate_limit import LONGEST_WAIT, read_limits
from tap_sentry_audit.api.regions import Region, region_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    from backoff.types import Details
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.singerlib.catalog import Breadcrumb

    from tap_sentry_audit.api.pagination import ListPage
    from tap_sentry_audit.api.rate_limit import Pacer
    from tap_sentry_audit.config import Settings
    from tap_sentry_audit.tap import TapSentryAudit

Result = TypeVar("Result")

MAX_TRIES = 7
"""Tries of one request that fails: about half a minute in all, the second one almost at once."""

MAX_SECONDS_OF_429 = 300
"""How long one request may be turned away by the rate limit; other clients may use it up."""

_WHOLE = 1 << 20

_REMEMBERED_FIELDS = 1000

_ENVIRONMENT_CA_BUNDLE = "SSL_CERT_FILE"


class SentryStream(RESTStream[str]):
    """A stream of Sentry's API.

    A request goes to the configured host or to a region below it and nowhere else: redirects
    are not followed, and of a `Link` header only the cursor is used.
    """

    allow_redirects = False

    permission: str
    """What the token and its user need, as a sentence for a 403."""

    def __init__(self, tap: TapSentryAudit) -> None:
        """Make a stream of a tap; no setting is looked at before the stream is read."""
        super().__init__(tap)
        self.tap = tap
        self._has_failed = False
        self._given_mask = self._mask_in_use = SelectionMask()

    @property
    def settings(self) -> Settings:
        """The tap's settings, checked."""
        return self.tap.settings

    @property
    def pacer(self) -> Pacer:
        """The one pacer of the whole run."""
        return self.tap.pacer

    @property
    def mask(self) -> SelectionMask:
        """Which fields are selected. The SDK asks for every field of every record."""
        mask = super().mask
        if mask is not self._given_mask:
            self._given_mask, self._mask_in_use = mask, _RememberedMask(mask)
        return self._mask_in_use

    @property
    def url_base(self) -> str:
        """The API's address, with its last slash."""
        return f"{self.settings.base_url}/api/0/"

    @property
    def host(self) -> str:
        """The host as a person knows it."""
        return urlsplit(self.url_base).netloc

    @property
    def authenticator(self) -> BearerTokenAuthenticator:
        """The token as a bearer token."""
        return BearerTokenAuthenticator(token=self.settings.auth_token)

    @cached_property
    def user_agent(self) -> str:
        """The tap's name and version, or what the settings say."""
        return self.settings.user_agent

    @property
    def timeout(self) -> int:
        """Seconds to wait for a connection, and for each part of an answer."""
        return self.settings.request_timeout_seconds

    @cached_property
    def requests_session(self) -> requests.Session:
        """A session for several threads, with the environment's proxies and authorities.

        `Session.send` does not look at the environment's authorities by itself, and a
        `.netrc` must not replace the token: so the environment is read here, once.
        """
        session = requests.Session()
        found = session.merge_environment_settings(self.url_base, {}, None, None, None)
        session.proxies.update(found["proxies"])
        session.verify = found["verify"]
        if session.verify is True:
            session.verify = os.environ.get(_ENVIRONMENT_CA_BUNDLE) or True
        session.trust_env = False
        adapter = HTTPAdapter(pool_maxsize=self.settings.max_concurrent_requests)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session

    def read(self, organization: str, context: Context | None) -> Iterator[Record]:
        """Yield the records of an organization, or of a partition of it.

        Raises:
            SentryError: It cannot be read.

        """
        raise NotImplementedError

    def get_records(self, context: Context | None) -> Iterator[Record]:
        """Yield the records of a partition; without one, those of all organizations.

        What cannot be read is reported and the next one is read; in the end the run fails
        (`log_sync_costs`).
        """
        testing = self.ABORT_AT_RECORD_COUNT == 1
        if testing and not self.selected:
            return
        organizations = self.settings.organizations
        for organization in [context["organization"]] if context else organizations:
            try:
                records = self.read(organization, context)
                yield from self._first(records, organization) if testing else records
            except SentryError as error:
                self.report(organization, error)
        if testing and (not context or context == (self.partitions or [])[-1]):
            self.tap.end_test(self)

    def _first(self, records: Iterator[Record], organization: str) -> Iterator[Record]:
        """Return the first organization's first record: the SDK ends a test at the second one.

        Otherwise the organizations behind would go untested.
        """
        first = list(islice(records, 1))
        # It was put on hold for a record that nobody goes on from.
        self.tap.release_signals()
        self.logger.info("%s: %s can be read", organization, self.name)
        return iter(first if organization == self.settings.organizations[0] else [])

    @property
    def selected(self) -> bool:
        """Whether the stream is selected."""
        return super().selected

    @selected.setter
    def selected(self, value: bool | None) -> None:
        """Select it, but not for a test: a token need not be able to read every stream."""
        if self.ABORT_AT_RECORD_COUNT != 1:
            # A property's setter has no other way to the one that it overrides.
            RESTStream.selected.fset(self, value)  # type: ignore[attr-defined]

    def region(self, organization: str) -> Region:
        """Return what to ask for all but the audit log of an organization.

        Where the token may not read the organization, that is the configured host. It is asked
        for once in a run.

        Raises:
            SentryError: It could not be found out.

        """
        regions = self.tap.regions
        if organization not in regions:
            host = self.settings.base_url
            try:
                path = f"organizations/{organization}/"
                detail = self.get(path, {"detailed": "0"}, read_detail)
                regions[organization] = region_of(detail, host)
            except (Forbidden, NotFound) as error:
                regions[organization] = Region(host, error.server_time)
        return regions[organization]

    def tell_null_rows(self, organization: str, pages: Iterable[ListPage]) -> None:
        """Warn of rows that Sentry could not show."""
        count = sum(page.null_rows for page in pages)
        if count:
            self.logger.warning(
                "%s: Sentry could not show %d %s (null rows)", organization, count, self.name
            )

    def report(self, organization: str, error: object) -> None:
        """Say that something could not be read. The others go on; in the end the run fails."""
        self.tap.has_failed = self._has_failed = True
        self.logger.error("%s: %s", organization, error)

    def log_sync_costs(self) -> None:
        """End the run with an error if something could not be read.

        This is the SDK's last call to a stream: all the others have finished, and every
        STATE message is written.
        """
        super().log_sync_costs()
        if self._has_failed:
            raise SystemExit(1)

    def get(
        self,
        path: str,
        parameters: Mapping[str, str],
        read: Callable[[bytes, Mapping[str, str]], Result],
        base_url: str | None = None,
    ) -> Result:
        """Return what `read` makes of the body and headers that a path below `/api/0/` gives.

        `base_url` is a region's, where it is not the configured host.

        Threads may call this at the same time. `read` raises `Unreadable` for an answer that
        is none, and it is asked for again.

        Raises:
            SentryError: In plain words, when trying again did not help or does not.

        """
        request = self._request_without_url.copy()
        base = f"{base_url}/api/0/" if base_url else self.url_base

        def ask(request: requests.PreparedRequest) -> Result:
            response, body = self._send(request)
            try:
                return read(body, response.headers)
            except Unreadable as error:
                raise unreadable(response, str(error)) from None

        try:
            request.prepare_url(f"{base}{path}", dict(parameters))
            return self._retrying(ask)(request)
        except TooManyRequests as error:
            message = f"{error} for {MAX_SECONDS_OF_429} seconds: others use up the token's limit"
            raise SentryError(message) from error
        except PassingError as error:
            message = f"{error}, and so did {MAX_TRIES - 1} more tries"
            raise SentryError(message) from error
        except (requests.RequestException, OSError) as error:
            raise SentryError(of_exception(error, urlsplit(base).netloc)) from error
        except ValueError as error:
            # What requests makes of a Location that is no address, even if not followed.
            message = f"{urlsplit(base).netloc} sent an answer that cannot be read: check host"
            raise SentryError(message) from error

    def validate_response(self, response: requests.Response) -> None:
        """Raise what an answer means, in plain words."""
        retry_after = read_limits(response.headers).retry_after
        error = error_of(response, self.permission)
        if isinstance(error, PassingError) and retry_after is not None:
            if retry_after > LONGEST_WAIT:
                message = f"{error} and asks to come back in {retry_after:.0f} seconds"
                raise SentryError(message)
            self.pacer.block(retry_after)
        if error is not None:
            raise error

    def backoff_wait_generator(self) -> Generator[float, None, None]:
        """Wait 0.1, 0.3, 0.9, 2.7, 8.1 and 24.3 seconds at most between the tries."""
        return backoff.expo(base=3, factor=0.1)

    def backoff_jitter(self, value: float) -> float:
        """Wait between half of the time and all of it."""
        return value / 2 + backoff.full_jitter(value / 2)

    def backoff_handler(self, details: Details) -> None:
        """Say on one line what failed and what follows."""
        error = details.get("exception")
        what = str(error)
        if isinstance(error, requests.RequestException):
            asked = error.request.url if error.request else None
            what = of_exception(error, urlsplit(asked).netloc if asked else self.host)
        self.logger.warning("%s; trying again in %.1f s", what, details["wait"])

    @cached_property
    def _request_without_url(self) -> requests.PreparedRequest:
        """All of a request that does not change: preparing it takes longer than reading a page."""
        return self.build_prepared_request(
            method="GET",
            url=self.url_base,
            headers=self.http_headers,
        )

    def _send(self, request: requests.PreparedRequest) -> tuple[requests.Response, bytes]:
        with self.pacer.turn() as began:
            response = self.requests_session.send(
                request,
                timeout=self.timeout,
                allow_redirects=self.allow_redirects,
                stream=True,
            )
            is_error = response.status_code != HTTPStatus.OK
            # By default a body is read in pieces of 10 kB, which costs a tenth of a request.
            body = response.content if is_error else b"".join(response.iter_content(_WHOLE))
        self.pacer.observe(response.headers, response.status_code, began)
        self.validate_response(response)
        return response, body

    def _retrying(
        self,
        ask: Callable[[requests.PreparedRequest], Result],
    ) -> Callable[[requests.PreparedRequest], Result]:
        """Wrap `ask` with retries: by number for failures, by time for the rate limit.

        After a 429 the pacer makes everybody wait, so trying again needs no wait of its own.
        """
        failures = backoff.on_exception(
            self.backoff_wait_generator,
            (PassingError, requests.RequestException),
            max_tries=MAX_TRIES,
            giveup=_is_final,
            jitter=self.backoff_jitter,
            on_backoff=self.backoff_handler,
            logger=None,
        )
        too_many = backoff.on_exception(
            backoff.constant,
            TooManyRequests,
            interval=0,
            max_time=MAX_SECONDS_OF_429,
            jitter=None,
            logger=None,
        )
        return too_many(failures(ask))


class _RememberedMask(SelectionMask):
    """The SDK's mask, which looks up the fields that no catalog names only once."""

    def __missing__(self, breadcrumb: Breadcrumb) -> bool:
        is_selected = super().__missing__(breadcrumb)
        if len(self) < _REMEMBERED_FIELDS:
            self[breadcrumb] = is_selected
        return is_selected


def _is_final(error: Exception) -> bool:
    return isinstance(error, TooManyRequests | requests.exceptions.SSLError)
