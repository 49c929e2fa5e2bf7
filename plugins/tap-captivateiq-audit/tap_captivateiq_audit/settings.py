"""What a person set, checked once and turned into values."""

from __future__ import annotations

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

from tap_captivateiq_audit.entries import read_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAME = "tap-captivateiq-audit"
API_URL = "https://api.captivateiq.com/ciq/v1"
PER_SECOND, PER_HOUR = 5, 1500
"""What CaptivateIQ's Standard plan allows (vendor's FAQ); Enterprise allows 15 and 6,000."""

_EARLIEST = datetime(1970, 1, 3, tzinfo=UTC)
_PREFIX = NAME.upper().replace("-", "_")
_NO_BATCHES = (
    "cannot be used: a STATE would come before the BATCH that holds its records, and batch files "
    "would bypass stream_maps and the selection of fields: take it out of the settings"
)
_WORDS = {"true", "1", "yes", "on", "false", "0", "no", "off"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run, checked. `api_url` has no last slash; times are UTC."""

    api_token: str = field(repr=False)
    api_url: str
    start: datetime | None
    backfill: bool
    lookback: timedelta
    requests_per_second: int
    requests_per_hour: int
    user_agent: str


class SettingsError(ValueError):
    """Settings that cannot be used: one message each, without a secret in it."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the messages."""
        super().__init__("; ".join(problems))
        self.problems = problems


class _Problem(ValueError):  # noqa: N818  (what it is)
    """What is wrong with one setting, and how to mend it."""


def read_settings(config: Mapping[str, object]) -> Settings:
    """Return the checked settings.

    Raises:
        SettingsError: With every problem found, each naming the setting, what is wrong and how
            to mend it.

    """
    problems: list[str] = []

    def read(name: str, parse: Callable[[object], T], default: T) -> T:
        if config.get(name) is None:
            return default
        try:
            return parse(config[name])
        except _Problem as problem:
            problems.append(f"{name} {problem}")
            return default

    if config.get("api_token") is None:
        problems.append(
            "api_token is missing: make one in CaptivateIQ, in your profile on the tab API Tokens"
        )
    settings = Settings(
        api_token=read("api_token", _token, ""),
        api_url=read("api_url", _url, API_URL),
        start=read("start_date", _time, None),
        backfill=read("backfill", _flag, default=True),
        lookback=timedelta(days=read("lookback_days", _whole(0, 31), 1)),
        requests_per_second=read("requests_per_second", _whole(1, 100), PER_SECOND),
        requests_per_hour=read("requests_per_hour", _whole(1, 100_000), PER_HOUR),
        user_agent=f"{NAME}/{version(NAME)}",
    )
    if config.get("batch_config") is not None:
        problems.append(f"batch_config {_NO_BATCHES}")
    if problems:
        raise SettingsError(problems)
    return settings


def remarks(config: Mapping[str, object], known: Mapping[str, object]) -> list[str]:
    """Return what a person should know about settings that can be used."""
    found = []
    for name in sorted(name for name in config.keys() - known.keys() if config[name] is not None):
        nearest = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f": did you mean {nearest[0]}?" if nearest else ""
        found.append(f"There is no setting {name!r}; it is ignored{hint}")
    if config.get("backfill") is False and config.get("start_date"):
        found.append("start_date is not used while backfill is false")
    return found


def add_dotenv() -> Path | None:
    """Add to the environment what it lacks of a `.env` file, and return the file if it holds any.

    It is the file that the SDK would take: the first in the folders above the SDK's own code, such
    as a project's with the virtual environment in it.

    Raises:
        SettingsError: The file cannot be read.

    """
    for folder in Path(singer_sdk.__file__).parents:
        file = folder / ".env"
        try:
            if file.is_file() or file.is_fifo():
                return file if load_dotenv(file, override=False) else None
        except (OSError, ValueError) as error:
            problem = f"{file} cannot be read ({type(error).__name__}): mend it or take it away"
            raise SettingsError([problem]) from None
    return None


def unusable_variables(environment: Mapping[str, str]) -> list[str]:
    """Return what is wrong with numbers and flags, and batch_config, in environment variables.

    The SDK turns them into values itself: it fails on a bad number without naming it, and takes
    every word that it does not know for false.
    """
    found = []
    for name, is_good, hint in (
        ("lookback_days", str.isdecimal, "write a whole number"),
        ("requests_per_second", str.isdecimal, "write a whole number"),
        ("requests_per_hour", str.isdecimal, "write a whole number"),
        ("backfill", _WORDS.__contains__, "write true or false"),
    ):
        variable = f"{_PREFIX}_{name.upper()}"
        text = environment.get(variable, "").strip().lower()
        if variable in environment and not is_good(text):
            found.append(f"{name} (from {variable}) is {text!r}: {hint}")
    # The SDK passes over what is no setting.
    if environment.get(f"{_PREFIX}_BATCH_CONFIG", "").strip() not in {"", "null"}:
        found.append(f"batch_config (from {_PREFIX}_BATCH_CONFIG) {_NO_BATCHES}")
    return found


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        message = "is no text: write it in quotes"
        raise _Problem(message)
    return value


def _token(value: object) -> str:
    text = _text(value)
    if not (text.isascii() and text.isprintable()) or " " in text:
        message = "has spaces, line breaks or characters that no token has: copy it once more"
        raise _Problem(message)
    return text


def _url(value: object) -> str:
    text = _text(value).strip()
    hint = f"write {API_URL}"
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        message = f"is no URL: {hint}"
        raise _Problem(message) from None
    if url.username or url.password or url.query or url.fragment:
        message = f"has more in it than an address: {hint}"
    elif not url.hostname or port == 0 or not text.isprintable() or " " in text:
        message = f"is no URL: {hint}"
    elif url.scheme != "https" and not (url.scheme == "http" and _is_loopback(url.hostname)):
        message = f"does not begin with https://, and the token must not be seen by others: {hint}"
    else:
        return text.rstrip("/")
    raise _Problem(message)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _time(value: object) -> datetime:
    try:
        time = read_time(_text(value))
    except (ValueError, OverflowError):
        message = f"is {value!r}, which is no date: write 2026-01-31 or 2026-01-31T08:00:00Z"
        raise _Problem(message) from None
    if time < _EARLIEST:
        message = f"is {value!r}, before anything can be: write {_EARLIEST.date()} or later"
        raise _Problem(message)
    return time


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        message = "is neither true nor false"
        raise _Problem(message)
    return value


def _whole(least: int, most: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            message = f"is {value!r}: write a whole number from {least} to {most}"
            raise _Problem(message)
        return value

    return parse
