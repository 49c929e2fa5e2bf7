"""The settings: one table that gives their JSON schema, their defaults and their checks."""

from __future__ import annotations

import ast
import json
import re
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from importlib.metadata import version
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from dotenv import load_dotenv

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from ipaddress import IPv4Address, IPv6Address

NAME = "tap-sentry-audit"

DOCUMENTATION = "README.md and docs/ in the source of this package"

_PREFIX = "TAP_SENTRY_AUDIT_"
"""The prefix of environment variables."""

_FIRST_YEAR, _LAST_YEAR = 1900, 2999
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,99}(\.0*)?", re.ASCII)
_TOKEN = re.compile(r"sntry[a-z]_|(?<![0-9A-Za-z])[0-9A-Fa-f]{64}(?![0-9A-Za-z])")
"""What Sentry's tokens look like, the 64 digits those of Sentry 23.7.1."""

_RECOGNIZABLE = 8
"""Characters of a token that cannot be in another text by chance."""

_FLAG_WORDS = dict.fromkeys(("true", "1", "yes", "on"), True)  # as in the SDK
_FLAG_WORDS |= dict.fromkeys(("false", "0", "no", "off"), False)
_NO_BATCHES = (
    "cannot be used: the state would be emitted before the records that it covers, and stream "
    "maps would not apply to them. Leave it out"
)

_MISPLACED = "holds what looks like a token: put it into auth_token, and nowhere else"

T = TypeVar("T")

Schema = dict[str, Any]
"""A JSON schema, typed as the SDK types it."""


class SettingsError(ValueError):
    """The settings are invalid: one message for each problem, none of which contains a secret."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the messages."""
        super().__init__("; ".join(problems))
        self.problems = problems


class _ProblemError(ValueError):
    """What is wrong with one setting, and how to correct it."""


def _refuse(problem: str) -> NoReturn:
    raise _ProblemError(problem)


def _holds_token(value: object, auth_token: object = None) -> bool:
    """Whether a value, or a part of it, is a token, such as the one in the setting for it."""
    if isinstance(value, list | tuple):
        return any(_holds_token(each, auth_token) for each in value)
    text, token = str(value), str(auth_token or "").strip()
    is_in_it = len(token) >= _RECOGNIZABLE and token in text
    return bool(_TOKEN.search(text)) or is_in_it or (bool(token) and text.strip() == token)


def _text(value: object) -> str:
    if not isinstance(value, str):
        _refuse("is not a text: put it in quotes")
    if not value.strip():
        _refuse("is empty: give it a value or leave it out")
    return value


def _token(value: object) -> str:
    text = _text(value)
    if any(character.isspace() for character in text):
        _refuse("has spaces or line breaks in it: copy only the token, without quotes or breaks")
    if not (text.isascii() and text.isprintable()):
        _refuse("has characters that no token has: copy it again")
    if text.startswith("sntrys_"):
        _refuse(
            "is an organization auth token (sntrys_…), which cannot read audit logs: use the "
            "token of an internal integration, or a personal token (sntryu_…)"
        )
    return text


