"""An OTLP receiver over HTTP: sends a request until it is accepted or refused."""

from __future__ import annotations

import gzip
import logging
import re
import zlib
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from random import uniform
from ssl import SSLCertVerificationError
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import backoff
import requests
from google.protobuf.json_format import MessageToDict
from urllib3.exceptions import HTTPError

from target_otlp import responses
from target_otlp.clock import Clock
from target_otlp.config import NAME, VERSION
from target_otlp.progress import Progress
from target_otlp.redaction import Redactor
from target_otlp.responses import InvalidResponseError, PartialSuccess
from target_otlp.signals import Stop, StoppedError
from target_otlp.transport import CompleteHeadersAdapter
from target_otlp.values import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    from target_otlp.config import Settings

JSON, PROTOBUF = "application/json", "application/x-protobuf"

ACCEPTED = {HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT}
"""OTLP names 200 alone; Fluent Bit answers 201, others 202 and 204."""

RETRIABLE = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
"""The statuses after which OTLP asks to try again, and no others."""

DIVISIBLE = {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}
"""The statuses that can be the fault of a single record, or of a size."""

_CHECK_PATH = "check the path of endpoint, {path}"
_REMEDIES: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: "if it does not know the path {path}, correct endpoint; if it cannot "
    "read OTLP in this form, try another encoding",
    HTTPStatus.UNAUTHORIZED: "check the API key in headers",
    HTTPStatus.FORBIDDEN: "check what the API key in headers may do",
    HTTPStatus.NOT_FOUND: _CHECK_PATH,
    HTTPStatus.METHOD_NOT_ALLOWED: _CHECK_PATH,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "lower max_batch_size or max_batch_bytes",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "try another encoding or compression",
}
_MOST_BYTES = 1 << 20
"""How much of a response is read."""

_SECRET_PARTS = re.compile(r"(?<=//).*@|[?#].*", re.DOTALL)
"""Of a URL: user and password, query and fragment."""

_LONGEST_WAIT = 30.0
_log = logging.getLogger(NAME)


class DeliveryError(Exception):
    """A request was not accepted. The text is one line for a person, without secrets."""


class RefusedError(DeliveryError):
    """The receiver refuses a request for what is in it: a part of it may be accepted.

    `what` is the text without advice, `status` is HTTP's, and `message` has the receiver's words.
    """

    def __init__(self, what: str, remedy: str, status: int, message: str) -> None:
        """Keep the parts."""
        super().__init__(f"{what}: {remedy}" if remedy else what)
        self.what = what
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class _RetriableFailure:
    """A failure that may pass, and the seconds that the receiver asks to wait."""

    what: str
    wait: float | None = None


class _Session(requests.Session):
    """A session that follows no redirect, and does not even parse its target."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return no target."""


