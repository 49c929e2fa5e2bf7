"""The tables in Markdown: what stands between `<!-- generated: NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import inspect
import json
import re
from typing import TYPE_CHECKING, Any

from generate.events import areas
from generate.fleet import on_paper
from generate.packages import ROOT, required_groups, settings, streams
from sentry_audit_detections.catalog import detections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from singer_sdk import Stream

    from generate.events import Area, Event
    from generate.packages import Package, Setting
    from sentry_audit_detections.catalog import Detection

_BEGIN, _END = "<!-- generated: ", "<!-- end -->"
_PART = re.compile(rf"({_BEGIN}([\w ]+) -->\n)(?:(?!{_BEGIN}).)*?(?={_END})", re.DOTALL)
_DEFAULT = re.compile(r" ?Default: (.+)\.$")
_NO_DEFAULT = {"required": "none, the setting is required", "": "none"}
_MOST_TYPES = 2
"""The most types, null included, of a field whose type is fixed."""


def filled(package: Package, present: str) -> str:
    """Return a document with its generated parts regenerated, and all else unchanged.

    Raises:
        KeyError: A part has a name that is not in `_PARTS`.
        ValueError: There is no generated part, or one has no end.

    """
    text, count = _PART.subn(lambda part: f"{part[1]}\n{_PARTS[part[2]](package)}\n", present)
    if not 0 < count == present.count(_BEGIN):
        message = f"write {_BEGIN}settings --> or another part's name, and {_END} after each"
        raise ValueError(message)
    return text


def _table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """Return a table; the names of its columns are separated by bars."""
    names = [name.strip() for name in head.split("|")]
    lines = [names, ["---"] * len(names)]
    lines += [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return "".join(
        f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in line)}|\n" for line in lines
    )


def _code(value: Any) -> str:  # noqa: ANN401  (whatever JSON can hold)
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


# Settings


def _settings(package: Package) -> str:
    return _table(
        "setting, environment variable | type | default | what it does | example",
        (
            (_names(each), _type(each), _default(package, each), _text(each), _code(each.example))
            for each in _own(package)
        ),
    )


def _settings_in_full(package: Package) -> str:
    return "\n".join(
        f"### `{each.name}`\n\n"
        f"{_text(each)}\n\n"
        f"- Environment variable: `{each.variable}`\n"
        f"- Type: {_type(each)}\n"
        f"- Default: {_NO_DEFAULT.get(default := _default(package, each), default)}\n"
        f'- Example: `"{each.name}": {json.dumps(each.example)}`\n'
        for each in _own(package)
    )


def _settings_of_the_sdk(package: Package) -> str:
    return _table(
        "setting, environment variable | type | what it does",
        (
            (_names(each), _type(each), each.description)
            for each in settings(package)
            if not each.is_own
        ),
    )


def _own(package: Package) -> list[Setting]:
    return [each for each in settings(package) if each.is_own]


def _names(setting: Setting) -> str:
    return f"`{setting.name}`<br>`{setting.variable}`"


def _type(setting: Setting) -> str:
    limits = "{:,} to {:,}".format(*setting.range) if setting.range else ""
    return ", ".join(filter(None, (setting.kind, limits, "secret" if setting.is_secret else "")))


def _text(setting: Setting) -> str:
    return _DEFAULT.sub("", setting.description)


def _default(package: Package, setting: Setting) -> str:
    if setting.default is not None:
        return _code(setting.default)
    if found := _DEFAULT.search(setting.description):
        return found[1]
    groups = required_groups(package)
    return "required" if groups and all(setting.name in group for group in groups) else ""


# Streams


def _streams(package: Package) -> str:
    return _table(
        "stream | what it holds | key | replication | scopes of the token",
        (
            (_code(each.name), _paragraphs(each)[0], _key(each), _replication(each), _scopes(each))
            for each in streams(package)
        ),
    )


def _streams_in_short(package: Package) -> str:
    return _table(
        "stream | what it holds",
        ((_code(each.name), _paragraphs(each)[0]) for each in streams(package)),
    )


def _streams_in_full(package: Package) -> str:
    return "\n".join(map(_stream_in_full, streams(package)))


def _stream_in_full(stream: Stream) -> str:
    text = "\n\n".join(_paragraphs(stream))
    return (
        f"## `{stream.name}`\n\n"
        f"{text}\n\n"
        f"- Key: {_key(stream)}\n"
        f"- Replication: {_replication(stream)}\n"
        f"- Scopes of the token: {_scopes(stream)}\n"
        f"- Selected by default: {'yes' if stream.selected_by_default else 'no'}\n\n"
        f"{_table('field | type | meaning', _fields(stream.schema['properties']))}"
    )


def _paragraphs(stream: Stream) -> list[str]:
    text = inspect.getdoc(type(stream)) or ""
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def _key(stream: Stream) -> str:
    return ", ".join(map(_code, stream.primary_keys))


def _replication(stream: Stream) -> str:
    return f"incremental by `{stream.replication_key}`" if stream.replication_key else "full"


def _scopes(stream: Stream) -> str:
    return ", ".join(map(_code, getattr(stream, "scopes", ())))


def _fields(properties: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield a row for each field, and for the fields in it: once, where several have the same."""
    seen: dict[str, Any] = {}
    for name, field in properties.items():
        inner = field.get("properties", {})
        same = next((other for other, fields in seen.items() if inner and fields == inner), None)
        text = [field.get("description", ""), f"Fields as in `{same}`." if same else ""]
        yield _code(f"{prefix}{name}"), _field_type(field), " ".join(filter(None, text))
        if not same:
            seen[name] = inner
            yield from _fields(inner, f"{prefix}{name}.")


