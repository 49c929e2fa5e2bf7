"""What goes wrong between a client and Sentry, by name."""

import socket
from collections.abc import Callable
from typing import Literal

from .answers import Answer, detail, json_answer

Fault = Answer | Literal["reset", "truncated", "hang"] | Callable[[socket.socket], None]
"""An answer in place of the true one, or what the connection does instead, by name or in code."""

HTML = Answer(
    200,
    b"<!DOCTYPE html><html><body>Sign in to continue</body></html>",
    {"Content-Type": "text/html; charset=utf-8"},
)
NOT_JSON = json_answer(200, b'{"rows": [{"id": "1", ')


def status(code: int, *, retry_after: str | None = None) -> Fault:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return detail(code, "The server is having a bad day", **headers)


def redirect(url: str) -> Fault:
    return Answer(302, headers={"Location": url})


def shape(value: object) -> Fault:
    """Answer 200 with well-formed JSON that is no audit log."""
    return json_answer(200, value)
