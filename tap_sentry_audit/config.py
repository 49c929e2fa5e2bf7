"""What a person set, checked once and turned into values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import singer_sdk
from dotenv import load_dotenv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tap_sentry_audit.streams.schemas import Schema

NAME = "tap-sentry-audit"
DEFAULT_HOST = "https://sentry.io"

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_SLUG = re.compile(r"[A-Za-z0-9_-]+")
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_API_PATH = re.compile(r"/api(/0)?/?$")
_WORDS = {"true", "1", "yes", "on", "false", "0", "no", "off"}

T = TypeVar("T")


class SettingsError(ValueError):
    """Settings that cannot be used: one message each, without a secret in it."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the messages."""
        super().__init__("; ".join(problems))
        self.problems = problems


class _Problem(ValueError):  # noqa: N818  (what it is)
    """What is wrong with one setting, and how to mend it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run, checked.

    `base_url` is scheme, host and path prefix without a last slash; times are UTC.
    """

    auth_token: str = field(repr=False)
    organizations: tuple[str, ...]
    base_url: str
    start: datetime | None
    end: datetime | None
    backfill: bool
    lookback: timedelta
    requests_per_second: int
    max_concurrent_requests: int
    request_timeout_seconds: int
    user_agent: str
    redact_secrets: bool


def load_dotenv_file() -> Path | None:
    """Set the variables of the nearest `.env` file that the environment lacks; return its path.

    The file is looked for where the SDK does: in the folders above its own.

    Raises:
        SettingsError: It cannot be read.

    """
    for folder in Path(singer_sdk.__file__).parents:
        path = folder / ".env"
        if path.is_file():
            try:
                load_dotenv(path, override=False)
            except (OSError, ValueError) as error:
                problem = f"{path} cannot be read ({type(error).__name__}): correct or remove it"
                raise SettingsError([problem]) from None
            return path
    return None


def read_settings(config: Mapping[str, object]) -> Settings:
    """Return the checked settings of a tap's configuration.

    Raises:
        SettingsError: With every problem found, each naming the setting, what is wrong and
            how to mend it.

    """
    problems: list[str] = []
    no_slugs: tuple[str, ...] = ()

    def read(name: str, parse: Callable[[object], T], default: T) -> T:
        value = config.get(name)
        if value is None:
            return default
        try:
            return parse(value)
        except _Problem as problem:
            problems.append(f"{name} {problem}")
            return default

    if config.get("auth_token") is None:
        problems.append(
            "auth_token is missing: set it to the token of an internal integration with "
            "Organization: Read & Write, or to a personal token of an Owner or Manager",
        )
    settings = Settings(
        auth_token=read("auth_token", _token, ""),
        organizations=read("organization", _organization, no_slugs)
        + read("organizations", _organizations, no_slugs),
        base_url=read("host", _base_url, DEFAULT_HOST),
        start=read("start_date", _time, None),
        end=read("end_date", _time, None),
        backfill=read("backfill", _flag, default=True),
        lookback=timedelta(seconds=read("lookback_seconds", _whole(0, 31 * 86_400), 3600)),
        requests_per_second=read("requests_per_second", _whole(1, 1000), 40),
        max_concurrent_requests=read("max_concurrent_requests", _whole(1, 100), 12),
        request_timeout_seconds=read("request_timeout_seconds", _whole(1, 600), 60),
        user_agent=read("user_agent", _header_text, f"{NAME}/{version(NAME)}"),
        redact_secrets=read("redact_secrets", _flag, default=True),
    )
    if config.get("batch_config") is not None:
        problems.append(
            "batch_config cannot be used: the state would go out before the records that it stands "
            "for, and stream maps would not apply to them. Leave it out",
        )
    if config.get("organization") is None and config.get("organizations") is None:
        problems.append(
            "organization is missing: set it to the slug of your organization, or "
            "organizations to a list of slugs",
        )
    if config.get("organization") is not None and config.get("organizations") is not None:
        problems.append("organization and organizations are both set: keep one of them")
    if settings.start and settings.end and settings.end <= settings.start:
        problems.append("end_date is not after start_date: nothing lies between them")
    if problems:
        raise SettingsError(problems)
    return settings


def remarks(config: Mapping[str, object], schema: Schema) -> list[str]:
    """Return what a person should know about settings that can be used."""
    known = schema["properties"]
    found = []
    for name in config.keys() - known.keys():
        nearest = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f": did you mean {nearest[0]}?" if nearest else ""
        found.append(f"There is no setting {name!r}; it is ignored{hint}")
    if config.get("backfill") is False and config.get("start_date"):
        found.append("start_date is not used while backfill is false")
    host = urlsplit(read_settings(config).base_url)
    if host.scheme == "http" and not _is_loopback(host.hostname or ""):
        found.append(
            f"host: the token goes to {host.netloc} unencrypted; write https:// if it can do that",
        )
    return sorted(found)


def unusable_variables(environment: Mapping[str, str], schema: Schema) -> list[str]:
    """Return what is wrong with numbers and flags in environment variables.

    The SDK turns them into values itself: it fails on a bad number without naming it, and
    takes every word that it does not know for false.
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


def _text(value: object) -> str:
    if not isinstance(value, str):
        message = "is not a text: put it in quotes"
        raise _Problem(message)
    if not value.strip():
        message = "is empty: give it a value or leave it out"
        raise _Problem(message)
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
    raise _Problem(message)


def _organization(value: object) -> tuple[str, ...]:
    return (_slug(value),)


def _organizations(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value:
        message = 'is not a list of slugs: write ["first", "second"]'
        raise _Problem(message)
    slugs = tuple(map(_slug, value))
    for slug in slugs:
        if slugs.count(slug) > 1:
            message = f"names {slug!r} more than once: name it once"
            raise _Problem(message)
    return slugs


def _slug(value: object) -> str:
    text = _text(value)
    if not _SLUG.fullmatch(text):
        message = (
            f"is {text!r}, which is no slug: take the part after /organizations/ in Sentry's "
            "address bar (letters, digits, - and _)"
        )
        raise _Problem(message)
    return text


def _base_url(value: object) -> str:
    text = _text(value).strip()
    hint = "write a name (sentry.example.com), a name and port, or a URL with http:// or https://"
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        port = parts.port
    except ValueError:
        message = f"is no address: {hint}"
        raise _Problem(message) from None
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
    raise _Problem(message)


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
        raise _Problem(message)
    import pendulum  # noqa: PLC0415  (a tenth of a second, and most runs have no date to read)

    try:
        time = pendulum.parse(value)
    except ValueError:
        raise _Problem(message) from None
    if not isinstance(time, pendulum.DateTime):
        raise _Problem(message)
    return datetime.fromtimestamp(time.timestamp(), UTC).replace(microsecond=time.microsecond)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        message = "is neither true nor false"
        raise _Problem(message)
    return value


def _whole(least: int, most: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            message = f"is {value!r}: write a whole number from {least} to {most}"
            raise _Problem(message)
        return value

    return parse


def _header_text(value: object) -> str:
    text = _text(value)
    if not (text.isascii() and text.isprintable()):
        message = "has characters that an HTTP header cannot carry: use plain ASCII"
        raise _Problem(message)
    return text
