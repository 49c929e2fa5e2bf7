"""With flattening on: every record fits its SCHEMA, and what Sentry sent can be read back."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_sentry_audit.audit_log.pages import parse_page
from tap_sentry_audit.streams.schemas import AUDIT_LOGS
from tap_sentry_audit.tap import STREAMS, TapSentryAudit
from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.recorded import audit_rows
from testing.rows import record_of, strict
from testing.sentry_tap import config, run_tap, selecting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from singer_sdk.mapper import StreamMap

    from testing.forked import Run

Row = dict[str, Any]

ALL = [stream.name for stream in STREAMS]
ODD: list[Row] = [
    {"actor": None, "targetUser": None, "data": None, "note": None},
    {"actor": {}, "targetUser": {}, "data": {}},
    {"actor": {"name": "Terraform"}, "targetUser": {"id": 5}},
    {"actor": {"name": None, "somethingNew": {"deep": [1, None]}, "additionalFields": {"a": 1}}},
    {"actor": {"id": 7, "isActive": "yes", "emails": {}, "avatar": "none", "flags": []}},
    {"actor": {"id": "7", "isActive": 1, "has2fa": None, "emails": [{"is_verified": True}]}},
    {"actor": {"id": "7", "actor__name": "x", "name__x": "y", "a__b": {"c__d": 1}, "": 1}},
    {"data": {"data__a": 1, "a": {"b": 1}, "a__b": 2, "actor__name": "no", "": {"": {}}}},
    {"data": [1, "x", None], "actor": "terraform", "targetUser": 3842558},
    {"data": {"n": 2**80, "t": "ü \"\\' \n\t,{}\0 李 \U0001f600", "f": 0.1, "x": [[{}], []]}},
]


def flat(depth: int, **options: object) -> Row:
    return {"flattening_enabled": True, "flattening_max_depth": depth, **options}


# --- reading back


def read_back(record: Row, plain: Row, separator: str = "__") -> Row:
    """Return what was flattened, by the schema that records have without flattening."""
    return {
        name: _field(record, name, declared, separator)
        for name, declared in plain["properties"].items()
        if name in record or declared.get("properties")
    }


def _field(record: Row, name: str, declared: Row, separator: str) -> Any:  # noqa: ANN401
    if name in record:
        value = record[name]
        is_text = "object" in declared["type"] or "array" in declared["type"]
        return parsed(value) if is_text else value
    prefix = name + separator
    fields = {key.removeprefix(prefix): key for key in record if key.startswith(prefix)}
    if not fields:
        return None
    rest = parsed(record[fields.pop("additionalFields")]) if "additionalFields" in fields else {}
    nested = declared["properties"]
    kinds = {key: nested[key]["type"][0] for key in fields}
    return rest | {
        key: parsed(record[column]) if kinds[key] in {"object", "array"} else record[column]
        for key, column in fields.items()
    }


def parsed(text: str | None) -> Any:  # noqa: ANN401
    return None if text is None else json.loads(text, parse_float=Decimal)


# --- records


@cache
def flattening(depth: int, separator: str) -> StreamMap:
    """What flattens the tap's audit entries."""
    options = flat(depth, flattening_separator=separator)
    tap = TapSentryAudit(config={"auth_token": "t", "organization": "acme", **options})
    [flattened] = tap.mapper.stream_maps["audit_logs"]
    return flattened


@st.composite
def rows(draw: st.DrawFn) -> Row:
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    anything = st.recursive(
        st.none() | st.booleans() | numbers | text,
        lambda one: st.lists(one, max_size=3) | st.dictionaries(text, one, max_size=3),
        max_leaves=8,
    )
    names = st.sampled_from([*entries.user(1), "flags", "identities", "a__b", "name__x"]) | text
    user = st.none() | st.dictionaries(names, anything, max_size=6)
    return draw(st.fixed_dictionaries({"actor": user, "targetUser": user, "data": anything}))


