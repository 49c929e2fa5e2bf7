"""CaptivateIQ's HTTP API: requests, retries, and errors in plain words.

Facts from CaptivateIQ's published description: `GET audit-logs/` with `start_date`, `end_date`
(days), `limit` and `offset`; `Authorization: Token …`; 429 above the limits; 502 after 30 s.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib.metadata import version
from threading import Thread
from typing import TYPE_CHECKING

import backoff
import requests

from tap_captivateiq_audit.clock import Clock
from tap_captivateiq_audit.config import NAME
from tap_captivateiq_audit.entries import Page, parse_page
from tap_captivateiq_audit.exceptions import ApiError
from tap_captivateiq_audit.signals import signals_deferred

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tap_captivateiq_audit.config import Settings
    from tap_captivateiq_audit.entries import Days
    from tap_captivateiq_audit.rate_limit import RateLimiter

PAGE_SIZE = 100
"""Entries of a page. The most that the API allows is not known."""

_TIMEOUT = 60
"""Seconds for a complete answer: the server itself gives up after 30."""
_MAX_SECONDS = 300.0
_MAX_SECONDS_OF_429 = 4000.0
_MAX_BACKOFF = 60.0
_LATER = 0.5
"""Seconds to wait beyond what the server asks for."""
_ENDLESS = 1e9
"""Seconds that stand for a wait of more digits."""
_SLOW = 10.0
"""Seconds after which a 502 means that the page was too large, and not that the API is down."""
_PAGES_UNTIL_LARGER = 20
_TICK = timedelta(seconds=1)
"""By how much the server's clock may be later than its header `Date`, which has whole seconds."""
_TOO_SLOW = {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}
_RETRIABLE = {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE, *_TOO_SLOW}
_REFUSALS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: (
        "api_token is not accepted (401): make a new one in CaptivateIQ, in your profile on the "
        "tab API Tokens, and copy it whole"
    ),
    HTTPStatus.FORBIDDEN: (
        "api_token may not read the audit log (403): ask CaptivateIQ whether API access is enabled "
        "and its user may read audit logs"
    ),
    HTTPStatus.NOT_FOUND: "there is no audit log at {url} (404): check api_url",
    HTTPStatus.BAD_REQUEST: "the API does not accept these days (400): {days}; check start_date",
}
_log = logging.getLogger(NAME)


@dataclass(frozen=True, slots=True)
class _RetriableFailure:
    """A failure that may pass; `wait` is the seconds that the server asks to wait.

    `max_seconds` is how long failures of this kind may last.
    """

    what: str
    wait: float | None = None
    is_too_slow: bool = False
    max_seconds: float = _MAX_SECONDS


class _Session(requests.Session):
    """A session that follows no redirect: the token is for one host alone."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return no target."""


