"""The table of settings, which makes the JSON schema, the defaults and the checks."""

from __future__ import annotations

import json
import os
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass, field, fields
from decimal import Decimal
from difflib import get_close_matches
from importlib.metadata import version
from importlib.util import find_spec
from ipaddress import ip_address
from os.path import isfile
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias
from urllib.parse import unquote, urlsplit

from dotenv import load_dotenv

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

NAME = "target-otlp"
VERSION = version(NAME)
LOGS_PATH = "/v1/logs"
EVERY_STREAM = "*"

STREAM = "singer.stream"
EVENT_NAME = "event.name"
UNIQUE_ID = "log.record.uid"
_OWN_ATTRIBUTES = {STREAM: "the stream's name", EVENT_NAME: "event_name", UNIQUE_ID: "id"}
"""The attributes that the target sets itself, and where their values come from."""

_PATHS = ("time", "event_name", "id", "severity", "body")
_CONSTANT = "="
"""What marks a constant where a path could be."""

_STEP = r"\.([^.*\[\]'\"\s]+)|\[(\d+)\]|\['([^']+)'\]|\[\"([^\"]+)\"\]"
_PATH = re.compile(rf"\$(?:{_STEP})*")
_STEPS = re.compile(_STEP)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SECRET = re.compile(r"[^\s,=]{8,}")
"""A part of a header that cannot be in another text by chance."""

_HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_OWN_HEADERS = {"content-type", "content-encoding", "content-length", "transfer-encoding", "host"}
_WHERE = "write where the receiver is, such as http://localhost:4318"
_NO_URL = f"is not a URL: {_WHERE}"
_PREFIX = "TARGET_OTLP_"
"""The prefix of the target's own environment variables."""

_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,99}(\.0*)?", re.ASCII)
_FLAG_WORDS = dict.fromkeys(("true", "1", "yes", "on"), True)  # as in the SDK
_FLAG_WORDS |= dict.fromkeys(("false", "0", "no", "off"), False)
_GENERAL, _LOGS = "OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_LOGS_"
_MOST_MILLISECONDS = 600_000
_DISABLED = "OTEL_SDK_DISABLED"

JsonPath = tuple[str | int, ...]
"""The steps from a record to a value in it: names, and indexes of lists."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A text that is the same in every record."""

    value: str


@dataclass(frozen=True, slots=True)
class Joined:
    """A text from several parts, all of which a record must have."""

    parts: tuple[JsonPath | Constant, ...]


Source: TypeAlias = JsonPath | Constant | Joined
"""Where a part of a log record comes from."""


class SettingsError(ValueError):
    """Settings that cannot be used: `problems` has one message each, without secrets."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the messages."""
        super().__init__("; ".join(problems))
        self.problems = problems


class _InvalidValueError(ValueError):
    """What is wrong with the value of a setting, and how to correct it."""


@dataclass(frozen=True, slots=True)
class LogMapping:
    """Where the parts of a stream's log records come from; None is nowhere."""

    stream: str
    time: Source | None = None
    event_name: Source | None = None
    id: Source | None = None
    severity: Source | None = None
    body: Source | None = ()
    attributes: Mapping[str, Source] = field(default_factory=dict)


def _refuse(problem: str) -> NoReturn:
    raise _InvalidValueError(problem)


def _text(value: object) -> str:
    if not isinstance(value, str):
        _refuse("is not a text: put it in quotes")
    return value


