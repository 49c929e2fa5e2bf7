"""Sockets: requests in, answers and misbehaviour out."""

import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

import msgspec

from .answers import Answer
from .faults import Fault

Reply = Callable[[str, dict[str, str]], tuple[Answer | None, Fault | None]]
Control = Callable[[str, dict[str, Any]], Answer]

CONTROL = "/__fake__/"


class Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, reply: Reply, control: Control) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Connection, reply, control))
        self.connections: set[socket.socket] = set()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        # Otherwise those that are kept alive would go on being served.
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def __init__(self, reply: Reply, control: Control, *args: Any) -> None:  # noqa: ANN401
        self._reply = reply
        self._control = control
        super().__init__(*args)

    def handle(self) -> None:
        self.server.connections.add(self.connection)
        with suppress(ConnectionError):
            super().handle()
        self.server.connections.discard(self.connection)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self.path.startswith(CONTROL):
            self._obey({})
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer, fault = self._reply(self.path, headers)
        if answer:
            payload = answer.encode()
            if fault == "truncated":
                self.close_connection = True
                payload = payload[: -len(answer.body) // 2]
            self.wfile.write(payload)
        elif fault == "hang":
            self.close_connection = True
            self.connection.recv(1)
        elif callable(fault):
            self.close_connection = True
            with suppress(OSError):  # the client leaves
                fault(self.connection)
        else:
            self._reset()

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self._obey(msgspec.json.decode(self.rfile.read(length), type=dict[str, Any]))

    def _obey(self, wanted: dict[str, Any]) -> None:
        answer = self._control(self.path.removeprefix(CONTROL), wanted)
        self.wfile.write(answer.encode())

    def _reset(self) -> None:
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        # Closed behind the socket's back, as its own way would send a FIN first.
        os.close(self.connection.detach())
