"""The table of settings, which makes the JSON schema, the defaults and the checks."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from dotenv import load_dotenv

from tap_captivateiq_audit.entries import parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

NAME = "tap-captivateiq-audit"
API_URL = "https://api.captivateiq.com/ciq/v1"

_PREFIX = "TAP_CAPTIVATEIQ_AUDIT_"
"""The prefix of environment variables."""

_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,99}(\.0*)?", re.ASCII)
_FLAG_WORDS = dict.fromkeys(("true", "1", "yes", "on"), True)  # as in the SDK
_FLAG_WORDS |= dict.fromkeys(("false", "0", "no", "off"), False)
_RECOGNIZABLE = 8
"""Characters of a token that cannot be in another text by chance."""

_EARLIEST = datetime(1970, 1, 3, tzinfo=UTC)
_WRITE_URL = f"write {API_URL}"
_NO_URL = f"is not a URL: {_WRITE_URL}"
_NO_BATCHES = (
    "cannot be used: a STATE would come before the BATCH that holds its records, and batch files "
    "would bypass stream_maps and the selection of fields: take it out of the settings"
)


class SettingsError(ValueError):
    """Settings that cannot be used: `problems` has one message each, without secrets."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the messages."""
        super().__init__("; ".join(problems))
        self.problems = problems


class _InvalidValueError(ValueError):
    """What is wrong with the value of a setting, and how to correct it."""


def _refuse(problem: str) -> NoReturn:
    raise _InvalidValueError(problem)


def _text(value: object) -> str:
    if not isinstance(value, str):
        _refuse("is not a text: put it in quotes")
    if not value.strip():
        _refuse("is empty: give it a value or leave it out")
    return value


def _token(value: object) -> str:
    text = _text(value)
    if not (text.isascii() and text.isprintable()) or " " in text:
        _refuse("has spaces, line breaks or characters that no token has: copy it again")
    return text


def _url(value: object) -> str:
    text = _text(value).strip()
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        _refuse(_NO_URL)
    host = url.hostname or ""
    if url.username or url.password or url.query or url.fragment:
        _refuse(f"contains more than an address: {_WRITE_URL}")
    if not host or port == 0 or not text.isprintable() or " " in text:
        _refuse(_NO_URL)
    if url.scheme != "https" and not (url.scheme == "http" and _is_loopback(host)):
        _refuse(f"does not start with https://, so others could see the token: {_WRITE_URL}")
    return text.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _time(value: object) -> datetime:
    try:
        time = parse_time(_text(value))
    except (ValueError, OverflowError):
        _refuse(f"is {value!r}, which is not a date: write 2026-01-31 or 2026-01-31T08:00:00Z")
    if time < _EARLIEST:
        _refuse(f"is {value!r}, before any entry can exist: write {_EARLIEST.date()} or later")
    return time


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        _refuse(f"is {value!r}: write true or false")
    return value


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


_JSON_TYPES = {bool: "boolean", int: "integer"}