def _one_of(*choices: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        text = _text(value).lower()
        if text not in choices:
            _refuse(f"is {value!r}: write {' or '.join(choices)}")
        return text

    return parse


def _protocol(value: object) -> str:
    if value == "grpc":
        _refuse("is grpc, which this target does not speak: write http/protobuf or http/json")
    return _one_of("http/protobuf", "http/json")(value).removeprefix("http/")


@dataclass(frozen=True, slots=True)
class _Whole:
    """Parses whole numbers from `least` to `most`."""

    least: int
    most: int

    def __call__(self, value: object) -> int:
        # To a JSON schema 1.0 is an integer, and a configuration file has it as a Decimal.
        if (
            isinstance(value, int | float | Decimal)
            and not isinstance(value, bool)
            and self.least <= value <= self.most
            and not value % 1
        ):
            return int(value)
        shown = value if isinstance(value, Decimal) else repr(value)
        _refuse(f"is {shown}: write a whole number from {self.least} to {self.most}")


def _whole_text(least: int, most: int) -> Callable[[object], int]:
    parse = _Whole(least, most)
    return lambda value: parse(_from_text(_text(value), ("integer",)))


def _milliseconds(value: object) -> float:
    """Return OpenTelemetry's milliseconds as seconds."""
    try:
        milliseconds = float(_text(value))
    except ValueError:
        milliseconds = 0.0
    if not 1 <= milliseconds <= _MOST_MILLISECONDS:
        _refuse(f"is {value!r}: write milliseconds, from 1 to {_MOST_MILLISECONDS}")
    return milliseconds / 1000


def _url(value: object) -> str:
    text = _text(value).strip()
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        _refuse(_NO_URL)
    if url.scheme not in {"http", "https"}:
        _refuse(f"does not start with http:// or https://: {_WHERE}")
    if port == 0 or not text.isprintable() or " " in text or not _is_host(url.hostname or ""):
        _refuse(_NO_URL)
    if url.username is not None or url.password is not None:
        _refuse("contains a user or password: put them into headers, as Authorization")
    if url.fragment:
        _refuse("contains a #, and no server sees what follows it: leave it out")
    return text


def _endpoint(value: object) -> str:
    """Parse the setting: a URL without a path gets the path of OTLP."""
    url = urlsplit(_url(value))
    return url.geturl() if url.path.strip("/") else url._replace(path=LOGS_PATH).geturl()


def _base_url(value: object) -> str:
    """Parse OpenTelemetry's general variable: each signal has its path below this URL."""
    url = urlsplit(_url(value))
    return url._replace(path=url.path.rstrip("/") + LOGS_PATH).geturl()


def _is_host(host: str) -> bool:
    with suppress(ValueError):
        ip_address(host)
        return True
    with suppress(UnicodeError):
        return bool(_HOST_NAME.fullmatch(host.encode("idna").decode()))
    return False


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        _refuse('is not an object: write names and values, such as {"name": "value"}')
    return value


def _names(
    value: object, is_value: Callable[[Any], bool] = lambda item: not isinstance(item, dict)
) -> dict[str, Any]:
    """Parse an object with names such as user.id, which Meltano turns into nested objects."""
    pairs: list[tuple[str, Any]] = []
    for name, item in _object(value).items():
        if not item or is_value(item):
            pairs.append((name, item))
        else:
            pairs += [(f"{name}.{inner}", each) for inner, each in _names(item, is_value).items()]
    found = dict(pairs)
    if len(found) < len(pairs):
        _refuse("has a name twice, once with dots and once as nested objects: leave one out")
    return found


def _pairs(value: object) -> dict[str, str]:
    """Parse `name=value,name2=value2`, percent-encoded."""
    pairs = {}
    for part in filter(str.strip, _text(value).split(",")):
        name, separator, text = part.partition("=")
        if not separator or not name.strip():
            _refuse("is not a list of names and values: write name=value,name2=value2")
        pairs[unquote(name.strip())] = unquote(text.strip())
    return pairs


def _headers(value: object) -> dict[str, str]:
    headers = _names(value)
    # The message has the number of a header and not its name, which could be the secret.
    for number, (name, text) in enumerate(headers.items(), 1):
        if not _HEADER_NAME.fullmatch(name):
            _refuse(f"has a name, number {number}, that is invalid: use letters, digits and -")
        if name.lower() in _OWN_HEADERS:
            _refuse(f"has {name}, which the target sets itself: leave it out")
        if not isinstance(text, str):
            _refuse(f"has a value, number {number}, that is not text: put it in quotes")
        if not (text.isascii() and text.isprintable()) or text != text.strip():
            _refuse(
                f"has a value, number {number}, with spaces around it, line breaks or characters "
                "that HTTP cannot carry: copy it again"
            )
    return headers


def _mappings(value: object) -> dict[str, LogMapping]:
    """Parse the mapping of each stream; what it lacks comes from the mapping of every stream."""
    given = {EVERY_STREAM: {}} | _names(value, _is_mapping)
    found = {}
    for stream, own in given.items():
        try:
            found[stream] = _mapping(stream, _object(given[EVERY_STREAM]), _object(own))
        except _InvalidValueError as error:
            _refuse(f"of {stream} {error}")
    return found


def _is_mapping(value: Any) -> bool:  # noqa: ANN401  (whatever JSON can hold)
    """Whether a value is the mapping of a stream, and not a part of its name."""
    return (
        not isinstance(value, dict)
        or not value.keys().isdisjoint((*_PATHS, "attributes"))
        or not all(isinstance(part, dict) for part in value.values())
    )


def _mapping(stream: str, every: dict[str, Any], own: dict[str, Any]) -> LogMapping:
    given = every | own
    attributes = _names(every.get("attributes") or {}) | _names(own.get("attributes") or {})
    for name in sorted(given.keys() - {*_PATHS, "attributes"}):
        _refuse(f"has {name!r}: it can have {', '.join(_PATHS)} and attributes")
    for name in attributes.keys() & _OWN_ATTRIBUTES.keys():
        _refuse(f"has the attribute {name}, which comes from {_OWN_ATTRIBUTES[name]}: leave it out")
    sources = {name: _source(name, given[name]) for name in _PATHS if name in given}
    named = {name: _source(name, value) for name, value in attributes.items() if value is not None}
    return LogMapping(stream, **sources, attributes=named)


def _source(name: str, value: object) -> Any:  # noqa: ANN401  (a source, or None for null)
    """Parse a path, or a constant behind `=`; an id can have a list of them."""
    if name == "id" and isinstance(value, list):
        if not value:
            _refuse("has id: it is an empty list: write paths into it, or one path without a list")
        return Joined(tuple(_source("part of id", each) for each in value))
    if isinstance(value, str) and value.startswith(_CONSTANT):
        return Constant(value.removeprefix(_CONSTANT))
    try:
        return None if value is None and name != "part of id" else parse_path(_text(value))
    except ValueError as error:
        _refuse(f"has {name}: {error}")


def parse_path(text: str) -> JsonPath:
    """Return the steps of a JSON path (`$.actor.email`, `$.tags[0]`, `$['a b']`).

    A text that is not a path, or one that could lead to several values, raises ValueError.
    """
    if not _PATH.fullmatch(text):
        _refuse(
            f"{text!r} is not a path to one value: write one such as $.actor.email or $.tags[0], "
            "or a constant such as =production"
        )
    return tuple(
        int(index) if index else dotted or single or double
        for dotted, index, single, double in _STEPS.findall(text)
    )


def _file(value: object) -> str:
    path = _text(value)
    if not isfile(path):  # noqa: PTH113  (Path.is_file raises for a name that is too long)
        _refuse(f"is {value!r}, and there is no such file: give the path of a PEM file")
    return path


def _ca_file(value: object) -> str:
    path = _file(value)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError:
        _refuse(f"is not a file of PEM certificates: {path}")
    return path


def _authorities(value: object) -> str:
    """Parse the path of a file or, as requests and the taps take it, a folder of certificates."""
    return str(value) if Path(_text(value)).is_dir() else _ca_file(value)


def _file_to_append(value: object) -> str:
    text = _text(value)
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
        _refuse(f"is {text!r}, which is not a file: name a file in a folder that you can write to")
    if not can_write or "\0" in text:
        _refuse(
            f"is {text!r}, which cannot be written: name a file in a folder that you can write to"
        )
    return text


def _otel(name: str, parse: Callable[[object], object]) -> dict[str, Callable[[object], object]]:
    """Return OpenTelemetry's two variables of a name: the one for logs comes first."""
    return {_LOGS + name: parse, _GENERAL + name: parse}


_AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""As in the taps."""

_JSON_TYPES = {int: "integer", dict: "object"}


def _setting(  # noqa: PLR0913  (the columns of the table)
    parse: Callable[[object], object],
    title: str = "",
    description: str = "",
    default: object = None,
    variables: Mapping[str, Callable[[object], object]] | None = None,
    *,
    example: object = None,
) -> Any:  # noqa: ANN401  (a field of the type that `parse` returns)
    """Declare a setting, whose default decides its JSON type: text, unless a number or object.

    A setting that is not given comes from the first of `variables`, OpenTelemetry's own, that is.
    The schema has no default for such a setting: the SDK would set it, and no variable would count.
    A setting without a title comes from variables alone; for the others, the documentation shows
    `example`, a JSON value, and a number's range.
    """
    kind = _JSON_TYPES.get(type(default), "string")
    is_shown = not variables and isinstance(default, str | int)
    schema: dict[str, object] = {"type": [kind, "null"]}
    schema |= {"properties": {}, "additionalProperties": True} if kind == "object" else {}
    schema |= {"title": title}
    schema |= {"default": default} if is_shown else {}
    schema |= {"description": description}
    schema |= {"secret": True, "writeOnly": True} if parse is _headers else {}
    return field(
        metadata={
            "schema": schema if title else None,
            "parse": parse,
            "default": None if default is None else parse(default),
            "variables": variables or {},
            "example": example,
            "range": (parse.least, parse.most) if isinstance(parse, _Whole) else None,
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """The settings of a run, parsed. Times are in seconds; certificates are paths of PEM files."""

    endpoint: str = _setting(
        _endpoint,
        "Endpoint",
        "Where the receiver is: an http or https URL. Without a path it gets /v1/logs; with one it "
        "is used as it is.",
        variables={f"{_LOGS}ENDPOINT": _url, f"{_GENERAL}ENDPOINT": _base_url},
        example="http://localhost:4318",
    )
    headers: Mapping[str, str] = _setting(
        _headers,
        "Headers",
        "Headers for every request, such as one with an API key.",
        {},
        _otel("HEADERS", lambda value: _headers(_pairs(value))),
        example={"Authorization": "Bearer 0123456789abcdef"},
    )
    max_batch_size: int = _setting(
        _Whole(1, 1000),
        "Batch size",
        "Maximum number of log records per request. Default: 500.",
        500,
        {"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": _whole_text(1, 1000)},
        example=100,
    )
    max_batch_bytes: int = _setting(
        _Whole(1000, 64 << 20),
        "Batch bytes",
        "Maximum size of a request in bytes, before compression and as protobuf; a single log "
        "record can be larger.",
        4_000_000,
        example=1_000_000,
    )
    compression: str = _setting(
        _one_of("none", "gzip"),
        "Compression",
        "none or gzip. Default: none.",
        "none",
        _otel("COMPRESSION", _one_of("none", "gzip")),
        example="gzip",
    )
    encoding: str = _setting(
        _one_of("protobuf", "json"),
        "Encoding",
        "protobuf, or json, which not every receiver accepts. Default: protobuf.",
        "protobuf",
        _otel("PROTOCOL", _protocol),
        example="json",
    )
    timeout_seconds: float = _setting(
        _Whole(1, 600),
        "Timeout",
        "Seconds to wait for a connection, and for each part of an answer. Default: 10.",
        10,
        _otel("TIMEOUT", _milliseconds),
        example=30,
    )
    max_retry_seconds: int = _setting(
        _Whole(0, 86_400),
        "Longest retry",
        "How many seconds a request is retried before the run fails.",
        300,
        example=3600,
    )
    rejected_records_path: str | None = _setting(
        _file_to_append,
        "File of rejected records",
        "A file to which each record that the receiver refuses is appended as a line of JSON; the "
        "rest goes on. Without it, such a record ends the run.",
        example="rejected.jsonl",
    )
    max_rejected_records: int = _setting(
        _Whole(1, 1_000_000),
        "Most rejected records",
        "How many rejected records a run survives, if rejected_records_path is set.",
        100,
        example=10,
    )
    on_partial_success: str = _setting(
        _one_of("fail", "warn"),
        "On partial success",
        "fail or warn: what to do if the receiver rejects some records of a request, and "
        "rejected_records_path is not set. With warn, they are lost.",
        "fail",
        example="warn",
    )
    resource_attributes: Mapping[str, Any] = _setting(
        _names,
        "Resource attributes",
        "Attributes of the resource. Default: service.name is singer.",
        {},
        example={"service.name": "sentry"},
    )
    mapping: Mapping[str, LogMapping] = _setting(
        _mappings,
        "Mapping",
        "For each stream, and for * (every stream): JSON paths of time, event_name, id, severity "
        "and body, and attributes as names and paths. Several paths make one id; a text such as "
        "=production is a constant. Default: the whole record as JSON in the body.",
        {},
        example={"audit_logs": {"time": "$.dateCreated", "id": ["$.organization", "$.id"]}},
    )
    otel_attributes: Mapping[str, str] = _setting(
        _pairs, default="", variables={"OTEL_RESOURCE_ATTRIBUTES": _pairs}
    )
    otel_service_name: str | None = _setting(_text, variables={"OTEL_SERVICE_NAME": _text})
    certificate: str | None = _setting(
        _ca_file,
        variables=_otel("CERTIFICATE", _ca_file) | dict.fromkeys(_AUTHORITIES, _authorities),
    )
    client_certificate: str | None = _setting(_file, variables=_otel("CLIENT_CERTIFICATE", _file))
    client_key: str | None = _setting(_file, variables=_otel("CLIENT_KEY", _file))

    @property
    def resource(self) -> dict[str, Any]:
        """The attributes of the resource, from all sources."""
        found = {"service.name": "singer", **self.otel_attributes}
        if self.otel_service_name:
            found["service.name"] = self.otel_service_name
        return {**found, **self.resource_attributes}


JSON_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        each.name: each.metadata["schema"] for each in fields(Settings) if each.metadata["schema"]
    },
    "$schema": "https://json-schema.org/draft/2020-12/schema",
}


_PARSERS: dict[str, Callable[[object], object]] = {
    each.name: each.metadata["parse"] for each in fields(Settings) if each.metadata["schema"]
}


def _hiding(messages: list[str], *headers: object) -> list[str]:
    """Return messages without what is in headers: it may stand in another setting too."""
    texts = [
        str(text)
        for each in headers
        for text in (each.values() if isinstance(each, dict) else [each or ""])
    ]
    secrets = {piece for text in texts for piece in _SECRET.findall(text)}
    for secret in secrets:
        messages = [message.replace(secret, "…") for message in messages]
    return messages


def parse_settings(
    config: Mapping[str, object], environment: Mapping[str, str] = MappingProxyType({})
) -> Settings:
    """Return the settings, parsed and checked; OpenTelemetry's variables fill in what is not set.

    Raises SettingsError with every problem: the setting or variable, what is wrong, and the cure.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    for each in fields(Settings):
        sources: list[tuple[str, Mapping[str, object], Any]] = [
            (name, environment, parse) for name, parse in each.metadata["variables"].items()
        ]
        if each.metadata["schema"]:
            sources.insert(0, (each.name, config, each.metadata["parse"]))
        values[each.name] = each.metadata["default"]
        for name, source, parse in sources:
            if source.get(name) not in (None, ""):
                try:
                    values[each.name] = parse(source[name])
                except _InvalidValueError as error:
                    problems.append(f"{name} {error}")
                break
    if environment.get(_DISABLED, "").strip().lower() == "true":
        problems.append(
            f"{_DISABLED} is true, and this target would have nothing to do: unset it, or leave "
            f"{NAME} out of the pipeline"
        )
    if not values["endpoint"] and not problems:
        problems.append(f"endpoint is missing: {_WHERE}{_misspelt(config, 'endpoint')}")
    if found := _client_certificate_problem(values["client_certificate"], values["client_key"]):
        problems.append(found)
    if problems:
        variables = (environment.get(name) for name in _otel("HEADERS", _headers))
        raise SettingsError(_hiding(problems, config.get("headers"), *variables))
    return Settings(**values)


def _client_certificate_problem(certificate: str | None, key: str | None) -> str | None:
    if key and not certificate:
        return f"{_GENERAL}CLIENT_KEY is set without {_GENERAL}CLIENT_CERTIFICATE: set both"
    try:
        if certificate:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key)
    except OSError:
        return (
            f"{_GENERAL}CLIENT_CERTIFICATE and {_GENERAL}CLIENT_KEY are not PEM files of a "
            f"certificate and its key without a password: {certificate}"
        )
    return None


