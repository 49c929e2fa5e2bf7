"""What a person set, checked once and turned into values."""

from __future__ import annotations

import json
import re
import ssl
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard, TypeVar
from urllib.parse import unquote, urlsplit

from target_otlp.mapping import OWN_ATTRIBUTES, LogMapping, read_path
from target_otlp.values import encodable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from target_otlp.values import Json, Record

NAME = "target-otlp"
LOGS_PATH = "/v1/logs"
EVERY_STREAM = "*"

_OTEL = "OTEL_"
_GENERAL, _LOGS = "OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_LOGS_"
_PATHS = ("time", "event_name", "id", "severity", "body")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_OWN_HEADERS = {"content-type", "content-encoding", "content-length", "transfer-encoding", "host"}
_WHERE = "write where the receiver is, such as http://localhost:4318"

_NOTHING: Record = {}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run, checked. Times are in seconds; certificates are paths of PEM files.

    `headers` and `endpoint` can hold secrets.
    """

    endpoint: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    max_batch_size: int
    max_batch_bytes: int
    compresses: bool
    timeout: float
    max_retry_seconds: float
    as_json: bool
    fails_on_partial: bool
    resource: Record
    mappings: Mapping[str, LogMapping]
    certificate: str | None
    client_certificate: str | None
    client_key: str | None
    version: str

    def mapping(self, stream: str) -> LogMapping:
        """Return what holds for a stream."""
        known = self.mappings.get(stream, self.mappings[EVERY_STREAM])
        return replace(known, stream=encodable(stream))


class SettingsError(ValueError):
    """Settings that cannot be used: one message each, without a secret in it."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the messages."""
        super().__init__("; ".join(problems))
        self.problems = problems


class _Problem(ValueError):  # noqa: N818  (what it is)
    """What is wrong with one setting, and how to mend it."""


def read_settings(config: Mapping[str, object], environment: Mapping[str, str]) -> Settings:
    """Return the checked settings; what is not set comes from OpenTelemetry's own variables.

    Raises:
        SettingsError: With every problem found, each naming the setting or variable, what is
            wrong and how to mend it.

    """
    problems: list[str] = []
    given: dict[str, object] = {
        **{name: value for name, value in environment.items() if name.startswith(_OTEL)},
        **{name: value for name, value in config.items() if not name.startswith(_OTEL)},
    }

    def read(default: T, *sources: tuple[str, Callable[[object], T]]) -> T:
        """Read the first source that is given, or return the default."""
        for name, parse in sources:
            if given.get(name) not in (None, ""):
                try:
                    return parse(given[name])
                except _Problem as problem:
                    problems.append(f"{name} {problem}")
                    return default
        return default

    settings = Settings(
        endpoint=read(
            "",
            ("endpoint", _endpoint),
            (f"{_LOGS}ENDPOINT", _url),
            (f"{_GENERAL}ENDPOINT", _base_url),
        ),
        headers=read({}, ("headers", _headers), *_otel("HEADERS", _header_list)),
        max_batch_size=read(500, ("max_batch_size", _whole(1, 1000))),
        max_batch_bytes=read(4_000_000, ("max_batch_bytes", _whole(1000, 64 << 20))),
        compresses=read(
            "none",
            ("compression", _one_of("none", "gzip")),
            *_otel("COMPRESSION", _one_of("none", "gzip")),
        )
        == "gzip",
        timeout=read(10.0, ("timeout_seconds", _whole(1, 600)), *_otel("TIMEOUT", _milliseconds)),
        max_retry_seconds=read(300, ("max_retry_seconds", _whole(0, 86_400))),
        as_json=read(
            "protobuf",
            ("encoding", _one_of("protobuf", "json")),
            *_otel("PROTOCOL", _protocol),
        )
        == "json",
        fails_on_partial=read("fail", ("on_partial_success", _one_of("fail", "warn"))) == "fail",
        resource=_service_name("singer")
        | read(_NOTHING, ("OTEL_RESOURCE_ATTRIBUTES", _pairs))
        | read(_NOTHING, ("OTEL_SERVICE_NAME", _service_name))
        | read(_NOTHING, ("resource_attributes", _dotted)),
        mappings=read({}, ("mapping", _mappings)) or _mappings({}),
        certificate=read(None, *_otel("CERTIFICATE", _file)),
        client_certificate=read(None, *_otel("CLIENT_CERTIFICATE", _file)),
        client_key=read(None, *_otel("CLIENT_KEY", _file)),
        version=version(NAME),
    )
    if not settings.endpoint and not problems:
        problems.append(f"endpoint is missing: {_WHERE}")
    problems += _unusable_certificates(settings)
    if problems:
        raise SettingsError(problems)
    return settings