class Client:
    """Access to the API with one token."""

    def __init__(
        self,
        settings: Settings,
        rate_limiter: RateLimiter,
        clock: Clock | None = None,
        timeout: float = _TIMEOUT,
    ) -> None:
        """Make a session; nothing is requested yet. `timeout` is in seconds, for a whole answer."""
        self._clock = clock or Clock()
        self._timeout = timeout
        self._url = f"{settings.api_url}/audit-logs/"
        self._rate_limiter = rate_limiter
        self._token = settings.api_token
        self._session = self._new_session()
        self._page_size, self._good_pages = PAGE_SIZE, 0
        self._server_time = self._began = datetime.now(UTC)
        self._days: Days | None = None

    def _new_session(self) -> _Session:
        session = _Session()
        # A netrc file would replace the header Authorization.
        session.auth = lambda request: request
        session.headers["Accept"] = "application/json"
        session.headers["Authorization"] = f"Token {self._token}"
        session.headers["User-Agent"] = f"{NAME}/{version(NAME)}"
        return session

    @property
    def earlier_now(self) -> datetime:
        """The earlier of our clock and the server's, as its last response had it."""
        return min(self._server_time, datetime.now(UTC))

    @property
    def later_now(self) -> datetime:
        """The later of our clock and the server's, as its last response had it."""
        return max(self._server_time + _TICK, datetime.now(UTC))

    @property
    def began(self) -> datetime:
        """When the days of the last request were first asked for, by the earlier clock."""
        return self._began

    @property
    def request_count(self) -> int:
        """How many requests were sent."""
        return self._rate_limiter.requests

    def fetch(self, days: Days, offset: int) -> Page:
        """Return the entries of these days from an offset on, as many as the server gives at once.

        Raises ApiError if the API refuses the request, or fails for too long.
        """
        # How long each kind of failure has lasted, without the waits for the rate limit.
        lasted: dict[float, float] = {}
        for backed_off in _backoffs():
            self._rate_limiter.wait()
            sent, began = datetime.now(UTC), self._clock.monotonic()
            result = self._try(days, offset)
            took = self._clock.monotonic() - began
            if isinstance(result, Page):
                if days != self._days:
                    self._days = days
                    self._began = min(sent, self._server_time - timedelta(seconds=took))
                self._good_pages += 1
                if self._good_pages >= _PAGES_UNTIL_LARGER:
                    self._page_size, self._good_pages = min(PAGE_SIZE, self._page_size * 2), 0
                return result
            if result.is_too_slow and took >= _SLOW:
                self._page_size, self._good_pages = max(2, self._page_size // 2), 0
            pause = backed_off if result.wait is None else result.wait
            so_far = lasted.get(result.max_seconds, 0.0) + took
            if so_far + pause > result.max_seconds:
                asked = (
                    f"it asks to wait another {pause / 60:.0f} minutes"
                    if result.wait
                    else "gave up"
                )
                message = f"{result.what}; {asked} after {so_far / 60:.0f} minutes"
                raise ApiError(message)
            lasted[result.max_seconds] = so_far + pause
            _log.warning("%s: trying again in %.0f s", result.what, pause)
            self._clock.sleep(pause)
        raise AssertionError  # the backoffs do not end

    def _try(self, days: Days, offset: int) -> Page | _RetriableFailure:
        """Send one request; an ApiError means that sending it again does not help."""
        limit = self._page_size
        parameters = {
            "start_date": days.start.isoformat() if days.start else None,
            "end_date": days.end.isoformat() if days.end else None,
            "limit": str(limit),
            "offset": str(offset),
        }
        try:
            response = self._get(parameters)
        except requests.exceptions.SSLError as error:
            message = f"{self._url} cannot be trusted ({_cause(error)}): check api_url"
            raise ApiError(message) from None
        except (requests.RequestException, OSError) as error:
            what = f"{self._url} cannot be reached ({_cause(error)})"
            return _RetriableFailure(what, is_too_slow=isinstance(error, requests.ReadTimeout))
        if response is None:
            what = f"{self._url} did not answer in full within {self._timeout:g} s"
            return _RetriableFailure(what, is_too_slow=True)
        self._server_time = _parse_date(response.headers.get("Date", "")) or datetime.now(UTC)
        status = response.status_code
        if status == HTTPStatus.OK:
            try:
                page = parse_page(response.json(parse_float=Decimal))
                return replace(page, asked=limit, until=self._server_time + _TICK)
            except (TypeError, ValueError, RecursionError):
                what = f"{self._url} answered with something other than a list of entries"
                return _RetriableFailure(what)
        asked = parse_retry_after(response.headers, self._clock.time())
        pause = asked + _LATER if asked else None  # at once would be too often again
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            what = "the API received too many requests (429)"
            return _RetriableFailure(what, pause, max_seconds=_MAX_SECONDS_OF_429)
        if status in _RETRIABLE:
            what = f"{self._url} answered {status}"
            return _RetriableFailure(what, pause, is_too_slow=status in _TOO_SLOW)
        raise ApiError(self._explain(response, days))

    def _get(self, parameters: Mapping[str, str | None]) -> requests.Response | None:
        """Return the response, whole, or None if it does not come in time.

        The timeout of a socket restarts with each byte. So the request has a thread of its own,
        which is left behind with its connection, whatever it waits for.
        """
        answer: Future[requests.Response] = Future()
        session = self._session

        def send() -> None:
            try:
                answer.set_result(session.get(self._url, params=parameters, timeout=self._timeout))
            except Exception as error:  # noqa: BLE001  (it is raised where it is waited for)
                answer.set_exception(error)

        with signals_deferred():  # which the thread inherits: signals are the main thread's
            Thread(target=send, daemon=True).start()
        if not wait([answer], self._timeout).done:
            self._session = self._new_session()
            return None
        return answer.result()

    def _explain(self, response: requests.Response, days: Days) -> str:
        """Explain a refusal in our own words: the API's could hold personal data."""
        status = response.status_code
        if status == HTTPStatus.FORBIDDEN and response.text.lstrip().startswith("<"):
            return (
                "a firewall in front of CaptivateIQ refuses this machine (403): ask CaptivateIQ to "
                "let its address through"
            )
        if status in _REFUSALS:
            return _REFUSALS[status].format(url=self._url, days=days)
        if response.is_redirect:
            return f"{self._url} redirects ({status}), which is not followed: check api_url"
        return f"{self._url} answered {status}"


def _backoffs() -> Iterator[float]:
    """Yield seconds to wait: about 1, 2, 4 and so on up to 60, each with jitter."""
    longest = backoff.expo(max_value=_MAX_BACKOFF)
    next(longest)  # the library's generators start with a value to ignore
    for most in longest:
        yield most / 2 + backoff.full_jitter(most / 2)


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that `Retry-After` asks to wait, or None if it asks for nothing.

    It is a whole number of seconds or a date (RFC 9110); a date counts from the server's own clock,
    or, where there is no `Date`, from `now`, ours, in seconds since 1970.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _ENDLESS)
    moment, date = _parse_date(text), _parse_date(headers.get("Date", ""))
    return max(0.0, moment.timestamp() - (date.timestamp() if date else now)) if moment else None


def _parse_date(text: str) -> datetime | None:
    """Return the UTC time in an HTTP header, or None if it has none; one without a zone is UTC."""
    try:
        date = parsedate_to_datetime(text)
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _cause(error: BaseException) -> str:
    """Return the name of the innermost exception; the texts could name proxies."""
    while error.__context__ is not None:
        error = error.__context__
    return type(error).__name__
