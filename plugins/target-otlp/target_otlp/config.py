"""The table of settings, which makes the JSON schema, the defaults and the checks."""

from __future__ import annotations

import json
import re
import ssl
from dataclasses import dataclass, field, fields
from decimal import Decimal
from difflib import get_close_matches
from importlib.metadata import version
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dotenv import load_dotenv

from target_otlp import parsers
from target_otlp.log_mapping import LogMapping, mappings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAME = "target-otlp"
VERSION = version(NAME)

_SECRET = re.compile(r"[^\s,=]{8,}")
"""A part of a header that cannot be in another text by chance."""

_PREFIX = "TARGET_OTLP_"
"""The prefix of the target's own environment variables."""

_GENERAL, _LOGS = "OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_LOGS_"
_DISABLED = "OTEL_SDK_DISABLED"
_AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""As in the taps."""

_JSON_TYPES = {int: "integer", dict: "object"}


class SettingsError(ValueError):
    """Settings that cannot be used: `problems` has one message each, without secrets."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the messages."""
        super().__init__("; ".join(problems))
        self.problems = problems


def _otel(name: str, parse: Callable[[object], object]) -> dict[str, Callable[[object], object]]:
    """Return OpenTelemetry's two variables of a name: the one for logs comes first."""
    return {_LOGS + name: parse, _GENERAL + name: parse}


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
    schema |= {"secret": True, "writeOnly": True} if parse is parsers.headers else {}
    return field(
        metadata={
            "schema": schema if title else None,
            "parse": parse,
            "default": None if default is None else parse(default),
            "variables": variables or {},
            "example": example,
            "range": (parse.least, parse.most) if isinstance(parse, parsers.Whole) else None,
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """The settings of a run, parsed. Times are in seconds; certificates are paths of PEM files."""

    endpoint: str = _setting(
        parsers.endpoint,
        "Endpoint",
        "Where the receiver is: an http or https URL. Without a path it gets /v1/logs; with one it "
        "is used as it is.",
        variables={f"{_LOGS}ENDPOINT": parsers.http_url, f"{_GENERAL}ENDPOINT": parsers.base_url},
        example="http://localhost:4318",
    )
    headers: Mapping[str, str] = _setting(
        parsers.headers,
        "Headers",
        "Headers for every request, such as one with an API key.",
        {},
        _otel("HEADERS", lambda value: parsers.headers(parsers.pairs(value))),
        example={"Authorization": "Bearer 0123456789abcdef"},
    )
    max_batch_size: int = _setting(
        parsers.Whole(1, 1000),
        "Batch size",
        "Maximum number of log records per request. Default: 500.",
        500,
        {"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": parsers.whole_text(1, 1000)},
        example=100,
    )
    max_batch_bytes: int = _setting(
        parsers.Whole(1000, 64 << 20),
        "Batch bytes",
        "Maximum size of a request in bytes, before compression and as protobuf; a single log "
        "record can be larger.",
        4_000_000,
        example=1_000_000,
    )
    compression: str = _setting(
        parsers.one_of("none", "gzip"),
        "Compression",
        "none or gzip. Default: none.",
        "none",
        _otel("COMPRESSION", parsers.one_of("none", "gzip")),
        example="gzip",
    )
    encoding: str = _setting(
        parsers.one_of("protobuf", "json"),
        "Encoding",
        "protobuf, or json, which not every receiver accepts. Default: protobuf.",
        "protobuf",
        _otel("PROTOCOL", parsers.protocol),
        example="json",
    )
    timeout_seconds: float = _setting(
        parsers.Whole(1, 600),
        "Timeout",
        "Seconds to wait for a connection, and for each part of an answer. Default: 10.",
        10,
        _otel("TIMEOUT", parsers.milliseconds),
        example=30,
    )
    max_retry_seconds: int = _setting(
        parsers.Whole(0, 86_400),
        "Longest retry",
        "How many seconds a request is retried before the run fails.",
        300,
        example=3600,
    )
    rejected_records_path: str | None = _setting(
        parsers.file_to_append,
        "File of rejected records",
        "A file to which each record that the receiver refuses is appended as a line of JSON; the "
        "rest goes on. Without it, such a record ends the run.",
        example="rejected.jsonl",
    )
    max_rejected_records: int = _setting(
        parsers.Whole(1, 1_000_000),
        "Most rejected records",
        "How many rejected records a run survives, if rejected_records_path is set.",
        100,
        example=10,
    )
    on_partial_success: str = _setting(
        parsers.one_of("fail", "warn"),
        "On partial success",
        "fail or warn: what to do if the receiver rejects some records of a request, and "
        "rejected_records_path is not set. With warn, they are lost.",
        "fail",
        example="warn",
    )
    resource_attributes: Mapping[str, Any] = _setting(
        parsers.names,
        "Resource attributes",
        "Attributes of the resource. Default: service.name is singer.",
        {},
        example={"service.name": "sentry"},
    )
    mapping: Mapping[str, LogMapping] = _setting(
        mappings,
        "Mapping",
        "For each stream, and for * (every stream): JSON paths of time, event_name, id, severity "
        "and body, and attributes as names and paths. Several paths make one id; a text such as "
        "=production is a constant. Default: the whole record as JSON in the body.",
        {},
        example={"audit_logs": {"time": "$.dateCreated", "id": ["$.organization", "$.id"]}},
    )
    otel_attributes: Mapping[str, str] = _setting(
        parsers.pairs, default="", variables={"OTEL_RESOURCE_ATTRIBUTES": parsers.pairs}
    )
    otel_service_name: str | None = _setting(
        parsers.string, variables={"OTEL_SERVICE_NAME": parsers.string}
    )
    certificate: str | None = _setting(
        parsers.ca_file,
        variables=_otel("CERTIFICATE", parsers.ca_file)
        | dict.fromkeys(_AUTHORITIES, parsers.authorities),
    )
    client_certificate: str | None = _setting(
        parsers.file, variables=_otel("CLIENT_CERTIFICATE", parsers.file)
    )
    client_key: str | None = _setting(parsers.file, variables=_otel("CLIENT_KEY", parsers.file))

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
                except parsers.InvalidValueError as error:
                    problems.append(f"{name} {error}")
                break
    if environment.get(_DISABLED, "").strip().lower() == "true":
        problems.append(
            f"{_DISABLED} is true, and this target would have nothing to do: unset it, or leave "
            f"{NAME} out of the pipeline"
        )
    if not values["endpoint"] and not problems:
        problems.append(f"endpoint is missing: {parsers.WHERE}{_misspelt(config, 'endpoint')}")
    if found := _client_certificate_problem(values["client_certificate"], values["client_key"]):
        problems.append(found)
    if problems:
        variables = (environment.get(name) for name in _otel("HEADERS", parsers.headers))
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


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


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
        found[name] = parsers.from_text(environment[variable], definition.get("type", ()))
        try:
            if name in _PARSERS:
                _PARSERS[name](found[name])
        except parsers.InvalidValueError as problem:
            problems.append(f"{name} (from {variable}) {problem}")
    if problems:
        raise SettingsError(_hiding(problems, found.get("headers")))
    return found


def read_config_file(path: str) -> dict[str, Any]:
    """Return the settings in a file; numbers with a decimal point are Decimals.

    Raises SettingsError if it cannot be read, or holds something else.
    """
    cure = "give --config a file with one JSON object"
    try:
        settings = json.loads(Path(path).read_text("utf-8"), parse_float=Decimal)
    except OSError as error:
        problem = f"{path} cannot be read ({type(error).__name__}): {cure}"
        raise SettingsError([problem]) from None
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise SettingsError([f"{path} does not hold a JSON object: {cure}"])
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
