"""The settings: one table makes their JSON schema, their defaults and the checks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from importlib.metadata import version
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from dotenv import load_dotenv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAME = "tap-sentry-audit"

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_SLUG = re.compile(r"[A-Za-z0-9_-]+")
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_API_PATH = re.compile(r"/api(/0)?/?$")
_WORDS = {"true", "1", "yes", "on", "false", "0", "no", "off"}

T = TypeVar("T")

Schema = dict[str, Any]
"""A JSON schema; the SDK's own type for it."""


class SettingsError(ValueError):
    """Settings that cannot be used: one message for each problem, none with a secret in it."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the messages."""
        super().__init__("; ".join(problems))
        self.problems = problems


class _ProblemError(ValueError):
    """What is wrong with one setting, and how to correct it."""


def _text(value: object) -> str:
    if not isinstance(value, str):
        message = "is not a text: put it in quotes"
        raise _ProblemError(message)
    if not value.strip():
        message = "is empty: give it a value or leave it out"
        raise _ProblemError(message)
    return value


def _token(value: object) -> str:
    text = _text(value)
    if any(character.isspace() for character in text):
        message = "has spaces or line breaks in it: copy the token alone, without quotes or breaks"
    elif not (text.isascii() and text.isprintable()):
        message = "has characters that no token has: copy it once more"
    elif text.startswith("sntrys_"):
        message = (
            "is an organization auth token (sntrys_…), which cannot read audit logs: use the "
            "token of an internal integration, or a personal token (sntryu_…)"
        )
    else:
        return text
    raise _ProblemError(message)


