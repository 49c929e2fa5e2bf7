"""What a server says over HTTP, as values."""

from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Make one piece of bytes: sent in two, the second waits for an ACK."""
        headers = {**self.headers, "Content-Length": str(len(self.body))}
        lines = (f"{name}: {value}" for name, value in headers.items())
        phrase = HTTPStatus(self.status).phrase
        head = "\r\n".join([f"HTTP/1.1 {self.status} {phrase}", *lines, "", ""])
        return head.encode("latin-1") + self.body


def json_answer(status: int, value: object, **headers: str) -> Answer:
    body = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return Answer(status, body, {"Content-Type": "application/json", **headers})


def detail(status: int, text: str, **headers: str) -> Answer:
    return json_answer(status, {"detail": text}, **headers)
