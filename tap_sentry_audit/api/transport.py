"""How a request is sent: in its turn, before its deadline, and its answer read whole."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import urlsplit

from requests import RequestException, Timeout
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError

from tap_sentry_audit.api.environment import proxies
from tap_sentry_audit.api.exceptions import SentryError, describe
from tap_sentry_audit.api.rate_limit import LONGEST_WAIT, parse_limits, requested_wait

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from requests import PreparedRequest, Response
    from urllib3 import HTTPConnectionPool
    from urllib3.response import HTTPResponse

    from tap_sentry_audit.api.rate_limit import RateLimiter
    from tap_sentry_audit.api.watchdog import Watchdog

_PIECE = 1 << 20
"""Bytes to read at a time. In requests' pieces of 10 kB, a request takes a tenth longer."""


class Transport(HTTPAdapter):
    """Sends each request when the rate limiter lets it start, and reads the whole body."""

    def __init__(
        self,
        rate_limiter: RateLimiter,
        watchdog: Watchdog,
        *,
        connections: int,
        timeout: int,
        max_bytes: int,
    ) -> None:
        """Keep up to `connections` open; refuse bodies of more than `max_bytes`, uncompressed.

        `timeout` is how many seconds to wait for a connection, and for each part of a response.
        """
        super().__init__(pool_maxsize=connections)
        self._rate_limiter = rate_limiter
        self._watchdog = watchdog
        self._connections = connections
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._proxies_of: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:  # noqa: ANN401  (requests' own)
        """Return the response to a request, with its body.

        Raises:
            DeadlineError: It took too long.
            SentryError: The body is too large, or the server asks for a wait of more than
                `LONGEST_WAIT` seconds.
            requests.RequestException: As `HTTPAdapter.send` does.

        """
        options |= {"stream": True, "timeout": self._timeout, "proxies": self._proxies(request)}
        response, began = self._send(request, *args, **options)
        limits = parse_limits(response.headers, self._rate_limiter.clock.time())
        wait = requested_wait(response.status_code, limits)
        if wait > LONGEST_WAIT:
            cause = (
                f"Sentry asks the tap to come back in {wait:.0f} seconds, but it waits for at most "
                f"{LONGEST_WAIT:.0f}: run it again later"
            )
            raise SentryError(cause, describe(response))
        self._rate_limiter.observe(limits, response.status_code, began)
        return response

    def _send(self, request: PreparedRequest, *args: Any, **options: Any) -> tuple[Response, float]:  # noqa: ANN401  (requests' own)
        """Return a response and when its request started.

        A connection that was used before may have been closed meanwhile: the request then goes out
        again at once. Each of these connections can fail so once.
        """
        url = urlsplit(str(request.url))
        name = f"{request.method} {url.path} at {url.netloc}"
        kept = self._connections
        while True:
            with (
                self._rate_limiter.turn() as began,
                _naming(request),
                self._watchdog.watching(name) as watch,
            ):
                try:
                    response = super().send(request, *args, **options)
                except Timeout:
                    raise
                except RequestException:
                    if not kept or not watch.is_reused or watch.has_answer or watch.is_cut:
                        raise
                    kept -= 1
                    continue
                # requests has no public way to read a body in pieces of more than 10 kB.
                response._content = self._read(response)  # noqa: SLF001
            return response, began

    def _proxies(self, request: PreparedRequest) -> dict[str, str]:
        """Return the environment's proxies for the host of a request."""
        url = urlsplit(str(request.url))
        host = f"{url.scheme}://{url.netloc}/"
        if host not in self._proxies_of:
            self._proxies_of[host] = proxies(host)
        return self._proxies_of[host]

    def _read(self, response: Response) -> bytes:
        pieces, size = [], 0
        for piece in response.iter_content(_PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > self._max_bytes:
                response.close()
                most = f"{self._max_bytes >> 20} MiB"
                cause = f"the answer is larger than {most}: check host, or raise max_response_mb"
                raise SentryError(cause, describe(response))
        return b"".join(pieces)

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> HTTPConnectionPool:  # noqa: ANN401  (requests' own)
        """Return the pool for a request; its connections are watched."""
        found = super().get_connection_with_tls_context(*args, **options)
        pool = cast("HTTPConnectionPool", found)  # types-requests says less
        with self._lock:
            if not issubclass(pool.ConnectionCls, _WatchedConnection):
                pool.ConnectionCls = _watched(pool.ConnectionCls, self._watchdog)
        return pool


@contextmanager
def _naming(request: PreparedRequest) -> Iterator[None]:
    """Let an error name its request: one that truncates a body does not."""
    try:
        yield
    except RequestException as error:
        error.request = error.request or request
        raise


class _WatchedConnection(HTTPConnection):
    """Shows its socket to the watchdog."""

    watchdog: ClassVar[Watchdog]

    def _new_conn(self) -> socket.socket:
        """Return a new socket, before any TLS.

        urllib3 has no public name for it; its SOCKS connections override it too (2.8). Looking up
        a name cannot be interrupted, and a name can have many addresses: so another thread does it.
        """
        made: SimpleQueue[socket.socket | Exception] = SimpleQueue()
        connect = super()._new_conn

        def run() -> None:
            try:
                made.put(connect())
            except Exception as error:  # noqa: BLE001  (raised again below)
                made.put(error)

        threading.Thread(target=run, daemon=True).start()
        try:
            found = made.get(timeout=self.watchdog.current.left)
        except Empty:
            message = f"Connecting to {self.host} takes too long"
            raise ConnectTimeoutError(self, message) from None
        if isinstance(found, Exception):
            raise found
        self.watchdog.take(found.fileno())
        return found

    def request(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  (urllib3's own)
        """Send a request, on a new connection or on one that is open already."""
        watch = self.watchdog.current
        if self.sock is not None and watch.descriptor is None:
            watch.is_reused = True
            self.watchdog.take(self.sock.fileno())
        super().request(*args, **options)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # so does urllib3
        """Return the response when its headers have come."""
        response = super().getresponse()
        self.watchdog.current.has_answer = True
        return response


def _watched(connection: type, watchdog: Watchdog) -> type[_WatchedConnection]:
    """Return a class of connections, such as that for TLS, with a watchdog."""
    return type(connection.__name__, (_WatchedConnection, connection), {"watchdog": watchdog})