def _slug(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        _refuse(
            f"is {text!r}, which is not a slug: take the part after /organizations/ in Sentry's "
            "address bar (letters, digits, - and _)"
        )
    return text


def _slugs(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value:
        _refuse('is not a list of slugs: write ["first", "second"]')
    slugs = tuple(map(_slug, value))
    for slug in slugs:
        if slugs.count(slug) > 1:
            _refuse(f"names {slug!r} more than once: name it once")
    return slugs


def _base_url(value: object) -> str:
    text = _text(value).strip()
    hint = "write a name (sentry.example.com), a name and port, or a URL with http:// or https://"
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        port = parts.port
    except ValueError:
        _refuse(f"is not an address: {hint}")
    host = parts.hostname or ""
    if parts.username or parts.password:
        _refuse(f"contains a user name or password: leave it out and {hint}")
    if parts.scheme not in {"http", "https"}:
        _refuse(f"starts with {parts.scheme}://: {hint}")
    if port == 0 or not (_ip_address(host) or _HOST_NAME.fullmatch(host)):
        _refuse(f"is not an address: {hint}")
    if parts.query or parts.fragment or any(c.isspace() for c in text):
        _refuse(f"contains more than an address: {hint}")
    prefix = re.sub(r"/api(/0)?/?$", "", parts.path).rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{prefix}"


def _ip_address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _time(value: object) -> datetime:
    problem = f"is {value!r}, which is not a date: write 2026-01-31 or 2026-01-31T08:00:00Z"
    if not isinstance(value, str) or not re.match(r"\d{4}-\d{2}-\d{2}", value):
        _refuse(problem)
    import pendulum  # noqa: PLC0415  (it takes a tenth of a second, and most runs need no dates)

    try:
        time = pendulum.parse(value)
    except ValueError:
        _refuse(problem)
    if not isinstance(time, pendulum.DateTime):
        _refuse(problem)
    # At the ends of the calendar, zones and lookback would lead out of it.
    if not _FIRST_YEAR <= time.year <= _LAST_YEAR:
        _refuse(f"is {value!r}: write a date of the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return datetime.fromtimestamp(time.timestamp(), UTC).replace(microsecond=time.microsecond)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        _refuse(f"is {value!r}: write true or false")
    return value


@dataclass(frozen=True, slots=True)
class _Integer:
    """Parses whole numbers from `least` to `most`."""

    least: int
    most: int

    def __call__(self, value: object) -> int:
        # To a JSON schema 1.0 is an integer, and the SDK reads it as a Decimal.
        if (
            isinstance(value, int | float | Decimal)
            and not isinstance(value, bool)
            and self.least <= value <= self.most
            and not value % 1
        ):
            return int(value)
        shown = value if isinstance(value, Decimal) else repr(value)
        _refuse(f"is {shown}: write a whole number from {self.least} to {self.most}")


def _header_text(value: object) -> str:
    text = _text(value)
    if not (text.isascii() and text.isprintable()):
        _refuse("has characters that an HTTP header cannot carry: use plain ASCII")
    return text


@dataclass(frozen=True, slots=True)
class _Setting:
    """A row of the table: how to parse a value, its JSON schema, and the cure if it is missing."""

    parse: Callable[[object], object]
    json: Schema
    cure: str


_JSON_TYPES = {str: "string", int: "integer", bool: "boolean", tuple: "array"}


def _setting(  # noqa: PLR0913  (the columns of the table)
    parse: Callable[[object], T],
    title: str,
    description: str,
    *,
    default: T,
    example: object,
    cure: str = "",
    shows_default: bool = True,
) -> T:
    """Return a field of `Settings`; one with a `cure` is required, and holds a secret.

    The type of the default decides the JSON type: None stands for a time, which JSON has as text.
    The documentation shows `example`, a JSON value, and a number's range.
    """
    kind = _JSON_TYPES.get(type(default), "string")
    json: Schema = {"type": [kind] if cure else [kind, "null"]}
    json |= {"items": {"type": ["string"]}} if kind == "array" else {}
    json |= {"title": title}
    json |= {"default": default} if shows_default and default else {}
    json |= {"description": description}
    json |= {"secret": True, "writeOnly": True} if cure else {}
    limits = (parse.least, parse.most) if isinstance(parse, _Integer) else None
    metadata = {"row": _Setting(parse, json, cure), "example": example, "range": limits}
    return field(default=default, repr=not cure, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run, checked.

    `host` is the scheme, host and path prefix, without a trailing slash. Times are UTC.
    """

    auth_token: str = _setting(
        _token,
        "Auth token",
        "Token of an internal integration with Organization: Read & Write, or a "
        "personal token (scope org:write) of an Owner or Manager.",
        cure=(
            "set it to the token of an internal integration with Organization: Read & Write, or "
            "to a personal token of an Owner or Manager"
        ),
        default="",
        example="sntryu_0123456789abcdef",
    )
    organization: str = _setting(
        _slug,
        "Organization",
        "Slug of the organization: in Sentry's address bar it comes after /organizations/. Exactly "
        "one of this and organizations.",
        default="",
        example="acme",
    )
    organizations: tuple[str, ...] = _setting(
        _slugs,
        "Organizations",
        "Slugs of several organizations, each with a bookmark of its own.",
        default=(),
        example=["acme", "globex"],
    )
    host: str = _setting(
        _base_url,
        "Host",
        "Where Sentry is: a name, a name and port, or a URL with a path prefix. Audit "
        "logs of sentry.io are there, whatever the organization's region.",
        default="https://sentry.io",
        example="sentry.example.com:8443",
    )
    start_date: datetime | None = _setting(  # noqa: RUF009  (it makes a dataclass field)
        _time,
        "Start date",
        "Where a first run begins, inclusive: a date or date-time, in UTC unless it names a zone. "
        "A bookmark takes precedence. Default: everything.",
        default=None,
        example="2026-01-31",
    )
    backfill: bool = _setting(
        _flag,
        "Backfill",
        "false: a first run reads nothing from the past and records the position; the "
        "next run continues from there.",
        default=True,
        example=False,
    )
    end_date: datetime | None = _setting(  # noqa: RUF009  (it makes a dataclass field)
        _time,
        "End date",
        "Where to stop, exclusive: for one-off and sharded backfills.",
        default=None,
        example="2026-02-28T08:00:00Z",
    )
    lookback_seconds: int = _setting(
        _Integer(0, 31 * 86_400),
        "Lookback",
        "How far before the bookmark each run looks again for late entries.",
        default=3600,
        example=86_400,
    )
    requests_per_second: int = _setting(
        _Integer(1, 1000),
        "Requests per second",
        "Maximum number of requests per second; the server's own limit can only lower it.",
        default=40,
        example=10,
    )
    max_concurrent_requests: int = _setting(
        _Integer(1, 100),
        "Requests at once",
        "Maximum number of requests at once; the server's own limit can only lower it.",
        default=12,
        example=4,
    )
    request_timeout_seconds: int = _setting(
        _Integer(1, 600),
        "Request timeout",
        "Seconds to wait for a connection, and for each part of an answer.",
        default=60,
        example=120,
    )
    request_deadline_seconds: int = _setting(
        _Integer(1, 3600),
        "Request deadline",
        "Seconds that a request may take as a whole, however slowly its answer comes.",
        default=300,
        example=600,
    )
    max_response_mb: int = _setting(
        _Integer(1, 4096),
        "Largest response",
        "Maximum size of one answer in megabytes, uncompressed; a larger one is an error.",
        default=256,
        example=512,
    )
    user_agent: str = _setting(
        _header_text,
        "User agent",
        "What the tap calls itself. Default: its name and version.",
        shows_default=False,
        default=f"{NAME}/{version(NAME)}",
        example="acme security (security@acme.example)",
    )
    redact_secrets: bool = _setting(
        _flag,
        "Redact secrets",
        "Mask tokens, keys and passwords in every record, all but their last four characters.",
        default=True,
        example=False,
    )

    @property
    def slugs(self) -> tuple[str, ...]:
        """The organizations to read."""
        return self.organizations or (self.organization,)

    @property
    def lookback(self) -> timedelta:
        """How far before the bookmark each run reads again."""
        return timedelta(seconds=self.lookback_seconds)


_TABLE: dict[str, _Setting] = {each.name: each.metadata["row"] for each in fields(Settings)}

JSON_SCHEMA: Schema = {
    "type": "object",
    "properties": {name: setting.json for name, setting in _TABLE.items()},
    "required": [name for name, setting in _TABLE.items() if setting.cure],
    "$schema": "https://json-schema.org/draft/2020-12/schema",
}


def parse_settings(config: Mapping[str, object]) -> Settings:
    """Return the settings that a configuration holds; None leaves a setting at its default.

    Raises:
        SettingsError: With every problem: the setting, what is wrong and how to correct it.

    """
    given = {name: value for name, value in config.items() if value is not None}
    problems: list[str] = []
    parsed: dict[str, Any] = {}
    for name, setting in _TABLE.items():
        if name in given:
            try:
                parsed[name] = _parse(name, given[name], given.get("auth_token"))
            except _ProblemError as problem:
                problems.append(f"{name} {problem}")
        elif setting.cure:
            problems.append(f"{name} is missing: {setting.cure}{_misspelt(given, name)}")
    problems += _tokens_elsewhere(given)
    problems += _values_not_given(given)
    settings = Settings(**parsed)
    if "batch_config" in given:
        problems.append(f"batch_config {_NO_BATCHES}")
    slugs = given.keys() & {"organization", "organizations"}
    if not slugs:
        problems.append(
            "organization is missing: set it to the slug of your organization, or "
            f"organizations to a list of slugs{_misspelt(given, 'organization', 'organizations')}"
        )
    elif len(slugs) > 1:
        problems.append("organization and organizations are both set: keep one of them")
    start, end = settings.start_date, settings.end_date
    if start and end and end <= start:
        problems.append("end_date is not after start_date: nothing lies between them")
    if problems:
        raise SettingsError(problems)
    return settings


def parse_slugs(config: Mapping[str, object]) -> tuple[str, ...]:
    """Return the organizations that a configuration names.

    Raises:
        SettingsError: It names none, or one that cannot be used.

    """
    for name in ("organizations", "organization"):
        if config.get(name) is not None:
            slugs = parse_setting(name, config[name], config.get("auth_token"))
            return slugs if isinstance(slugs, tuple) else (str(slugs),)
    hint = _misspelt(config, "organization", "organizations")
    raise SettingsError([f"organization is missing in what --config gives{hint}"])


def parse_setting(name: str, value: object, auth_token: object = None) -> object:
    """Return one setting's value, parsed.

    Raises:
        SettingsError: It cannot be used.

    """
    try:
        return _parse(name, value, auth_token)
    except _ProblemError as problem:
        raise SettingsError([f"{name} {problem}"]) from None


def variable(name: str) -> str:
    """Return the environment variable that gives a setting."""
    return f"{_PREFIX}{name.upper()}"


def _parse(name: str, value: object, auth_token: object) -> object:
    """Return a setting's value, parsed, or raise a _ProblemError, which never shows a token."""
    if name != "auth_token" and _holds_token(value, auth_token):
        _refuse(_MISPLACED)
    return _TABLE[name].parse(value)


def _tokens_elsewhere(given: Mapping[str, object]) -> Iterator[str]:
    """Yield the problem of each setting that is not ours and holds a token.

    The SDK shows what it cannot use of its own settings.
    """
    token = given.get("auth_token")
    for name in given.keys() - _TABLE.keys():
        if _holds_token(_text_of(given[name]), token):
            shown = "a setting" if _holds_token(name, token) else name
            yield f"{shown} {_MISPLACED}"


def _values_not_given(given: Mapping[str, object]) -> Iterator[str]:
    """Yield a problem for each value that stream maps take from stream_map_config in vain.

    Without its salt a hash would hide nothing, or the run would end at the first record.
    """
    values = given.get("stream_map_config")
    streams = given.get("stream_maps")
    for stream, maps in streams.items() if isinstance(streams, dict) else ():
        for key, expression in maps.items() if isinstance(maps, dict) else ():
            for name in _names_in_config(str(expression)):
                if not isinstance(values, dict) or values.get(name) in {None, ""}:
                    yield (
                        f"stream_map_config has no {name}, which stream_maps uses for "
                        f"{stream}.{key}: set it; if it is a salt, to a secret text that you keep"
                    )


def _names_in_config(expression: str) -> Iterator[str]:
    """Yield each name such as `salt` in an expression's `config['salt']`."""
    try:
        nodes = list(ast.walk(ast.parse(expression, mode="eval")))
    except (RecursionError, SyntaxError, ValueError):  # the SDK says what is wrong with it
        return
    for node in nodes:
        match node:
            case ast.Subscript(value=ast.Name(id="config"), slice=ast.Constant(value=str(name))):
                yield name
            case ast.BinOp(left=left, right=right):
                # What `config.get('salt')` is part of needs it, too.
                for side in (left, right):
                    match side:
                        case ast.Call(
                            func=ast.Attribute(value=ast.Name(id="config"), attr="get"),
                            args=[ast.Constant(value=str(name))],
                        ):
                            yield name


def _text_of(value: object) -> str:
    """Return a value as text, without hash seeds, which may look like tokens."""
    if isinstance(value, dict):
        fields = [(key, each) for key, each in value.items() if key != "hash_seed"]
        return " ".join(f"{key} {_text_of(each)}" for key, each in fields)
    return str(value)


def _misspelt(given: Mapping[str, object], *missing: str) -> str:
    """Return a hint at the name that stands where one of the missing ones is meant, if any."""
    for name in sorted(given.keys() - _TABLE.keys()):
        nearest = get_close_matches(name.lower(), missing, n=1)
        if nearest and not _holds_token(name, given.get("auth_token")):
            return f" (there is no setting {name!r}: did you mean {nearest[0]}?)"
    return ""


def remarks(config: Mapping[str, object], settings: Settings, schema: Schema) -> list[str]:
    """Return warnings about settings that are valid.

    `schema` is `JSON_SCHEMA`, or that with the SDK's own settings added.
    """
    known = schema["properties"]
    found = []
    for name in (name for name in config.keys() - known.keys() if config[name] is not None):
        if _holds_token(name, settings.auth_token):
            found.append(f"The name of a setting {_MISPLACED}; it is ignored")
            continue
        nearest = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f": did you mean {nearest[0]}?" if nearest else ""
        found.append(f"There is no setting {name!r}; it is ignored{hint}")
    if not settings.backfill and settings.start_date:
        found.append("start_date is not used while backfill is false")
    host = urlsplit(settings.host)
    name = host.hostname or ""
    ip = _ip_address(name)
    is_local = ip.is_loopback if ip else name == "localhost" or name.endswith(".localhost")
    if host.scheme == "http" and not is_local:
        found.append(
            f"host: the token goes to {host.netloc} unencrypted; write https:// if it can do that",
        )
    return sorted(found)


def parse_variables(environment: Mapping[str, str], schema: Schema) -> dict[str, object]:
    """Return the settings in environment variables, as JSON would have them.

    `schema` is as for `remarks`. The SDK's own conversion fails on a bad number without naming it,
    and takes every word that it does not know for false.

    Raises:
        SettingsError: With every problem: the setting, its variable, what is wrong and the cure.

    """
    found: dict[str, object] = {}
    problems: list[str] = []
    for name, definition in schema["properties"].items():
        variable = f"{_PREFIX}{name.upper()}"
        if variable not in environment:
            continue
        found[name] = _from_text(environment[variable], definition.get("type", ()))
        try:
            if name in _TABLE:
                _parse(name, found[name], environment.get(f"{_PREFIX}AUTH_TOKEN"))
        except _ProblemError as problem:
            problems.append(f"{name} (from {variable}) {problem}")
    # The SDK ignores what is not a setting.
    if environment.get(f"{_PREFIX}BATCH_CONFIG", "").strip() not in {"", "null"}:
        problems.append(f"batch_config (from {_PREFIX}BATCH_CONFIG) {_NO_BATCHES}")
    if problems:
        raise SettingsError(problems)
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
        return text.split(",") if "array" in types else text
    return text


def read_config_file(path: str) -> dict[str, Any]:
    """Return the settings in a file; numbers with a decimal point are Decimals.

    Raises:
        SettingsError: The file cannot be read, or holds something else.

    """
    cure = "give --config a file that holds one JSON object"
    shown = "the value of --config" if _holds_token(path) else path
    try:
        settings = json.loads(Path(path).read_text("utf-8"), parse_float=Decimal)
    except OSError as error:
        problem = f"{shown} cannot be read ({type(error).__name__}): {cure}"
        raise SettingsError([problem]) from None
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise SettingsError([f"{shown} holds no JSON object: {cure}"])
    return settings


def load_dotenv_file() -> Path | None:
    """Set the variables of a `.env` file that the environment lacks; return its path.

    It is the one in the current folder, or else the one that singer-sdk 0.54 takes with
    `--config=ENV`: the first in the folders above the SDK's own, so above the virtual environment
    too. Returns None if there is no such file, if it
    sets nothing, or if python-dotenv's own PYTHON_DOTENV_DISABLED is set.

    Raises:
        SettingsError: The file cannot be read.

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