def remarks(
    config: Mapping[str, object], settings: Settings, known: Mapping[str, object]
) -> list[str]:
    """Return what a person should know about settings that can be used."""
    found = []
    for name in sorted(config.keys() - known.keys()):
        nearest = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f": did you mean {nearest[0]}?" if nearest else ""
        found.append(f"There is no setting {name!r}; it is ignored{hint}")
    url = urlsplit(settings.endpoint)
    if url.scheme == "http" and settings.headers and not _is_loopback(url.hostname or ""):
        found.append(
            f"endpoint: headers go to {url.netloc} unencrypted; write https:// if it can do that"
        )
    return found


def unusable_variables(environment: Mapping[str, str], properties: Record) -> list[str]:
    """Return what is wrong with the target's own environment variables.

    The SDK turns them into values itself, and fails on a bad one without naming it.
    """
    found = []
    for name, definition in properties.items():
        variable = f"{NAME}_{name}".upper().replace("-", "_")
        types = definition.get("type", ()) if isinstance(definition, dict) else ()
        for kind, parse, hint in (
            ("integer", int, "write a whole number"),
            ("object", json.loads, 'write JSON, such as {"name": "value"}'),
        ):
            if variable in environment and isinstance(types, list) and kind in types:
                try:
                    parse(environment[variable])
                except ValueError:
                    found.append(f"{name} (from {variable}) cannot be read: {hint}")
    return found


def _otel(name: str, parse: Callable[[object], T]) -> list[tuple[str, Callable[[object], T]]]:
    """Return OpenTelemetry's two variables of that name: what is for logs comes first."""
    return [(prefix + name, parse) for prefix in (_LOGS, _GENERAL)]


def _endpoint(value: object) -> str:
    """Read the setting: a URL without a path gets OTLP's."""
    url = urlsplit(_url(value))
    return url.geturl() if url.path.strip("/") else url._replace(path=LOGS_PATH).geturl()


def _base_url(value: object) -> str:
    """Read OpenTelemetry's general variable: below it each signal has its path."""
    url = urlsplit(_url(value))
    return url._replace(path=url.path.rstrip("/") + LOGS_PATH).geturl()


def _url(value: object) -> str:
    text = _text(value).strip()
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        message = f"is no URL: {_WHERE}"
        raise _Problem(message) from None
    if url.scheme not in {"http", "https"}:
        message = f"does not begin with http:// or https://: {_WHERE}"
    elif port == 0 or not text.isprintable() or " " in text or not _is_host(url.hostname or ""):
        message = f"is no URL: {_WHERE}"
    elif url.username is not None or url.password is not None:
        message = "has a user or password in it: put them into headers, as Authorization"
    elif url.fragment:
        message = "has a # in it, which no server gets to see: leave it out"
    else:
        return text
    raise _Problem(message)


def _headers(value: object) -> dict[str, str]:
    headers = {}
    # Where one cannot be used, only its number is told: what is its name could be the secret.
    for number, (name, text) in enumerate(_dotted(value).items(), 1):
        if not _HEADER_NAME.fullmatch(name):
            message = f"has a name, number {number}, that is none: write letters, digits and -"
        elif name.lower() in _OWN_HEADERS:
            message = f"has {name}, which the target sets itself: leave it out"
        elif not isinstance(text, str):
            message = f"has a value, number {number}, that is no text: put it in quotes"
        elif not (text.isascii() and text.isprintable()) or text != text.strip():
            message = (
                f"has a value, number {number}, with spaces around it, line breaks or characters "
                "that HTTP cannot carry: copy it once more"
            )
        else:
            headers[name] = text
            continue
        raise _Problem(message)
    return headers


def _header_list(value: object) -> dict[str, str]:
    """Read OpenTelemetry's form of headers."""
    return _headers(_pairs(value))


def _pairs(value: object) -> Record:
    """Read `name=value,name2=value2`, percent-encoded."""
    pairs: Record = {}
    for part in filter(str.strip, _text(value).split(",")):
        name, separator, text = part.partition("=")
        if not separator or not name.strip():
            message = "is no list of names and values: write name=value,name2=value2"
            raise _Problem(message)
        pairs[unquote(name.strip())] = unquote(text.strip())
    return pairs


def _service_name(value: object) -> Record:
    return {"service.name": _text(value)}


def _mappings(value: object) -> dict[str, LogMapping]:
    """Read the mapping of each stream; what it does not say comes from that of every stream."""
    given = {EVERY_STREAM: _NOTHING} | _streams(value)
    found = {}
    for stream, own in given.items():
        try:
            every, one = _object(given[EVERY_STREAM]), _object(own)
            attributes = _dotted(every.get("attributes") or {}) | _dotted(
                one.get("attributes") or {}
            )
            found[stream] = _mapping(stream, every | one, attributes)
        except _Problem as problem:
            message = f"of {stream} {problem}"
            raise _Problem(message) from None
    return found


