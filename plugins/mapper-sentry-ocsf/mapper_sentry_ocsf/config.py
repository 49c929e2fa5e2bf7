"""The table of settings, which makes the JSON schema, the defaults and the checks."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field, fields
from decimal import Decimal
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dotenv import load_dotenv

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

NAME = "mapper-sentry-ocsf"

SEVERITIES = {
    "Unknown": 0,
    "Informational": 1,
    "Low": 2,
    "Medium": 3,
    "High": 4,
    "Critical": 5,
    "Fatal": 6,
}
"""OCSF's severities by name."""

_PREFIX = "MAPPER_SENTRY_OCSF_"
"""What the names of environment variables begin with."""

_FLAG_WORDS = dict.fromkeys(("true", "1", "yes", "on"), True)  # as in the SDK
_FLAG_WORDS |= dict.fromkeys(("false", "0", "no", "off"), False)


class SettingsError(ValueError):
    """Settings that cannot be used: `problems` has one message each."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the messages."""
        super().__init__("; ".join(problems))
        self.problems = problems


class _InvalidValueError(ValueError):
    """What is wrong with the value of a setting, and how to correct it."""


def _refuse(problem: str) -> NoReturn:
    raise _InvalidValueError(problem)


def _stream(value: object) -> str:
    if not isinstance(value, str):
        _refuse("is not a text: put it in quotes")
    if not value:
        _refuse("is empty: give it a value or leave it out")
    if not value.isprintable() or " " in value:
        _refuse("has spaces or line breaks: write a name such as ocsf_events")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        _refuse(f"is {value!r}: write true or false")
    return value


def _severities(value: object) -> dict[str, int]:
    """Parse severities by event; Meltano turns a name such as org.edit into nested objects."""
    words = _flat(value)
    found = {
        name: SEVERITIES[word]
        for name, given in words.items()
        if (word := str(given).capitalize()) in SEVERITIES
    }
    if wrong := [f"{words[name]!r} for {name}" for name in words if name not in found]:
        *others, last = SEVERITIES
        _refuse(f"has {' and '.join(wrong)}: write {', '.join(others)} or {last}")
    return found


def _flat(value: object) -> dict[str, object]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        _refuse('is no object: write events and severities, such as {"member.invite": "High"}')
    pairs: list[tuple[str, object]] = []
    for name, item in value.items():
        if isinstance(item, dict):
            pairs += [(f"{name}.{inner}", each) for inner, each in _flat(item).items()]
        else:
            pairs.append((name, item))
    found = dict(pairs)
    if len(found) < len(pairs):
        _refuse("has an event twice, with dots and as an object in an object: leave one out")
    return found


_JSON_TYPES = {bool: "boolean", dict: "object"}


def _setting(
    parse: Callable[[object], object],
    title: str,
    description: str,
    default: str | bool | dict[str, Any],  # noqa: FBT001  (a default can be a flag)
    example: object,
) -> Any:  # noqa: ANN401  (a field of the type that `parse` returns)
    """Declare a setting, whose default decides its JSON type. `example` is for documentation."""
    kind = _JSON_TYPES.get(type(default), "string")
    schema: dict[str, object] = {"type": [kind, "null"]}
    schema |= {"properties": {}, "additionalProperties": True} if kind == "object" else {}
    schema |= {"title": title}
    schema |= {} if kind == "object" else {"default": default}
    schema |= {"description": description}
    return field(
        default_factory=lambda: parse(default),
        metadata={"schema": schema, "parse": parse, "example": example, "range": None},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a run, parsed."""

    input_stream: str = _setting(
        _stream,
        "Input stream",
        "The stream of audit entries, if the tap or a stream map has renamed it.",
        "audit_logs",
        example="sentry_audit_logs",
    )
    output_stream: str = _setting(
        _stream,
        "Output stream",
        "The stream of events that takes its place.",
        "ocsf_events",
        example="security_events",
    )
    split_by_class: bool = _setting(
        _flag,
        "Split by class",
        "true: one stream for each class of events, such as ocsf_events_account_change, as Amazon "
        "Security Lake wants it.",
        default=False,
        example=True,
    )
    include_raw_data: bool = _setting(
        _flag,
        "Include raw data",
        "Whether raw_data holds the whole record as JSON text. It makes up half of an event.",
        default=True,
        example=False,
    )
    severity_by_event: Mapping[str, int] = _setting(
        _severities,
        "Severity by event",
        "Other severities than the table's: names of events, and Informational, Low, Medium, High, "
        "Critical, Fatal or Unknown.",
        {},
        example={"member.invite": "High", "rule.edit": "Low"},
    )


JSON_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {each.name: each.metadata["schema"] for each in fields(Settings)},
    "$schema": "https://json-schema.org/draft/2020-12/schema",
}


_PARSERS: dict[str, Callable[[object], object]] = {
    each.name: each.metadata["parse"] for each in fields(Settings)
}


def parse_settings(config: Mapping[str, object]) -> Settings:
    """Return the settings, parsed and checked.

    Raises SettingsError with every problem: the setting, what is wrong, and the cure.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    for name, parse in _PARSERS.items():
        try:
            if config.get(name) is not None:
                values[name] = parse(config[name])
        except _InvalidValueError as error:
            problems.append(f"{name} {error}")
    if problems:
        raise SettingsError(problems)
    return Settings(**values)


def remarks(
    config: Mapping[str, object],
    settings: Settings,
    events: Collection[str],
    environment: Mapping[str, str],
) -> list[str]:
    """Return what a user should know about settings that can be used.

    `events` are the names of those that the table has.
    """
    variable = f"{_PREFIX}SEVERITY_BY_EVENT"
    found = []
    if not settings.severity_by_event and environment.get(variable, "{}").strip("{ }"):
        # Meltano 4.4.1 loses names with dots in variables, without a word.
        found.append(
            f"{variable} is set, but does not count: in Meltano, write objects in objects such as "
            '{"member": {"invite": "High"}} instead of names with dots; elsewhere, give '
            "--config ENV"
        )
    found += [
        f"There is no setting {name!r}; it is ignored{_hint(name, _PARSERS)}"
        for name in sorted(name for name in config.keys() - _PARSERS.keys())
        if config[name] is not None
    ]
    return found + [
        f"severity_by_event: the table has no event {name!r}, but Sentry may{_hint(name, events)}"
        for name in sorted(settings.severity_by_event.keys() - set(events))
    ]


def _hint(name: str, known: Collection[str]) -> str:
    nearest = get_close_matches(name, known, n=1, cutoff=0.5)
    return f": did you mean {nearest[0]}?" if nearest else ""


def parse_variables(environment: Mapping[str, str]) -> dict[str, object]:
    """Return the settings in environment variables, as JSON would have them.

    The SDK's own conversion takes every word that it does not know for false.

    Raises SettingsError with every problem: the setting, its variable, what is wrong, and the cure.
    """
    found: dict[str, object] = {}
    problems: list[str] = []
    for name, definition in JSON_SCHEMA["properties"].items():
        variable = f"{_PREFIX}{name.upper()}"
        if variable not in environment:
            continue
        found[name] = _from_text(environment[variable], definition["type"])
        try:
            _PARSERS[name](found[name])
        except _InvalidValueError as problem:
            problems.append(f"{name} (from {variable}) {problem}")
    if problems:
        raise SettingsError(problems)
    return found


def _from_text(text: str, types: Collection[str]) -> object:
    """Return a variable's text as JSON would have it, or as it is if it is of no such type."""
    word = text.strip()
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
    too. Returns None if there is none, if it sets nothing, or if python-dotenv's own
    PYTHON_DOTENV_DISABLED is set.

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
