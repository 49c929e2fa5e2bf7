"""HTTP connections that refuse a response with truncated headers.

Python's `http.client` treats the end of the connection as the end of the headers: what a receiver
sent before it died would look like a 200 with an empty body, and so like an acceptance.
"""

from __future__ import annotations

from http.client import HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    from typing import BinaryIO

    from urllib3 import ProxyManager


class CompleteHeadersAdapter(HTTPAdapter):
    """An adapter whose connections raise an error if the headers of a response are truncated."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (requests')
        """Make the pools."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> ProxyManager:  # noqa: ANN401  (requests')
        """Make the pools of a proxy."""
        manager: ProxyManager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _Lines:
    """A file that knows the last line that was read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self.file.readline(limit)
        return self.last

    def __getattr__(self, name: str) -> object:
        return getattr(self.file, name)


class _Response(HTTPResponse):
    fp: Any

    def begin(self) -> None:
        """Read the status and the headers, or raise IncompleteRead if they are truncated."""
        lines = _Lines(self.fp)
        self.fp = lines
        super().begin()
        if self.fp is lines:
            self.fp = lines.file
        if lines.last not in {b"\r\n", b"\n"}:
            raise IncompleteRead(lines.last)


class _Connection(HTTPConnection):
    response_class = _Response


class _TlsConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}
