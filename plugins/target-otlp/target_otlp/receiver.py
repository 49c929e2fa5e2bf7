"""An OTLP receiver over HTTP: sends a request until it is accepted or refused."""

from __future__ import annotations

import gzip
import logging
import re
import zlib
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from random import uniform
from ssl import SSLCertVerificationError
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import backoff
import requests
from google.protobuf.json_format import MessageToDict
from urllib3.exceptions import HTTPError

from target_otlp import responses
from target_otlp.clock import Clock
from target_otlp.config import NAME, VERSION
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
"""The statuses after which OTLP asks to try again; there are no others."""

_REMEDIES: dict[int, str] = {
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
_MOST_BYTES = 1 << 20
"""How much of a response is read."""

_SECRET_PARTS = re.compile(r"(?<=//).*@|[?#].*", re.DOTALL)
"""Of a URL: user and password, query and fragment."""

_LONGEST_WAIT = 30.0
_log = logging.getLogger(NAME)


class DeliveryError(Exception):
    """A request was not accepted. The text is one line for a person, without secrets."""


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
        self._secrets = _secrets([url.query, *settings.headers.values()])

    def send(self, request: ExportLogsServiceRequest) -> PartialSuccess:
        """Send a request until it is accepted, and only once more when the run is to stop.

        Raises DeliveryError if it is refused, or not accepted in time.
        """
        body = self._body(request)
        began = self._clock.monotonic()
        for backed_off in _backoffs():
            is_last = self._stop.signum is not None
            result = self._try(body)
            if isinstance(result, PartialSuccess):
                return result
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
        raise AssertionError  # the backoffs do not end

    def _body(self, request: ExportLogsServiceRequest) -> bytes:
        if self._settings.encoding == "json":
            # In OTLP's JSON enumerations are numbers.
            body = json_text(MessageToDict(request, use_integers_for_enums=True)).encode()
        else:
            body = request.SerializeToString()
        is_plain = self._settings.compression == "none"
        return body if is_plain else gzip.compress(body, compresslevel=3)

    def _try(self, body: bytes) -> PartialSuccess | _RetriableFailure:
        """Send once; a DeliveryError means that sending it again does not help."""
        try:
            with self._session.post(
                self._settings.endpoint,
                data=body,
                timeout=self._settings.timeout_seconds,
                stream=True,
                verify=self._settings.certificate or True,
            ) as response:
                return self._parse(response)
        except (HTTPError, requests.RequestException, OSError) as error:
            cause = _cause(error)
            what = f"{self.name} cannot be reached ({type(cause).__name__})"
            if isinstance(cause, SSLCertVerificationError):
                what = f"{self.name} cannot be trusted: {self._redact(cause.verify_message)}"
                raise DeliveryError(what) from None
            return _RetriableFailure(what)

    def _parse(self, response: requests.Response) -> PartialSuccess | _RetriableFailure:
        status = response.status_code
        if status in ACCEPTED:
            try:
                answer = responses.parse_partial_success(self._content(response))
            except InvalidResponseError as error:
                message = (
                    f"Check the path of endpoint: {self.name} answered {status} with "
                    f"{self._redact(str(error))}, which is no answer of an OTLP receiver"
                )
                raise DeliveryError(message) from None
            return PartialSuccess(answer.rejected, self._redact(answer.message))
        message = ""
        with suppress(HTTPError, OSError):
            message = responses.parse_status_message(self._content(response))
        what = f"{self.name} answered {status} {self._redact(message)}".rstrip()
        if status in RETRIABLE:
            wait = responses.parse_retry_after(response.headers, self._clock.time_ns() / 1e9)
            return _RetriableFailure(what, wait)
        remedy = _REMEDIES.get(status, "")
        if response.is_redirect:
            to = self._redact(_SECRET_PARTS.sub("", response.headers["Location"]))
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
            message = f"{self.name} answered {response.status_code} and more than a receiver says"
            raise DeliveryError(message)
        return content

    def _redact(self, text: str) -> str:
        """Return text as one line of limited length, without the secrets of headers and query."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _secrets(values: list[str]) -> list[str]:
    """Return the secrets of headers and a query, whole and in parts, the longest first."""
    parts = {part for value in values for part in (value, *re.split(r"[\s;,&=]+", value))}
    parts |= {unquote(part) for part in parts}
    for value in values:
        if value.lower().startswith("basic "):
            with suppress(ValueError):
                decoded = b64decode(value[6:] + "==").decode("utf-8", "replace")
                parts |= {decoded, decoded.partition(":")[2]}
    return sorted((part for part in parts if len(part) >= _SHORTEST_SECRET), key=len, reverse=True)


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
    next(longest)  # the library's generators begin with a value that is not meant
    for wait in longest:
        yield wait / 2 + backoff.full_jitter(wait / 2)


def _cause(error: BaseException) -> BaseException:
    """Return the innermost exception; the text of the others could name headers or proxies."""
    while error.__context__ is not None:
        error = error.__context__
    return error