def check(row: Row, depth: int, separator: str = "__") -> None:
    plain = record_of(entries.row("1", 0, **row), redact_secrets=False)
    flattened = flattening(depth, separator)
    written = flattened.transform(dict(plain))

    assert written is not None
    strict(flattened.transformed_schema).validate(written)
    assert read_back(written, AUDIT_LOGS, separator) == plain


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("row", ODD)
def test_an_odd_entry_fits_its_schema_and_can_be_read_back(row: Row, depth: int) -> None:
    check(row, depth)


@given(rows(), st.sampled_from([1, 2, 10]), st.sampled_from(["__", "_", ".", "____"]))
@settings(max_examples=60, deadline=None)
def test_any_entry_fits_its_schema_and_can_be_read_back(
    row: Row, depth: int, separator: str
) -> None:
    check(row, depth, separator)


def test_numbers_and_odd_characters_stay_exact() -> None:
    data = (
        '{"text": "a \\ud800 b", "\\udfff": 1, "huge": 123456789012345678901234567890,'
        ' "float": 0.1234567890123456789012345, "exponent": 1e400, "nul": "\\u0000", "ü": "李"}'
    )
    body = f'[{{"id": "1", "dateCreated": "2026-01-01T00:00:00Z", "data": {data}}}]'
    [entry] = parse_page(body.encode(), {}).entries
    written = flattening(1, "__").transform(entry.row)

    assert written is not None
    assert parsed(written["data"]) == {
        "text": "a \\ud800 b",
        "\\udfff": 1,
        "huge": 123456789012345678901234567890,
        "float": Decimal("0.1234567890123456789012345"),
        "exponent": Decimal("1e400"),
        "nul": "\0",
        "ü": "李",
    }


# --- runs


def rich() -> Inventory:
    acme = Inventory.made(projects=2, teams=2, members=2, releases=2, issues=2, events=2)
    event = acme.events[acme.projects[0]["slug"]][0]
    event["contexts"] = {"app__name": {"a__b": [1]}, "trace": {}}
    event["user"] = None
    for row in (acme.teams[0], acme.members[0], acme.releases[0], acme.issues[0], event):
        row["brandNew"] = {"deep": [{"a__b": None}]}
    return acme


def run(catalog: Row, rows: Iterable[Row] = (), **options: object) -> Run:
    """Run the tap over some entries, or over recorded ones."""
    log = Log(rows=rows or audit_rows()[::9])
    with FakeSentry({"acme": log}, inventories={"acme": rich()}) as sentry:
        ended = run_tap(config(sentry, **options), catalog=catalog)
    assert ended.returncode == 0, ended.stderr
    assert ended.log("WARNING") == []
    return ended


def schemas(ended: Run) -> dict[str, Row]:
    return {message["stream"]: message["schema"] for message in ended.of_type("SCHEMA")}


def exact(ended: Run) -> list[tuple[str, Row]]:
    """Return each record and its stream, numbers exact."""
    lines = ended.stdout.split("\n")
    messages = [json.loads(line, parse_float=Decimal) for line in lines if line]
    return [(one["stream"], one["record"]) for one in messages if one["type"] == "RECORD"]


def assert_fits(ended: Run) -> None:
    """Every record is valid, and has no field that its SCHEMA does not have."""
    validators = {stream: strict(schema) for stream, schema in schemas(ended).items()}
    for stream, record in exact(ended):
        validators[stream].validate(record)


def without_address(record: Row) -> Row:
    """Leave out what holds the server's port."""
    return {name: value for name, value in record.items() if name != "links"}


@pytest.mark.parametrize("discovered_with", [{}, flat(1)], ids=["plain", "flat"])
def test_every_stream_fits_its_schema_and_can_be_read_back_whatever_made_the_catalog(
    discovered_with: Row,
) -> None:
    catalog = json.loads(run_tap(discovered_with, "--discover").stdout)
    for stream in catalog["streams"]:
        for metadata in stream["metadata"]:
            if not metadata["breadcrumb"]:
                metadata["metadata"]["selected"] = True
    plain, flattened = run(catalog), run(catalog, **flat(3))

    assert_fits(flattened)
    assert schemas(flattened).keys() == set(ALL)
    declared = schemas(plain)
    for (stream, record), (same, whole) in zip(exact(flattened), exact(plain), strict=True):
        assert stream == same
        assert without_address(read_back(record, declared[stream])) == without_address(whole)