class Receiver:
    """One session with a receiver."""

    def __init__(
        self, settings: Settings, stop: Stop | None = None, clock: Clock | None = None
    ) -> None:
        """Make a session; nothing is sent yet."""
        self._clock = clock or Clock()
        self._settings = settings
        self._stop = stop or Stop()
        self._session = _Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, CompleteHeadersAdapter())
        # A netrc file would replace the header Authorization.
        self._session.auth = lambda request: request
        self._session.headers.update(
            {
                "Accept-Encoding": "identity",
                "Content-Type": JSON if settings.encoding == "json" else PROTOBUF,
                "User-Agent": f"{NAME}/{VERSION}",
                **({"Content-Encoding": "gzip"} if settings.compression == "gzip" else {}),
                **settings.headers,
            }
        )
        certificate, key = settings.client_certificate, settings.client_key
        self._session.cert = (certificate, key) if certificate and key else certificate
        url = urlsplit(settings.endpoint)
        self.name = url._replace(query="").geturl()
        """The endpoint without its query, which can hold a key."""
        self._path = url.path
        self._redactor = Redactor([url.query, *settings.headers.values()])
        self.progress = Progress(self.name)
        """Of retries and errors; who sends counts the records."""

    def send(self, request: ExportLogsServiceRequest) -> PartialSuccess:
        """Send a request until it is accepted, and only once more when the run is to stop.

        Raises RefusedError if a part of it may be accepted, and DeliveryError if it is refused
        otherwise, or not accepted in time.
        """
        body = self._body(request)
        began = self._clock.monotonic()
        for backed_off in _backoffs():
            is_last = self._stop.signum is not None
            result = self._try(body, request)
            if isinstance(result, PartialSuccess):
                return result
            self.progress.last_error = result.what
            if is_last:
                raise DeliveryError(result.what)
            # A little later than asked for: a receiver may ask to wait for 0 seconds.
            later = uniform(0.1, 0.5)  # noqa: S311  (no secret)
            wait = backed_off if result.wait is None else result.wait + later
            most = self._settings.max_retry_seconds
            if self._clock.monotonic() - began + wait > most:
                asked = "" if result.wait is None else f", asks to wait {result.wait:,.0f} s"
                message = f"{result.what}{asked}; max_retry_seconds is {most:g}"
                raise DeliveryError(message)
            _log.warning("%s: trying again in %.1f s", result.what, wait)
            with suppress(StoppedError), self._stop:
                self._clock.sleep(wait)
            self.progress.retries += 1
        raise AssertionError  # the backoffs do not end

    def _body(self, request: ExportLogsServiceRequest) -> bytes:
        if self._settings.encoding == "json":
            # In OTLP's JSON enumerations are numbers.
            body = json_text(MessageToDict(request, use_integers_for_enums=True)).encode()
        else:
            body = request.SerializeToString()
        is_plain = self._settings.compression == "none"
        return body if is_plain else gzip.compress(body, compresslevel=3)

    def _try(
        self, body: bytes, request: ExportLogsServiceRequest
    ) -> PartialSuccess | _RetriableFailure:
        """Send once; a DeliveryError means that sending it again does not help."""
        try:
            with self._session.post(
                self._settings.endpoint,
                data=body,
                timeout=self._settings.timeout_seconds,
                stream=True,
                verify=self._settings.certificate or True,
            ) as response:
                return self._parse(response, request)
        except (HTTPError, requests.RequestException, OSError) as error:
            cause = _cause(error)
            what = f"{self.name} cannot be reached ({type(cause).__name__})"
            if isinstance(cause, SSLCertVerificationError):
                what = f"{self.name} cannot be trusted: {self._redactor.line(cause.verify_message)}"
                raise DeliveryError(what) from None
            return _RetriableFailure(what)

    def _parse(
        self, response: requests.Response, request: ExportLogsServiceRequest
    ) -> PartialSuccess | _RetriableFailure:
        status = response.status_code
        if status in ACCEPTED:
            try:
                answer = responses.parse_partial_success(self._content(response))
            except InvalidResponseError as error:
                message = (
                    f"Check the path of endpoint: {self.name} answered {status} with "
                    f"{self._redactor.line(str(error), request)}, which no OTLP "
                    "receiver sends"
                )
                raise DeliveryError(message) from None
            return PartialSuccess(answer.rejected, self._redactor.line(answer.message, request))
        message = ""
        with suppress(HTTPError, OSError):
            message = responses.parse_status_message(self._content(response))
        names_path = self._path.strip("/") and self._path in message
        message = self._redactor.line(message, request)
        what = f"{self.name} answered {status} {message}".rstrip()
        if status in RETRIABLE:
            wait = responses.parse_retry_after(response.headers, self._clock.time_ns() / 1e9)
            return _RetriableFailure(what, wait)
        remedy = _REMEDIES.get(status, "")
        is_unknown = status == HTTPStatus.BAD_REQUEST and names_path
        remedy = _CHECK_PATH if is_unknown else _REMEDIES.get(status, "")
        remedy = remedy.format(path=self._path)
        if status in DIVISIBLE:
            self.progress.last_error = what
            raise RefusedError(what, remedy, status, message)
        if response.is_redirect:
            to = self._redactor.line(_SECRET_PARTS.sub("", response.headers["Location"]))
            remedy = f"redirects are not followed; is {to} the right endpoint?"
        raise DeliveryError(f"{what}: {remedy}" if remedy else what)

    def _content(self, response: requests.Response) -> bytes:
        """Return the body; one that is truncated or too slow is an HTTPError or OSError."""
        end = self._clock.monotonic() + self._settings.timeout_seconds
        content = b""
        # One read at a time: otherwise a body that trickles in could take forever.
        while len(content) < _MOST_BYTES:
            part = response.raw.read1(_MOST_BYTES)
            if not part:
                # For the next request: the connection stays open.
                response.raw.release_conn()
                break
            content += part
            if self._clock.monotonic() > end:
                raise TimeoutError
        content = _unzipped(content, response.headers.get("Content-Encoding", ""))
        if response.status_code in ACCEPTED and len(content) >= _MOST_BYTES:
            message = (
                f"{self.name} answered {response.status_code} with more than an OTLP receiver sends"
            )
            raise DeliveryError(message)
        return content


def _unzipped(content: bytes, encoding: str) -> bytes:
    """Return decoded content: a proxy may encode it though the request does not accept that."""
    if encoding.strip().lower() not in {"gzip", "x-gzip", "deflate"}:
        return content
    try:
        # 32 is for either format, gzip or zlib.
        decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
        # What follows it, such as a second gzip member, belongs to the response as well.
        decoded = decoder.decompress(content, _MOST_BYTES) + decoder.unused_data
    except zlib.error:
        return content
    # A truncated response could look like an empty one.
    return decoded if decoder.eof or len(decoded) >= _MOST_BYTES else content


def _backoffs() -> Iterator[float]:
    """Yield seconds to wait: about 1, 2, 4 and so on up to 30, each with jitter."""
    longest = backoff.expo(max_value=_LONGEST_WAIT)
    next(longest)  # the library's generators start with a value to ignore
    for wait in longest:
        yield wait / 2 + backoff.full_jitter(wait / 2)


def _cause(error: BaseException) -> BaseException:
    """Return the innermost exception; the text of the others could name headers or proxies."""
    while error.__context__ is not None:
        error = error.__context__
    return error