def _misspelt(config: Mapping[str, object], missing: str) -> str:
    """Return a hint at the name that stands where the missing one is meant, if any."""
    for name in sorted(
        name for name in config.keys() - _PARSERS.keys() if config[name] is not None
    ):
        if get_close_matches(name.lower(), [missing], n=1):
            return f" (there is no setting {name!r}: did you mean {missing}?)"
    return ""


def remarks(
    config: Mapping[str, object], settings: Settings, known: Mapping[str, object]
) -> list[str]:
    """Return what a user should know about settings that can be used.

    `known` has the properties of `JSON_SCHEMA`, and those that the SDK adds.
    """
    found = []
    for name in sorted(name for name in config.keys() - known.keys() if config[name] is not None):
        nearest = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f": did you mean {nearest[0]}?" if nearest else ""
        found.append(f"There is no setting {name!r}; it is ignored{hint}")
    url = urlsplit(settings.endpoint)
    if url.scheme == "http" and settings.headers and not _is_loopback(url.hostname or ""):
        found.append(
            f"endpoint: headers go to {url.netloc} unencrypted; write https:// if it can do that"
        )
    return _hiding(found, settings.headers)


def parse_variables(
    environment: Mapping[str, str], known: Mapping[str, dict[str, Any]]
) -> dict[str, object]:
    """Return the settings in environment variables, as JSON would have them.

    `known` is as for `remarks`. An empty variable is unset, as in OpenTelemetry. The SDK's own
    conversion fails on a bad number without naming it, and takes every word that it does not know
    for false.

    Raises SettingsError with every problem: the setting, its variable, what is wrong, and the cure.
    """
    found: dict[str, object] = {}
    problems: list[str] = []
    for name, definition in known.items():
        variable = f"{_PREFIX}{name.upper()}"
        if not environment.get(variable):
            continue
        found[name] = _from_text(environment[variable], definition.get("type", ()))
        try:
            if name in _PARSERS:
                _PARSERS[name](found[name])
        except _InvalidValueError as problem:
            problems.append(f"{name} (from {variable}) {problem}")
    if problems:
        raise SettingsError(_hiding(problems, found.get("headers")))
    return found