# --- with stream maps and selection


def test_a_map_sees_nested_records_and_what_it_renames_removes_and_replaces_fits() -> None:
    row = {"actor": {"id": "7", "name": "Ada", "isActive": True}, "data": {"a": [1]}}
    maps = {
        "audit_logs": {
            "__alias__": "log",
            "actor": "{'id': actor['id'], 'is_new': 1, 'isActive': 'so'}",
            "note": "__NULL__",
            "targetUserDetail": "__NULL__",
            "copy": "data",
            "is_new": "int(event != note)",
        }
    }
    rows = [entries.row("1", 0, **row)]
    ended = run(selecting("audit_logs"), rows, stream_maps=maps, **flat(1))

    assert_fits(ended)
    columns = schemas(ended)["log"]["properties"]
    assert not [name for name in columns if name.startswith(("note", "targetUserDetail"))]
    [record] = ended.records
    assert record["actor__id"] == "7"
    assert parsed(record["actor__additionalFields"]) == {"is_new": 1, "isActive": "so"}
    assert parsed(record["copy"]) == parsed(record["data"]) == {"a": [1]}
    assert record["is_new"] == 1


def test_maps_may_double_filter_and_leave_out_streams() -> None:
    maps: Row = {
        "audit_logs": {"extra": "event", "__filter__": "id != '2'"},
        "short": {"__source__": "audit_logs", "id": "id", "actor": "actor", "__else__": None},
        "__else__": None,
    }
    rows = [entries.row(str(number), number) for number in range(3)]
    ended = run(selecting("audit_logs", "teams"), rows, stream_maps=maps, **flat(1))

    assert_fits(ended)
    assert schemas(ended).keys() == {"audit_logs", "short"}
    assert sorted((stream, record["id"]) for stream, record in exact(ended)) == [
        *[("audit_logs", key) for key in ("0", "1")],
        *[("short", key) for key in ("0", "1", "2")],
    ]


def test_a_deselected_field_is_in_no_column() -> None:
    hidden = "ada@acme.example"
    rows = [
        entries.row("1", 0, actor={"id": "7", "email": hidden}, data={}, targetUser=None, note=""),
        # Of another type than usual: it would go where everything else goes.
        entries.row("2", 1, actor={"id": "7", "email": [hidden]}, data={}, targetUser=None),
    ]
    catalog = selecting("audit_logs")
    off = [["properties", "actor", "properties", "email"], ["properties", "ipAddress"]]
    for metadata in catalog["streams"][0]["metadata"]:
        if metadata["breadcrumb"] in off:
            metadata["metadata"]["selected"] = False
    ended = run(catalog, rows, **flat(1))

    assert_fits(ended)
    columns = schemas(ended)["audit_logs"]["properties"]
    assert "actor__id" in columns
    assert not {"actor__email", "ipAddress"} & columns.keys()
    assert hidden not in json.dumps(ended.records)


# --- settings that do not work out


def refused(**options: object) -> str:
    with FakeSentry({"acme": Log([0])}) as sentry:
        ended = run_tap(config(sentry, **options))
    assert sentry.requests == []
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    return ended.errors[0]


def test_without_a_depth_flattening_is_refused_in_plain_words() -> None:
    assert refused(flattening_enabled=True) == (
        "flattening_max_depth is required when flattening is enabled"
    )


@pytest.mark.parametrize(
    "options",
    [
        {"flattening_max_key_length": 3},
        {"stream_maps": {"audit_logs": {"actor__name": "event"}}},
    ],
)
def test_columns_of_one_name_are_refused_in_plain_words(options: Row) -> None:
    line = refused(**flat(1, **options))

    assert line.startswith("Duplicate column name produced in schema: act")
    assert line.endswith(
        ": set another flattening_separator or flattening_max_key_length, "
        "or rename the field that a stream map adds"
    )