def _setting(  # noqa: PLR0913  (the columns of the table)
    parse: Callable[[object], object],
    title: str,
    description: str,
    default: object = None,
    *,
    example: object,
    missing: str = "",
) -> Any:  # noqa: ANN401  (a field of the type that `parse` returns)
    """Declare a setting, whose default decides its JSON type: text, unless it is a flag or number.

    A setting with a text for `missing` is required and secret. The documentation shows `example`, a
    JSON value, and a number's range.
    """
    kind = _JSON_TYPES.get(type(default), "string")
    schema: dict[str, object] = {"type": [kind] if missing else [kind, "null"], "title": title}
    schema |= {} if default is None else {"default": default}
    schema |= {"description": description}
    schema |= {"secret": True, "writeOnly": True} if missing else {}
    limits = (parse.least, parse.most) if isinstance(parse, _Whole) else None
    shown = {"example": example, "range": limits}
    metadata = {"schema": schema, "parse": parse, "missing": missing, **shown}
    return field(default=default, repr=not missing, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a run, parsed. `api_url` has no trailing slash; times are in UTC."""

    api_token: str = _setting(
        _token,
        "API token",
        "Create it in CaptivateIQ: in your profile, on the tab API Tokens.",
        example="0123456789abcdef",
        missing="make one in CaptivateIQ, in your profile on the tab API Tokens",
    )
    start_date: datetime | None = _setting(  # noqa: RUF009  (it declares a field)
        _time,
        "Start date",
        "Where a first run begins: a date or date-time, in UTC unless it names a zone. Default: "
        "everything.",
        example="2026-01-31",
    )
    backfill: bool = _setting(
        _flag,
        "Backfill",
        "false: a first run reads nothing from the past and records the position; the next run "
        "continues from there.",
        default=True,
        example=False,
    )
    lookback_days: int = _setting(
        _Whole(0, 31),
        "Lookback",
        "How many days before the bookmark each run looks again for late entries.",
        default=1,
        example=7,
    )
    # The defaults are what the Standard plan allows (vendor's FAQ).
    requests_per_second: int = _setting(
        _Whole(1, 100),
        "Requests per second",
        "Maximum number of requests per second: 5 on the Standard plan, 15 on Enterprise.",
        default=5,
        example=15,
    )
    requests_per_hour: int = _setting(
        _Whole(1, 100_000),
        "Requests per hour",
        "Maximum number of requests per hour: 1,500 on the Standard plan, 6,000 on Enterprise.",
        default=1500,
        example=6000,
    )
    api_url: str = _setting(
        _url,
        "API URL",
        "Where the API is: an https URL, or an http URL of this machine.",
        default=API_URL,
        example="http://localhost:8080/ciq/v1",
    )

    @property
    def lookback(self) -> timedelta:
        """How far before the bookmark a run looks again."""
        return timedelta(days=self.lookback_days)


JSON_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {each.name: each.metadata["schema"] for each in fields(Settings)},
    "required": [each.name for each in fields(Settings) if each.metadata["missing"]],
    "$schema": "https://json-schema.org/draft/2020-12/schema",
}


_PARSERS: dict[str, Callable[[object], object]] = {
    each.name: each.metadata["parse"] for each in fields(Settings)
}


def _hiding(messages: list[str], token: object) -> list[str]:
    """Return messages without the token, which may have been pasted into another setting too."""
    text = str(token or "").strip()
    is_recognizable = len(text) >= _RECOGNIZABLE
    return [message.replace(text, "…") if is_recognizable else message for message in messages]


def parse_settings(config: Mapping[str, object]) -> Settings:
    """Return the settings, parsed and checked.

    Raises SettingsError with every problem: the setting, what is wrong, and the cure.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    for each in fields(Settings):
        value = config.get(each.name)
        try:
            if value is not None:
                values[each.name] = each.metadata["parse"](value)
            elif each.metadata["missing"]:
                cure = f"{each.metadata['missing']}{_misspelt(config, each.name)}"
                problems.append(f"{each.name} is missing: {cure}")
        except _InvalidValueError as error:
            problems.append(f"{each.name} {error}")
    if config.get("batch_config") is not None:
        problems.append(f"batch_config {_NO_BATCHES}")
    if problems:
        raise SettingsError(_hiding(problems, config.get("api_token")))
    return Settings(**values)


def _misspelt(config: Mapping[str, object], missing: str) -> str:
    """Return a hint at the name that stands where the missing one is meant, if any."""
    for name in sorted(
        name for name in config.keys() - _PARSERS.keys() if config[name] is not None
    ):
        if get_close_matches(name.lower(), [missing], n=1):
            return f" (there is no setting {name!r}: did you mean {missing}?)"
    return ""


def remarks(config: Mapping[str, object], known: Mapping[str, object]) -> list[str]:
    """Return what a user should know about settings that can be used.

    `known` has the properties of `JSON_SCHEMA`, and those that the SDK adds.
    """
    found = []
    for name in sorted(name for name in config.keys() - known.keys() if config[name] is not None):
        nearest = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f": did you mean {nearest[0]}?" if nearest else ""
        found.append(f"There is no setting {name!r}; it is ignored{hint}")
    if config.get("backfill") is False and config.get("start_date"):
        found.append("start_date is not used while backfill is false")
    return _hiding(found, config.get("api_token"))


def parse_variables(
    environment: Mapping[str, str], known: Mapping[str, dict[str, Any]]
) -> dict[str, object]:
    """Return the settings in environment variables, as JSON would have them.

    `known` is as for `remarks`. The SDK's own conversion fails on a bad number without naming it,
    and takes every word that it does not know for false.

    Raises SettingsError with every problem: the setting, its variable, what is wrong, and the cure.
    """
    found: dict[str, object] = {}
    problems: list[str] = []
    for name, definition in known.items():
        variable = f"{_PREFIX}{name.upper()}"
        if variable not in environment:
            continue
        found[name] = _from_text(environment[variable], definition.get("type", ()))
        try:
            if name in _PARSERS:
                _PARSERS[name](found[name])
        except _InvalidValueError as problem:
            problems.append(f"{name} (from {variable}) {problem}")
    # The SDK ignores what is not a setting.
    if environment.get(f"{_PREFIX}BATCH_CONFIG", "").strip() not in {"", "null"}:
        problems.append(f"batch_config (from {_PREFIX}BATCH_CONFIG) {_NO_BATCHES}")
    if problems:
        raise SettingsError(_hiding(problems, environment.get(f"{_PREFIX}API_TOKEN")))
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
