"""Asks the API for entries, again where that helps, and says in plain words where it does not.

Facts from CaptivateIQ's published description: `GET audit-logs/` with `start_date`, `end_date`
(days), `limit` and `offset`; `Authorization: Token …`; 429 above the limits; 502 after 30 s.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import backoff
import requests

from tap_captivateiq_audit.entries import Page, read_page
from tap_captivateiq_audit.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_captivateiq_audit.pacing import Pacer
    from tap_captivateiq_audit.reader import Span
    from tap_captivateiq_audit.settings import Settings

PAGE = 100
"""Entries asked for at once. The most that the API allows is not known."""

_TIMEOUT = 60
_PATIENCE = 300.0
_PATIENCE_IF_ASKED_TOO_OFTEN = 4000.0
_LONGEST_WAIT = 60.0
_SLOW = 10.0
"""Seconds after which a 502 is a page that was too large, and not an API that is away."""
_GOOD_ENOUGH = 20
_TICK = timedelta(seconds=1)
"""The server's clock may be so much later than its header `Date`, which has whole seconds."""
_TOO_SLOW = {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}
_TRY_AGAIN = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
    *_TOO_SLOW,
}
_log = logging.getLogger("tap-captivateiq-audit")


@dataclass(frozen=True, slots=True)
class _Failure:
    """What went wrong and may pass, and the seconds that the server asked to wait."""

    what: str
    wait: float | None = None
    is_too_slow: bool = False
    patience: float = _PATIENCE


class _Session(requests.Session):
    """A session that follows no redirect: the token is for one host alone."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Tell of none."""


class Client:
    """One token's access to the API."""

    def __init__(self, settings: Settings, pacer: Pacer) -> None:
        """Make a session; nothing is asked yet."""
        self._url = f"{settings.api_url}/audit-logs/"
        self._pacer = pacer
        self._session = _Session()
        # A netrc file would replace the header Authorization.
        self._session.auth = lambda request: request
        self._session.headers.update(
            {
                "Accept": "application/json",
                "Authorization": f"Token {settings.api_token}",
                "User-Agent": settings.user_agent,
            }
        )
        self._limit, self._good = PAGE, 0
        self._server_time = datetime.now(UTC)

    @property
    def earlier_now(self) -> datetime:
        """The earlier of the server's clock, at its last answer, and ours."""
        return min(self._server_time, datetime.now(UTC))

    @property
    def later_now(self) -> datetime:
        """The later of the server's clock, at its last answer, and ours."""
        return max(self._server_time + _TICK, datetime.now(UTC))

    def fetch(self, span: Span, offset: int) -> Page:
        """Return the entries of a span from an offset on, as many as the server gives at once.

        Raises:
            ApiError: They cannot be had.

        """
        # How long each kind of failure has lasted; the pacer's waits are none of it.
        lasted: dict[float, float] = {}
        for backed_off in _waits():
            self._pacer.wait()
            began = time.monotonic()
            outcome = self._try(span, offset)
            took = time.monotonic() - began
            if isinstance(outcome, Page):
                self._grow()
                return outcome
            if outcome.is_too_slow and took >= _SLOW:
                self._limit, self._good = max(2, self._limit // 2), 0
            wait = backed_off if outcome.wait is None else outcome.wait
            so_far = lasted.get(outcome.patience, 0.0) + took
            if so_far + wait > outcome.patience:
                asked = f"asks to wait {wait / 60:.0f} minutes more" if outcome.wait else "goes on"
                message = f"{outcome.what}; this {asked} after {so_far / 60:.0f} minutes"
                raise ApiError(message)
            lasted[outcome.patience] = so_far + wait
            _log.warning("%s: trying again in %.0f s", outcome.what, wait)
            time.sleep(wait)
        raise AssertionError  # the waits do not end

    def _grow(self) -> None:
        """Ask for larger pages again after a while of good answers."""
        self._good += 1
        if self._good >= _GOOD_ENOUGH:
            self._limit, self._good = min(PAGE, self._limit * 2), 0

    def _try(self, span: Span, offset: int) -> Page | _Failure:
        parameters = {
            "start_date": span.start.isoformat() if span.start else None,
            "end_date": span.end.isoformat() if span.end else None,
            "limit": str(self._limit),
            "offset": str(offset),
        }
        try:
            response = self._session.get(
                self._url, params=parameters, timeout=_TIMEOUT, allow_redirects=False
            )
        except requests.exceptions.SSLError as error:
            message = f"{self._url} cannot be trusted ({_cause(error)}): check api_url"
            raise ApiError(message) from None
        except (requests.RequestException, OSError) as error:
            is_too_slow = isinstance(error, requests.ReadTimeout)
            what = f"{self._url} cannot be reached ({_cause(error)})"
            return _Failure(what, is_too_slow=is_too_slow)
        self._server_time = _clock(response)
        status = response.status_code
        if status == HTTPStatus.OK:
            try:
                return read_page(response.json(parse_float=Decimal))
            except (TypeError, ValueError, RecursionError):
                return _Failure(f"{self._url} answered something else than a list of entries")
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            wait = _retry_after(response)
            patience = _PATIENCE_IF_ASKED_TOO_OFTEN
            return _Failure("the API was asked too often (429)", wait, patience=patience)
        if status in _TRY_AGAIN:
            what = f"{self._url} answered {status}"
            return _Failure(what, _retry_after(response), is_too_slow=status in _TOO_SLOW)
        raise ApiError(self._refused(response, span))

    def _refused(self, response: requests.Response, span: Span) -> str:
        """Say what a refusal means; the API's own words could hold personal data."""
        status = response.status_code
        is_html = response.text.lstrip().startswith("<")
        match status:
            case HTTPStatus.UNAUTHORIZED:
                what = (
                    "api_token is not accepted (401): make a new one in CaptivateIQ, in your "
                    "profile on the tab API Tokens, and copy it whole"
                )
            case HTTPStatus.FORBIDDEN if is_html:
                what = (
                    "a firewall before CaptivateIQ refuses this machine (403): ask CaptivateIQ to "
                    "let its address through"
                )
            case HTTPStatus.FORBIDDEN:
                what = (
                    "api_token may not read the audit log (403): ask CaptivateIQ whether API "
                    "access is enabled and its user may read audit logs"
                )
            case HTTPStatus.NOT_FOUND:
                what = f"there is no audit log at {self._url} (404): check api_url"
            case HTTPStatus.BAD_REQUEST:
                what = f"the API does not take these days (400): {span}; check start_date"
            case _ if response.is_redirect:
                what = f"{self._url} redirects ({status}), which is not followed: check api_url"
            case _:
                what = f"{self._url} answered {status}"
        return what


def _waits() -> Iterator[float]:
    """Yield seconds to wait: about 1, 2, 4 and so on up to 60, each by chance."""
    longest = backoff.expo(max_value=_LONGEST_WAIT)
    next(longest)  # the library's generators begin with a value that is not meant
    for wait in longest:
        yield wait / 2 + backoff.full_jitter(wait / 2)


def _retry_after(response: requests.Response) -> float | None:
    """Return the seconds that the server asks to wait, a little more than it says, if it does."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9]) + 0.5
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.5, (date - datetime.now(UTC)).total_seconds() + 0.5)


def _clock(response: requests.Response) -> datetime:
    """Return the server's clock, or ours where it tells none."""
    try:
        return parsedate_to_datetime(response.headers.get("Date", "")).astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.now(UTC)


def _cause(error: BaseException) -> str:
    """Return the name of what lies deepest; its text could name proxies."""
    while error.__context__ is not None:
        error = error.__context__
    return type(error).__name__
