"""A deadline for each request as a whole: name, connection, headers and body.

The timeout of a socket restarts with each byte, so a server that sends one now and then could
hold a request forever. One thread per run looks at all requests on their way, and shuts down the
sockets of those that are past their deadline: whatever blocks on a socket then wakes up.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tap_sentry_audit.api.clock import LONG_WAIT, time_of_day
from tap_sentry_audit.api.exceptions import DeadlineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from logging import Logger

_TICK = 0.25
"""Seconds between two looks."""


@dataclass(eq=False, slots=True)
class Watch:
    """A request on its way. Times are in seconds of the monotonic clock."""

    request: str
    began: float
    deadline: float
    is_reused: bool = False
    """Whether it went out on a connection that had been used before."""
    has_answer: bool = False
    """Whether the headers of an answer have come."""
    is_told: bool = False
    """Whether a line of the log says that it is waited for."""
    is_cut: bool = False
    """Whether its socket was shut down."""
    descriptor: int | None = None
    """A duplicate of its socket, which stays valid whoever closes or wraps the socket."""

    @property
    def left(self) -> float:
        """The seconds until the deadline."""
        return max(0.0, self.deadline - time.monotonic())

    def cut(self) -> None:
        """Shut the socket down."""
        self.is_cut = True
        if self.descriptor is not None:
            handle = socket.socket(fileno=self.descriptor)
            with suppress(OSError):  # the server was faster
                handle.shutdown(socket.SHUT_RDWR)
            handle.detach()


class Watchdog:
    """Watches the requests of all threads."""

    def __init__(self, seconds: float, logger: Logger, patience: float = LONG_WAIT) -> None:
        """Give each request `seconds`; say what is waited for after `patience` seconds."""
        self._seconds = seconds
        self._logger = logger
        self._patience = patience
        self._lock = threading.Lock()
        self._here = threading.local()
        # In the order in which they started, which is that of their deadlines.
        self._watches: dict[Watch, None] = {}
        self._thread: threading.Thread | None = None
        self._told_until = 0.0

    @property
    def current(self) -> Watch:
        """The request that this thread has on its way."""
        watch: Watch = self._here.watch
        return watch

    @contextmanager
    def watching(self, request: str) -> Iterator[Watch]:
        """Watch a request that this thread sends meanwhile; `request` describes it.

        Raises:
            DeadlineError: It took too long.

        """
        now = time.monotonic()
        self._here.watch = watch = Watch(request, now, now + self._seconds)
        with self._lock:
            self._watches[watch] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
        try:
            yield watch
        except Exception:  # of any kind: libraries do not expect a socket to end between two lines
            if watch.is_cut or not watch.left:
                raise self._missed(watch) from None
            raise
        finally:
            with self._lock:
                del self._watches[watch]
                if watch.descriptor is not None:
                    os.close(watch.descriptor)
        # An answer that ends with its connection looks whole when the connection is cut.
        if watch.is_cut:
            raise self._missed(watch)

    def take(self, descriptor: int) -> None:
        """Watch a connected socket for this thread's request."""
        watch = self.current
        duplicate = os.dup(descriptor)
        with self._lock:
            if watch.descriptor is not None:
                os.close(watch.descriptor)
            watch.descriptor = duplicate
            if watch.is_cut:
                watch.cut()

    def _missed(self, watch: Watch) -> DeadlineError:
        cause = f"Sentry did not answer within {self._seconds:g} s"
        return DeadlineError(
            cause, watch.request, "run again later, or raise request_deadline_seconds"
        )

    def _run(self) -> None:
        while True:
            time.sleep(_TICK)
            if line := self._look():
                self._logger.info(line)

    def _look(self) -> str | None:
        """Cut what is past its deadline; return a line if a wait has become long."""
        now = time.monotonic()
        with self._lock:
            for watch in self._watches:
                if watch.deadline <= now and not watch.is_cut:
                    watch.cut()
            late = [watch for watch in self._watches if watch.began + self._patience <= now]
            if all(watch.is_told for watch in late):
                return None
            is_news = now > self._told_until or not any(watch.is_told for watch in late)
            # One line covers all that hang at the same time.
            for watch in late:
                watch.is_told = True
            if not is_news:
                return None
            first = late[0]
            self._told_until = first.deadline
        end = time_of_day(time.time() + first.left)
        return (
            f"{first.request}: no complete answer for {now - first.began:.0f} s; "
            f"waiting until {end} at the latest ({first.left:.0f} s)"
        )
