"""Parsers of a setting's value: text, whole number, URL, headers, file.

Each returns the value as the target uses it, or raises an InvalidValueError.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import ip_address
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

LOGS_PATH = "/v1/logs"
WHERE = "write where the receiver is, such as http://localhost:4318"

_NO_URL = f"is not a URL: {WHERE}"
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN_HEADERS = {"content-type", "content-encoding", "content-length", "transfer-encoding", "host"}
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,99}(\.0*)?", re.ASCII)
_FLAG_WORDS = dict.fromkeys(("true", "1", "yes", "on"), True)  # as in the SDK
_FLAG_WORDS |= dict.fromkeys(("false", "0", "no", "off"), False)
_MOST_MILLISECONDS = 600_000


class InvalidValueError(ValueError):
    """What is wrong with the value of a setting, and how to correct it."""


def refuse(problem: str) -> NoReturn:
    """Raise an InvalidValueError; the message follows the name of the setting."""
    raise InvalidValueError(problem)


def string(value: object) -> str:
    """Parse text."""
    if not isinstance(value, str):
        refuse("is not a string: put it in quotes")
    return value


def one_of(*choices: str) -> Callable[[object], str]:
    """Return a parser of these words, in upper or lower case."""

    def parse(value: object) -> str:
        text = string(value).lower()
        if text not in choices:
            refuse(f"is {value!r}: write {' or '.join(choices)}")
        return text

    return parse


def protocol(value: object) -> str:
    """Parse OpenTelemetry's protocol as an encoding."""
    if value == "grpc":
        refuse("is grpc, which this target does not speak: write http/protobuf or http/json")
    return one_of("http/protobuf", "http/json")(value).removeprefix("http/")


@dataclass(frozen=True, slots=True)
class Whole:
    """Parses whole numbers from `least` to `most`."""

    least: int
    most: int

    def __call__(self, value: object) -> int:
        """Parse a number, also one such as 5.0."""
        # To a JSON schema 1.0 is an integer, and a configuration file has it as a Decimal.
        if (
            isinstance(value, int | float | Decimal)
            and not isinstance(value, bool)
            and self.least <= value <= self.most
            and not value % 1
        ):
            return int(value)
        shown = value if isinstance(value, Decimal) else repr(value)
        refuse(f"is {shown}: write a whole number from {self.least} to {self.most}")


def whole_text(least: int, most: int) -> Callable[[object], int]:
    """Return a parser of whole numbers in variables."""
    parse = Whole(least, most)
    return lambda value: parse(from_text(string(value), ("integer",)))


def milliseconds(value: object) -> float:
    """Return OpenTelemetry's milliseconds as seconds."""
    try:
        found = float(string(value))
    except ValueError:
        found = 0.0
    if not 1 <= found <= _MOST_MILLISECONDS:
        refuse(f"is {value!r}: write milliseconds, from 1 to {_MOST_MILLISECONDS}")
    return found / 1000


def http_url(value: object) -> str:
    """Parse a URL with a host and without credentials."""
    text = string(value).strip()
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        refuse(_NO_URL)
    if url.scheme not in {"http", "https"}:
        refuse(f"does not start with http:// or https://: {WHERE}")
    if port == 0 or not text.isprintable() or " " in text or not _is_host(url.hostname or ""):
        refuse(_NO_URL)
    if url.username is not None or url.password is not None:
        refuse("contains a user or password: put them into headers, as Authorization")
    if url.fragment:
        refuse("contains a #, and no server sees what follows it: leave it out")
    return text


def endpoint(value: object) -> str:
    """Parse the setting: a URL without a path gets the path of OTLP."""
    url = urlsplit(http_url(value))
    return url.geturl() if url.path.strip("/") else url._replace(path=LOGS_PATH).geturl()


def base_url(value: object) -> str:
    """Parse OpenTelemetry's general variable: each signal has its path below this URL."""
    url = urlsplit(http_url(value))
    return url._replace(path=url.path.rstrip("/") + LOGS_PATH).geturl()