def _slugs(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value:
        message = 'is not a list of slugs: write ["first", "second"]'
        raise _ProblemError(message)
    slugs = tuple(map(_slug, value))
    for slug in slugs:
        if slugs.count(slug) > 1:
            message = f"names {slug!r} more than once: name it once"
            raise _ProblemError(message)
    return slugs


def _slug(value: object) -> str:
    text = _text(value)
    if not _SLUG.fullmatch(text):
        message = (
            f"is {text!r}, which is no slug: take the part after /organizations/ in Sentry's "
            "address bar (letters, digits, - and _)"
        )
        raise _ProblemError(message)
    return text


def _base_url(value: object) -> str:
    text = _text(value).strip()
    hint = "write a name (sentry.example.com), a name and port, or a URL with http:// or https://"
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        port = parts.port
    except ValueError:
        message = f"is no address: {hint}"
        raise _ProblemError(message) from None
    host = parts.hostname or ""
    if parts.username or parts.password:
        message = f"has a user name or password in it: leave it out and {hint}"
    elif parts.scheme not in {"http", "https"}:
        message = f"starts with {parts.scheme}://: {hint}"
    elif port == 0 or not _is_host(host):
        message = f"is no address: {hint}"
    elif parts.query or parts.fragment or any(c.isspace() for c in text):
        message = f"has more in it than an address: {hint}"
    else:
        prefix = _API_PATH.sub("", parts.path).rstrip("/")
        return f"{parts.scheme}://{parts.netloc}{prefix}"
    raise _ProblemError(message)


def _is_host(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return bool(_HOST_NAME.fullmatch(host))
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _time(value: object) -> datetime:
    message = f"is {value!r}, which is no date: write 2026-01-31 or 2026-01-31T08:00:00Z"
    if not isinstance(value, str) or not _DATE.match(value):
        raise _ProblemError(message)
    import pendulum  # noqa: PLC0415  (a tenth of a second, and most runs have no date to read)

    try:
        time = pendulum.parse(value)
    except ValueError:
        raise _ProblemError(message) from None
    if not isinstance(time, pendulum.DateTime):
        raise _ProblemError(message)
    return datetime.fromtimestamp(time.timestamp(), UTC).replace(microsecond=time.microsecond)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        message = "is neither true nor false"
        raise _ProblemError(message)
    return value


def _whole(least: int, most: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            message = f"is {value!r}: write a whole number from {least} to {most}"
            raise _ProblemError(message)
        return value

    return parse


def _header_text(value: object) -> str:
    text = _text(value)
    if not (text.isascii() and text.isprintable()):
        message = "has characters that an HTTP header cannot carry: use plain ASCII"
        raise _ProblemError(message)
    return text


_SETTING = "setting"


@dataclass(frozen=True, slots=True)
class _Setting:
    """One line of the table: its JSON type, what a person reads, how its value is parsed."""

    parse: Callable[[object], object]
    json: Schema
    cure: str = ""


def _setting(  # noqa: PLR0913  (the columns of the table)
    kind: str,
    parse: Callable[[object], T],
    title: str,
    description: str,
    *,
    default: T,
    cure: str = "",
    is_default_shown: bool = True,
) -> T:
    """Return a field of `Settings`; one with a `cure` is required, and holds a secret."""
    json: Schema = {"type": [kind] if cure else [kind, "null"]}
    json |= {"items": {"type": ["string"]}} if kind == "array" else {}
    json |= {"title": title}
    json |= {"default": default} if is_default_shown and default else {}
    json |= {"description": description}
    json |= {"secret": True, "writeOnly": True} if cure else {}
    return field(default=default, repr=not cure, metadata={_SETTING: _Setting(parse, json, cure)})


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run, checked. `host` is scheme, host and path prefix without a last slash.

    Times are UTC.
    """

    auth_token: str = _setting(
        "string",
        _token,
        "Auth token",
        "Token of an internal integration with Organization: Read & Write, or a "
        "personal token (scope org:write) of an Owner or Manager.",
        cure=(
            "set it to the token of an internal integration with Organization: Read & Write, or "
            "to a personal token of an Owner or Manager"
        ),
        default="",
    )
    organization: str = _setting(
        "string",
        _slug,
        "Organization",
        "Slug of the organization. Exactly one of this and organizations.",
        default="",
    )
    organizations: tuple[str, ...] = _setting(
        "array",
        _slugs,
        "Organizations",
        "Slugs of several organizations, each with a bookmark of its own.",
        default=(),
    )
    host: str = _setting(
        "string",
        _base_url,
        "Host",
        "Where Sentry is: a name, a name and port, or a URL with a path prefix. Audit "
        "logs of sentry.io are there, whatever the organization's region.",
        default="https://sentry.io",
    )
    start_date: datetime | None = _setting(  # noqa: RUF009  (it makes a dataclass field)
        "string",
        _time,
        "Start date",
        "Where a first run begins: a date or date-time. Default: all there is.",
        default=None,
    )
    backfill: bool = _setting(
        "boolean",
        _flag,
        "Backfill",
        "false: a first run reads nothing of the past, records the position, and the "
        "next run goes on from there.",
        default=True,
    )
    end_date: datetime | None = _setting(  # noqa: RUF009  (it makes a dataclass field)
        "string",
        _time,
        "End date",
        "Where to stop, exclusive: for one-off and sharded back-fills.",
        default=None,
    )
    lookback_seconds: int = _setting(
        "integer",
        _whole(0, 31 * 86_400),
        "Lookback",
        "How far before the bookmark each run looks again for late entries.",
        default=3600,
    )
    requests_per_second: int = _setting(
        "integer",
        _whole(1, 1000),
        "Requests per second",
        "Most requests a second; the server's own limit can only lower it.",
        default=40,
    )
    max_concurrent_requests: int = _setting(
        "integer",
        _whole(1, 100),
        "Requests at once",
        "Most requests at once; the server's own limit can only lower it.",
        default=12,
    )
    request_timeout_seconds: int = _setting(
        "integer",
        _whole(1, 600),
        "Request timeout",
        "Seconds to wait for a connection, and for each part of an answer.",
        default=60,
    )
    user_agent: str = _setting(
        "string",
        _header_text,
        "User agent",
        "What the tap calls itself. Default: its name and version.",
        is_default_shown=False,
        default=f"{NAME}/{version(NAME)}",
    )
    redact_secrets: bool = _setting(
        "boolean",
        _flag,
        "Redact secrets",
        "Mask tokens, keys and passwords in every record, all but their last four characters.",
        default=True,
    )

    @property
    def slugs(self) -> tuple[str, ...]:
        """The organizations to read."""
        return self.organizations or (self.organization,)

    @property
    def lookback(self) -> timedelta:
        """How far before the bookmark to read again."""
        return timedelta(seconds=self.lookback_seconds)


_TABLE: dict[str, _Setting] = {each.name: each.metadata[_SETTING] for each in fields(Settings)}

JSON_SCHEMA: Schema = {
    "type": "object",
    "properties": {name: setting.json for name, setting in _TABLE.items()},
    "required": [name for name, setting in _TABLE.items() if setting.cure],
    "$schema": "https://json-schema.org/draft/2020-12/schema",
}


def parse_settings(config: Mapping[str, object]) -> Settings:
    """Return the settings that a configuration holds; one that is None is left at its default.

    Raises:
        SettingsError: With every problem found, each naming the setting, what is wrong and
            how to correct it.

    """
    given = {name: value for name, value in config.items() if value is not None}
    problems: list[str] = []
    parsed: dict[str, Any] = {}
    for name, setting in _TABLE.items():
        if name in given:
            try:
                parsed[name] = setting.parse(given[name])
            except _ProblemError as problem:
                problems.append(f"{name} {problem}")
        elif setting.cure:
            problems.append(f"{name} is missing: {setting.cure}")
    settings = Settings(**parsed)
    if "batch_config" in given:
        problems.append(
            "batch_config cannot be used: the state would go out before the records that it stands "
            "for, and stream maps would not apply to them. Leave it out",
        )
    match sorted({"organization", "organizations"} & given.keys()):
        case []:
            problems.append(
                "organization is missing: set it to the slug of your organization, or "
                "organizations to a list of slugs",
            )
        case [_, _]:
            problems.append("organization and organizations are both set: keep one of them")
    start, end = settings.start_date, settings.end_date
    if start and end and end <= start:
        problems.append("end_date is not after start_date: nothing lies between them")
    if problems:
        raise SettingsError(problems)
    return settings


def remarks(config: Mapping[str, object], settings: Settings, schema: Schema) -> list[str]:
    """Return what a person should know about settings that can be used.

    `schema` is `JSON_SCHEMA`, with the SDK's own settings if they are to be known, too.
    """
    known = schema["properties"]
    found = []
    for name in config.keys() - known.keys():
        nearest = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f": did you mean {nearest[0]}?" if nearest else ""
        found.append(f"There is no setting {name!r}; it is ignored{hint}")
    if not settings.backfill and settings.start_date:
        found.append("start_date is not used while backfill is false")
    host = urlsplit(settings.host)
    if host.scheme == "http" and not _is_loopback(host.hostname or ""):
        found.append(
            f"host: the token goes to {host.netloc} unencrypted; write https:// if it can do that",
        )
    return sorted(found)


def unusable_variables(environment: Mapping[str, str], schema: Schema) -> list[str]:
    """Return what is wrong with numbers and flags in environment variables.

    `schema` is as for `remarks`. The SDK turns variables into values itself: it fails on a bad
    number without naming it, and takes every word that it does not know for false.
    """
    found = []
    for name, definition in schema["properties"].items():
        variable = f"{NAME}_{name}".upper().replace("-", "_")
        text = environment.get(variable, "").strip()
        types = definition.get("type", ())
        if variable not in environment:
            continue
        if "integer" in types and not re.fullmatch(r"[+-]?\d+", text):
            found.append(f"{name} (from {variable}) is {text!r}: write a whole number")
        if "boolean" in types and text.lower() not in _WORDS:
            found.append(f"{name} (from {variable}) is {text!r}: write true or false")
    return found


def load_dotenv_file() -> Path | None:
    """Set the variables of the nearest `.env` file that the environment lacks; return its path.

    The file is looked for where the SDK does: in the folders above its own.

    Raises:
        SettingsError: It cannot be read.

    """
    sdk = find_spec("singer_sdk")
    for folder in Path(sdk.origin).parents if sdk and sdk.origin else ():
        path = folder / ".env"
        if path.is_file():
            try:
                load_dotenv(path, override=False)
            except (OSError, ValueError) as error:
                problem = f"{path} cannot be read ({type(error).__name__}): correct or remove it"
                raise SettingsError([problem]) from None
            return path
    return None