def _mapping(stream: str, given: Record, attributes: Record) -> LogMapping:
    unknown = sorted(given.keys() - {*_PATHS, "attributes"})
    if unknown:
        message = f"has {unknown[0]!r}: it can have {', '.join(_PATHS)} and attributes"
        raise _Problem(message)
    for name in attributes.keys() & OWN_ATTRIBUTES.keys():
        message = f"has the attribute {name}, which comes from {OWN_ATTRIBUTES[name]}: leave it out"
        raise _Problem(message)
    paths = {name: _path(name, given[name]) for name in _PATHS if name in given}
    named = {encodable(name): _path(name, path) for name, path in attributes.items()}
    return LogMapping(
        stream,
        **paths,
        attributes={name: path for name, path in named.items() if path is not None},
    )


def _path(name: str, value: object) -> tuple[str | int, ...] | None:
    """Read a path; null is none."""
    if value is None:
        return None
    try:
        return read_path(_text(value))
    except ValueError as error:
        message = f"has {name}: {error}"
        raise _Problem(message) from None


def _object(value: object) -> Record:
    if not _is_object(value):
        message = 'is no object: write names and values, such as {"name": "value"}'
        raise _Problem(message)
    return value


def _is_object(value: object) -> TypeGuard[Record]:
    """Whether a setting is an object; it came from JSON."""
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


def _streams(value: object) -> Record:
    """Read the mappings of streams. Of names with dots Meltano makes objects in objects."""
    found: Record = {}
    for name, own in _object(value).items():
        parts = own.values() if isinstance(own, dict) else ()
        is_mapping = isinstance(own, dict) and not own.keys().isdisjoint((*_PATHS, "attributes"))
        if parts and not is_mapping and all(isinstance(part, dict) for part in parts):
            found |= {f"{name}.{inner}": one for inner, one in _streams(own).items()}
        else:
            found[name] = own
    return found


def _dotted(value: object) -> Record:
    """Read an object with names such as user.id, of which Meltano makes objects in objects."""
    pairs: list[tuple[str, Json]] = []
    for name, item in _object(value).items():
        inner = _dotted(item).items() if isinstance(item, dict) and item else ()
        pairs += [(f"{name}.{one}", each) for one, each in inner] or [(name, item)]
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            message = "has a name twice, with dots and as an object in an object: leave one out"
            raise _Problem(message)
    return dict(pairs)


def _text(value: object) -> str:
    if not isinstance(value, str):
        message = "is no text: put it in quotes"
        raise _Problem(message)
    return value


def _one_of(*choices: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        text = _text(value).lower()
        if text not in choices:
            message = f"is {value!r}: write {' or '.join(choices)}"
            raise _Problem(message)
        return text

    return parse


def _protocol(value: object) -> str:
    if value == "grpc":
        message = "is grpc, which this target does not speak: write http/protobuf or http/json"
        raise _Problem(message)
    return _one_of("http/protobuf", "http/json")(value).removeprefix("http/")


def _whole(least: int, most: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            message = f"is {value!r}: write a whole number from {least} to {most}"
            raise _Problem(message)
        return value

    return parse


def _milliseconds(value: object) -> float:
    """Read OpenTelemetry's variable, as seconds."""
    try:
        milliseconds = float(_text(value))
    except ValueError:
        milliseconds = 0.0
    if not 1 <= milliseconds <= 600_000:  # noqa: PLR2004  (ten minutes)
        message = f"is {value!r}: write milliseconds, from 1 to 600000"
        raise _Problem(message)
    return milliseconds / 1000


def _file(value: object) -> str:
    path = Path(_text(value))
    try:
        is_there = path.is_file()
    except OSError:
        is_there = False
    if not is_there:
        message = f"is {value!r}, and there is no such file: give the path of a PEM file"
        raise _Problem(message)
    return str(path)


def _unusable_certificates(settings: Settings) -> list[str]:
    """Return what is wrong with the files of certificates."""
    certificate, key = settings.client_certificate, settings.client_key
    if key and not certificate:
        return [f"{_GENERAL}CLIENT_KEY is set without {_GENERAL}CLIENT_CERTIFICATE: set both"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found = []
    try:
        if settings.certificate:
            context.load_verify_locations(settings.certificate)
    except OSError:
        found.append(
            f"{_GENERAL}CERTIFICATE is no file of PEM certificates: {settings.certificate}"
        )
    try:
        if certificate:
            context.load_cert_chain(certificate, key)
    except OSError:
        found.append(
            f"{_GENERAL}CLIENT_CERTIFICATE and {_GENERAL}CLIENT_KEY are no PEM files of a "
            f"certificate and its key, without a password: {certificate}"
        )
    return found


def _is_host(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        try:
            name = host.encode("idna").decode()
        except UnicodeError:
            return False
        return bool(_HOST_NAME.fullmatch(name))
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