def _is_host(host: str) -> bool:
    with suppress(ValueError):
        ip_address(host)
        return True
    with suppress(UnicodeError):
        return bool(_HOST_NAME.fullmatch(host.encode("idna").decode()))
    return False


def json_object(value: object) -> dict[str, Any]:
    """Parse an object."""
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        refuse('is not an object: write names and values, such as {"name": "value"}')
    return value


def names(
    value: object, is_value: Callable[[Any], bool] = lambda item: not isinstance(item, dict)
) -> dict[str, Any]:
    """Parse an object with names such as user.id, which Meltano turns into nested objects."""
    pairs: list[tuple[str, Any]] = []
    for name, item in json_object(value).items():
        if not item or is_value(item):
            pairs.append((name, item))
        else:
            pairs += [(f"{name}.{inner}", each) for inner, each in names(item, is_value).items()]
    found = dict(pairs)
    if len(found) < len(pairs):
        refuse("has a name twice, once with dots and once as nested objects: leave one out")
    return found


def pairs(value: object) -> dict[str, str]:
    """Parse `name=value,name2=value2`, percent-encoded."""
    found = {}
    for part in filter(str.strip, string(value).split(",")):
        name, separator, text = part.partition("=")
        if not separator or not name.strip():
            refuse("is not a list of names and values: write name=value,name2=value2")
        found[unquote(name.strip())] = unquote(text.strip())
    return found


def headers(value: object) -> dict[str, str]:
    """Parse headers that HTTP can carry, and that the target does not set itself."""
    found = names(value)
    # The message has the number of a header and not its name, which could be the secret.
    for number, (name, text) in enumerate(found.items(), 1):
        if not _HEADER_NAME.fullmatch(name):
            refuse(f"has a name, number {number}, that is invalid: use letters, digits and -")
        if name.lower() in _OWN_HEADERS:
            refuse(f"has {name}, which the target sets itself: leave it out")
        if not isinstance(text, str):
            refuse(f"has a value, number {number}, that is not text: put it in quotes")
        if not (text.isascii() and text.isprintable()) or text != text.strip():
            refuse(
                f"has a value, number {number}, with spaces around it, line breaks or characters "
                "that HTTP cannot carry: copy it again"
            )
    return found


def file(value: object) -> str:
    """Parse the path of a file that exists."""
    path = string(value)
    if not isfile(path):  # noqa: PTH113  (Path.is_file raises for a name that is too long)
        refuse(f"is {value!r}, and there is no such file: give the path of a PEM file")
    return path


def ca_file(value: object) -> str:
    """Parse the path of a file of PEM certificates."""
    path = file(value)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError:
        refuse(f"is not a file of PEM certificates: {path}")
    return path


def authorities(value: object) -> str:
    """Parse the path of a file or, as requests and the taps take it, a folder of certificates."""
    return str(value) if Path(string(value)).is_dir() else ca_file(value)


def file_to_append(value: object) -> str:
    """Parse the path of a file that can be written to, or created."""
    text = string(value)
    try:
        os.fsencode(text)
        path = Path(text)
        can_write: bool | None
        if path.is_file():
            can_write = os.access(path, os.W_OK)
        elif path.exists():  # a folder or a device
            can_write = None
        else:
            can_write = os.access(path.parent, os.W_OK | os.X_OK)
    except (OSError, ValueError):
        can_write = False
    if can_write is None:
        refuse(f"is {text!r}, which is not a file: name a file in a folder that you can write to")
    if not can_write or "\0" in text:
        refuse(
            f"is {text!r}, which cannot be written: name a file in a folder that you can write to"
        )
    return text


def from_text(text: str, types: Collection[str]) -> object:
    """Return a variable's text as JSON would have it, or as it is if it is of no such type."""
    word = text.strip()
    if "integer" in types and _WHOLE_NUMBER.fullmatch(word):
        return int(word.partition(".")[0])
    if "boolean" in types and word.lower() in _FLAG_WORDS:
        return _FLAG_WORDS[word.lower()]
    if "array" in types or "object" in types:
        with suppress(ValueError, RecursionError):
            return json.loads(word, parse_float=Decimal)
    return text
