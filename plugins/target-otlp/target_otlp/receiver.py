"""An OTLP receiver over HTTP: takes a request, or says why not."""

from __future__ import annotations

import gzip
import logging
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from random import uniform
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import backoff
import requests
from google.protobuf.json_format import MessageToDict, Parse, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)

from target_otlp.values import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    from target_otlp.settings import Settings

JSON, PROTOBUF = "application/json", "application/x-protobuf"

ACCEPTED = {HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT}
"""OTLP names 200 alone; Fluent Bit answers 201, others 202 and 204."""

TRY_AGAIN = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
"""After these OTLP says to try again, and after no other."""

_REMEDIES = {
    HTTPStatus.BAD_REQUEST: "if it cannot read OTLP in this form, try another encoding",
    HTTPStatus.UNAUTHORIZED: "check the API key in headers",
    HTTPStatus.FORBIDDEN: "check what the API key in headers may do",
    HTTPStatus.NOT_FOUND: "check the path of endpoint",
    HTTPStatus.METHOD_NOT_ALLOWED: "check the path of endpoint",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "lower max_batch_size or max_batch_bytes",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "try another encoding or compression",
}
_SHOWN = 300
_SHORTEST_SECRET = 6
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0

_log = logging.getLogger("target-otlp")


class DeliveryError(Exception):
    """A request was not accepted. The text is one line for a person, without secrets."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said to a request that it accepted: how much of it not, and its message."""

    rejected: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class _Failure:
    """What went wrong, and the seconds that the receiver asked to wait."""

    what: str
    wait: float | None = None


class Receiver:
    """A receiver, and one session with it."""

    def __init__(self, settings: Settings) -> None:
        """Make a session; nothing is sent yet."""
        self._settings = settings
        self._session = requests.Session()
        # A netrc file would replace the header Authorization.
        self._session.auth = lambda request: request
        self._session.headers.update(
            {
                "Content-Type": JSON if settings.as_json else PROTOBUF,
                "User-Agent": f"target-otlp/{settings.version}",
                **({"Content-Encoding": "gzip"} if settings.compresses else {}),
                **settings.headers,
            }
        )
        self.name = urlsplit(settings.endpoint)._replace(query="").geturl()
        """The endpoint without its query, which can hold a key."""

    def send(self, request: ExportLogsServiceRequest) -> Answer:
        """Send a request until it is accepted.

        Raises:
            DeliveryError: It was refused, or not accepted in time.

        """
        body = self._body(request)
        began = time.monotonic()
        for backed_off in _waits():
            outcome = self._try(body)
            if isinstance(outcome, Answer):
                return outcome
            wait = backed_off
            if outcome.wait is not None:
                # A little later than asked for, lest a receiver that asks for 0 is asked at once.
                wait = outcome.wait + uniform(0.1, 0.5)  # noqa: S311  (no secret)
            most = self._settings.max_retry_seconds
            if time.monotonic() - began + wait > most:
                asked = "" if outcome.wait is None else f", asks to wait {outcome.wait:,.0f} s"
                message = f"{outcome.what}{asked}; max_retry_seconds is {most:g}"
                raise DeliveryError(message)
            _log.warning("%s: trying again in %.1f s", outcome.what, wait)
            time.sleep(wait)
        raise AssertionError  # the waits do not end

    def _body(self, request: ExportLogsServiceRequest) -> bytes:
        if self._settings.as_json:
            # OTLP's own form of JSON has enumerations as numbers.
            body = json_text(MessageToDict(request, use_integers_for_enums=True)).encode()
        else:
            body = request.SerializeToString()
        return gzip.compress(body, compresslevel=3) if self._settings.compresses else body

    def _try(self, body: bytes) -> Answer | _Failure:
        """Send once.

        Raises:
            DeliveryError: To try again does not help.

        """
        try:
            response = self._session.post(
                self._settings.endpoint,
                data=body,
                timeout=self._settings.timeout,
                allow_redirects=False,
                verify=self._settings.certificate or True,
                cert=_certificate(self._settings),
            )
        except requests.exceptions.SSLError as error:
            message = f"{self.name} cannot be trusted ({_cause(error)})"
            raise DeliveryError(message) from None
        except (requests.ConnectionError, requests.Timeout) as error:
            return _Failure(f"{self.name} cannot be reached ({_cause(error)})")
        except (requests.RequestException, OSError) as error:
            message = f"{self.name} cannot be used ({_cause(error)})"
            raise DeliveryError(message) from None
        status = response.status_code
        if status in ACCEPTED:
            return self._answer(response)
        what = f"{self.name} answered {status} {self._message(response)}".rstrip()
        if status in TRY_AGAIN:
            return _Failure(what, _retry_after(response.headers.get("Retry-After", "")))
        if response.is_redirect:
            remedy = f"redirects are not followed; is {_target(response)} the right endpoint?"
        else:
            remedy = _REMEDIES.get(HTTPStatus(status), "") if status in set(HTTPStatus) else ""
        raise DeliveryError(f"{what}: {remedy}" if remedy else what)

    def _answer(self, response: requests.Response) -> Answer:
        """Read an acceptance; receivers answer with nothing, with plain text, or with OTLP."""
        answer = ExportLogsServiceResponse()
        try:
            if response.content.lstrip().startswith(b"{"):
                Parse(response.content, answer, ignore_unknown_fields=True)
            else:
                answer.ParseFromString(response.content)
        except (DecodeError, ParseError):
            return Answer()
        partial = answer.partial_success
        return Answer(max(0, partial.rejected_log_records), self._shown(partial.error_message))

    def _message(self, response: requests.Response) -> str:
        """Return what the receiver says to a failure."""
        content_type = response.headers.get("Content-Type", "")
        if "json" in content_type:
            try:
                return self._shown(str(response.json()["message"]))
            except (KeyError, TypeError, ValueError):
                pass
        elif "protobuf" in content_type:
            try:
                # A google.rpc.Status: its message has the same place as this one's.
                status = ExportLogsPartialSuccess.FromString(response.content)
            except DecodeError:
                return ""
            return self._shown(status.error_message)
        return self._shown(response.text)

    def _shown(self, text: str) -> str:
        """Return text on one line, not too long, and without what the headers hold."""
        for value in self._settings.headers.values():
            for secret in (value, value.rpartition(" ")[2]):
                if len(secret) >= _SHORTEST_SECRET:
                    text = text.replace(secret, "***")
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _certificate(settings: Settings) -> tuple[str, str] | str | None:
    """Return what the target shows of itself, as requests wants it."""
    if settings.client_certificate and settings.client_key:
        return settings.client_certificate, settings.client_key
    return settings.client_certificate


def _waits() -> Iterator[float]:
    """Yield seconds to wait: about 1, 2, 4 and so on up to 30, each by chance."""
    longest = backoff.expo(factor=_FIRST_WAIT, max_value=_LONGEST_WAIT)
    next(longest)  # the library's generators begin with a value that is not meant
    for wait in longest:
        yield wait / 2 + backoff.full_jitter(wait / 2)


def _retry_after(text: str) -> float | None:
    """Return the seconds that a header Retry-After asks for, in either of its forms."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _target(response: requests.Response) -> str:
    """Return where a redirect leads, without a query, which can hold a key."""
    return urlsplit(response.headers["Location"])._replace(query="", fragment="").geturl()


def _cause(error: BaseException) -> str:
    """Return the name of what lies deepest; its text could name headers or proxies."""
    while error.__context__ is not None:
        error = error.__context__
    return type(error).__name__