def _field_type(field: dict[str, Any]) -> str:
    types = [field["type"]] if isinstance(field["type"], str) else field["type"]
    usual = ", ".join(filter(None, (types[0], field.get("format"))))
    if len(types) > _MOST_TYPES:
        return f"usually {usual}"
    return f"{usual} or null" if "null" in types else usual


# Events


def _events(_: Package) -> str:
    return "\n".join(map(_area, areas()))


def _area(area: Area) -> str:
    rows = (
        (_code(name), each.meaning, each.target_object or "", each.target_user or "", _origin(each))
        for name, each in area.events.items()
    )
    notes = [f"- `{name}`: {each.note}\n" for name, each in area.events.items() if each.note]
    parts = [
        f"## {area.title}\n",
        _table("event | what the actor did | `targetObject` | `targetUser` | known from", rows),
        "".join(notes),
        *_data(area),
    ]
    return "\n".join(filter(None, parts))


def _origin(event: Event) -> str:
    words = {"since": event.since, "until": event.until, "only on": event.only_on}
    return ", ".join([event.evidence, *(f"{word} {of}" for word, of in words.items() if of)])


def _data(area: Area) -> Iterator[str]:
    """Yield for each shape of data the events that have it, and the keys."""
    alike: dict[str, list[str]] = {}
    for name, event in area.events.items():
        alike.setdefault(_keys(event), []).append(_code(name))
    for keys, names in alike.items():
        yield f"`data` of {', '.join(names)} {keys}"


def _keys(event: Event) -> str:
    if event.data is None:
        return "is not known.\n"
    if not event.data and not event.sometimes:
        return "is empty.\n"
    mark = ", sometimes" if event.data else ""
    rows = [(_code(key), text) for key, text in event.data.items()]
    rows += [(f"{_code(key)}{mark}", text) for key, text in event.sometimes.items()]
    lead = "holds these keys:" if event.data else "holds some of these keys:"
    return f"{lead}\n\n{_table('key | what it holds', rows)}"


# Detections


def _detections(_: Package) -> str:
    rows = (
        (each.number, each.title, each.severity, _sigma_rule(each), _recorded(each))
        for each in detections()
    )
    return "\n".join(
        [
            _table("number | title | severity | Sigma rule | recorded", rows),
            *map(_detection, detections()),
        ]
    )


def _detection(each: Detection) -> str:
    lines = [f"May also be: {each.false_positives}", f"Reads: {each.events}"]
    lines += [f"Note: {each.note}"] if each.note else []
    lines += [f"In Sentry's documentation: [{each.link}]({each.link})"]
    points = "".join(f"- {line}\n" for line in lines)
    return f"## {each.number} {each.title}\n\n{each.meaning}\n\n{points}".replace("*", r"\*")


def _sigma_rule(detection: Detection) -> str:
    path = ROOT / "detections" / "sigma" / f"{detection.number}-{detection.name}.yml"
    return "yes" if path.exists() else ""


def _recorded(detection: Detection) -> str:
    """Return whether a Sentry wrote an entry that it finds."""
    path = ROOT / "detections" / "tests" / "cases" / f"{detection.number}-{detection.name}.jsonl"
    cases = map(json.loads, path.read_text("utf-8").splitlines())
    found = any(each["expect"] == "hit" and each["origin"] == "recorded" for each in cases)
    return "yes" if found else ""


# Fleets


def _fleet_on_paper(_: Package) -> str:
    return _table("| 100 organizations | 1,000 | 10,000", on_paper())


_PARTS: dict[str, Callable[[Package], str]] = {
    "detections": _detections,
    "events": _events,
    "settings": _settings,
    "settings in full": _settings_in_full,
    "settings of the SDK": _settings_of_the_sdk,
    "streams": _streams,
    "streams in short": _streams_in_short,
    "streams in full": _streams_in_full,
    "fleet on paper": _fleet_on_paper,
}