def _from_text(text: str, types: Collection[str]) -> object:
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


def read_config_file(path: str) -> dict[str, Any]:
    """Return the settings in a file; numbers with a decimal point are Decimals.

    Raises SettingsError if it cannot be read, or holds something else.
    """
    cure = "give --config a file that holds one JSON object"
    try:
        settings = json.loads(Path(path).read_text("utf-8"), parse_float=Decimal)
    except OSError as error:
        problem = f"{path} cannot be read ({type(error).__name__}): {cure}"
        raise SettingsError([problem]) from None
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise SettingsError([f"{path} holds no JSON object: {cure}"])
    return settings


def load_dotenv_file() -> Path | None:
    """Set the variables of a `.env` file that the environment lacks; return its path.

    It is the one in the current folder, or else the one that singer-sdk 0.54 takes with
    `--config=ENV`: the first in the folders above the SDK's own, so above the virtual environment
    too. Returns None if there is no such file, if it
    sets nothing, or if python-dotenv's own PYTHON_DOTENV_DISABLED is set.

    Raises SettingsError if it cannot be read.
    """
    sdk = find_spec("singer_sdk")
    above_sdk = Path(sdk.origin).parents if sdk and sdk.origin else ()
    for folder in (Path.cwd(), *above_sdk):
        path = folder / ".env"
        try:
            if path.is_file() or path.is_fifo():
                return path if load_dotenv(path, override=False) else None
        except (OSError, ValueError) as error:
            problem = f"{path} cannot be read ({type(error).__name__}): correct or remove it"
            raise SettingsError([problem]) from None
    return None
