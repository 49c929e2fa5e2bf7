"""With flattening on: every record fits its SCHEMA, and what Sentry sent can be read back."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from tap_sentry_audit.tap import STREAMS
from testing.fake_sentry import FakeSentry, Inventory, Log, entries
from testing.recorded import audit_rows
from testing.sentry_tap import config, run_tap, selecting

if TYPE_CHECKING:
    from testing.forked import Run

Row = dict[str, Any]

ALL = [stream.name for stream in STREAMS]
DEPTHS = pytest.mark.parametrize("depth", [1, 3, 10])
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


def rich_log() -> Log:
    odd = [entries.row(f"odd{number}", number, **row) for number, row in enumerate(ODD)]
    return Log(entries.even(40), rows=[*odd, *audit_rows()])


def rich() -> Inventory:
    acme = Inventory.made(projects=2, teams=2, members=2, releases=2, issues=2, events=2)
    event = acme.events[acme.projects[0]["slug"]][0]
    event["contexts"] = {"app__name": {"a__b": [1]}, "trace": {}}
    event["user"] = None
    for row in (acme.teams[0], acme.members[0], acme.releases[0], acme.issues[0], event):
        row["brandNew"] = {"deep": [{"a__b": None}]}
    return acme


def run(log: Log, *streams: str, catalog: Row | None = None, **options: object) -> Run:
    with FakeSentry({"acme": log}, inventories={"acme": rich()}) as sentry:
        catalog = catalog or selecting(*streams or ["audit_logs"])
        ended = run_tap(config(sentry, **options), catalog=catalog)
    assert ended.returncode == 0, ended.stderr
    assert ended.log("WARNING") == []
    return ended


def flat(depth: int, **options: object) -> Row:
    return {"flattening_enabled": True, "flattening_max_depth": depth, **options}


def exact(ended: Run) -> list[tuple[str, Row]]:
    """Return each record and its stream, numbers exact."""
    lines = ended.stdout.split("\n")
    messages = [json.loads(line, parse_float=Decimal) for line in lines if line]
    return [(one["stream"], one["record"]) for one in messages if one["type"] == "RECORD"]


def schemas(ended: Run) -> dict[str, Row]:
    return {message["stream"]: message["schema"] for message in ended.of_type("SCHEMA")}


def assert_fits(ended: Run) -> None:
    """Every record is valid, and has no field that its SCHEMA does not have."""
    validators = {
        stream: Draft202012Validator(
            schema | {"additionalProperties": False}, format_checker=FormatChecker(["date-time"])
        )
        for stream, schema in schemas(ended).items()
    }
    for message in ended.of_type("RECORD"):
        validators[message["stream"]].validate(message["record"])


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


def assert_read_back(flattened: Run, plain: Run, separator: str = "__") -> None:
    expected, found, declared = exact(plain), exact(flattened), schemas(plain)
    assert len(found) == len(expected) > 0
    for (stream, record), (same, whole) in zip(found, expected, strict=True):
        assert stream == same
        back = read_back(record, declared[stream], separator)
        assert without_address(back) == without_address(whole)


def without_address(record: Row) -> Row:
    """Leave out what holds the server's port."""
    return {name: value for name, value in record.items() if name != "links"}


@DEPTHS
def test_every_record_of_every_stream_fits_its_schema_and_can_be_read_back(depth: int) -> None:
    plain = run(rich_log(), *ALL)
    flattened = run(rich_log(), *ALL, **flat(depth))

    assert_fits(flattened)
    assert_read_back(flattened, plain)


def test_depth_zero_flattens_nothing() -> None:
    plain = run(rich_log(), *ALL)
    zero = run(rich_log(), *ALL, **flat(0))

    assert_fits(zero)
    assert schemas(zero) == schemas(plain)
    assert [without_address(row) for _, row in exact(zero)] == [
        without_address(row) for _, row in exact(plain)
    ]


def test_known_fields_of_a_user_are_columns_with_their_types() -> None:
    row = entries.row("1", 0, actor=entries.user(7))
    ended = run(Log(rows=[row]), **flat(1))

    columns = schemas(ended)["audit_logs"]["properties"]
    [record] = ended.records
    assert columns["actor__email"]["type"] == ["string", "null"]
    assert columns["actor__isActive"]["type"] == ["boolean", "null"]
    assert columns["data"]["type"] == columns["actor__emails"]["type"] == ["string", "null"]
    assert record["actor__email"] == row["actor"]["email"]
    assert record["actor__isActive"] is True
    assert json.loads(record["actor__emails"]) == row["actor"]["emails"]
    assert "actor" not in columns


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    text = st.text(max_size=8)
    numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    leaves = st.none() | st.booleans() | numbers | text
    anything = st.recursive(
        leaves,
        lambda one: st.lists(one, max_size=3) | st.dictionaries(text, one, max_size=3),
        max_leaves=8,
    )
    names = st.sampled_from([*entries.user(1), "flags", "identities", "a__b", "name__x"]) | text
    user = st.none() | st.dictionaries(names, anything, max_size=6)
    fields = {"actor": user, "targetUser": user, "data": anything}
    return [
        entries.row(str(number), number, **draw(st.fixed_dictionaries(fields)))
        for number in range(30)
    ]


@given(rows())
@settings(max_examples=12, deadline=None)
def test_any_json_fits_and_can_be_read_back(drawn: list[Row]) -> None:
    plain = run(Log(rows=drawn), redact_secrets=False)
    flattened = run(Log(rows=drawn), redact_secrets=False, **flat(2))

    assert_fits(flattened)
    assert_read_back(flattened, plain)


def test_numbers_and_odd_characters_stay_exact() -> None:
    text = (
        '{"text": "a \\ud800 b", "\\udfff": 1, "huge": 123456789012345678901234567890,'
        ' "float": 0.1234567890123456789012345, "exponent": 1e400, "nul": "\\u0000", "ü": "李"}'
    )
    log = Log()
    log.put(entries.row("1", 0, data={"there": "HERE"}))
    given_row = next(iter(log._given))  # noqa: SLF001  (no JSON encoder writes these on its own)
    fits, row = log._given[given_row]  # noqa: SLF001
    log._given[given_row] = fits, row.replace('{"there":"HERE"}', text)  # noqa: SLF001
    ended = run(log, **flat(1))

    assert_fits(ended)
    [record] = ended.records
    assert parsed(record["data"]) == {
        "text": "a \\ud800 b",
        "\\udfff": 1,
        "huge": 123456789012345678901234567890,
        "float": Decimal("0.1234567890123456789012345"),
        "exponent": Decimal("1e400"),
        "nul": "\0",
        "ü": "李",
    }


@pytest.mark.parametrize("separator", ["_", ".", "", "____"])
def test_any_separator_will_do(separator: str) -> None:
    plain = run(rich_log(), *ALL)
    flattened = run(rich_log(), *ALL, **flat(3, flattening_separator=separator))

    assert_fits(flattened)
    if separator:
        assert_read_back(flattened, plain, separator)


def test_secrets_are_masked_in_columns_and_in_json_text() -> None:
    token = "5f0e1d2c3b4a59687786a5b4c3d2e1f0"  # noqa: S105  (it is nobody's)
    row = entries.row("1", 0, data={"token": token}, actor={"options": {"secret": token}, "x": 1})
    ended = run(Log(rows=[row]), **flat(1))

    assert token not in ended.stdout + ended.stderr
    [record] = ended.records
    assert parsed(record["data"]) == {"token": "********e1f0"}
    assert parsed(record["actor__options"]) == {"secret": "********e1f0"}


# --- with stream maps and selection


def test_a_stream_map_sees_records_as_they_are_without_flattening() -> None:
    maps = {
        "audit_logs": {
            "is_nobody": "actor == None",
            "who": "(actor['name'] if 'name' in actor else 'x') if actor else '-'",
            "everything": "str(data)",
        }
    }
    some = rich_log()
    plain = run(some, stream_maps=maps)
    flattened = run(some, stream_maps=maps, **flat(3))

    mapped = ("is_nobody", "who", "everything")
    assert [[row[name] for name in mapped] for row in flattened.records] == [
        [row[name] for name in mapped] for row in plain.records
    ]
    assert_read_back(flattened, plain)


@DEPTHS
def test_alias_and_removed_and_replaced_fields_fit(depth: int) -> None:
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
    ended = run(Log(rows=[entries.row("1", 0, **row)]), stream_maps=maps, **flat(depth))

    assert_fits(ended)
    columns = schemas(ended)["log"]["properties"]
    assert not [name for name in columns if name.startswith(("note", "targetUserDetail"))]
    [record] = ended.records
    assert record["actor__id"] == "7"
    assert parsed(record["actor__additionalFields"]) == {"is_new": 1, "isActive": "so"}
    assert parsed(record["copy"]) == parsed(record["data"]) == {"a": [1]}
    assert record["is_new"] == 1


def test_two_maps_of_one_stream_both_fit() -> None:
    maps = {
        "audit_logs": {"extra": "event"},
        "short": {"__source__": "audit_logs", "id": "id", "actor": "actor", "__else__": None},
        "teams": None,
    }
    ended = run(rich_log(), "audit_logs", "teams", stream_maps=maps, **flat(1))

    assert_fits(ended)
    assert schemas(ended).keys() == {"audit_logs", "short"}
    found = {stream: [row for one, row in exact(ended) if one == stream] for stream in ALL}
    assert len(found["audit_logs"]) == len(rich_log())
    assert found["teams"] == []


def test_a_stream_map_that_leaves_all_other_streams_out_still_does() -> None:
    maps: Row = {"audit_logs": {}, "__else__": None}
    ended = run(rich_log(), "audit_logs", "teams", stream_maps=maps, **flat(1))

    assert schemas(ended).keys() == {"audit_logs"}
    assert_fits(ended)


def deselecting(*fields: str, stream: str = "audit_logs") -> Row:
    catalog = selecting(stream)
    off = [[step for name in one.split(".") for step in ("properties", name)] for one in fields]
    for entry in catalog["streams"]:
        for metadata in entry["metadata"]:
            if entry["stream"] == stream and metadata["breadcrumb"] in off:
                metadata["metadata"]["selected"] = False
    return catalog


def test_a_deselected_field_is_in_no_column() -> None:
    secret = "ada@acme.example"  # noqa: S105  (it is no password)
    rows = [
        entries.row("1", 0, actor={"id": "7", "email": secret}, data={}, targetUser=None, note=""),
        # Of another type than usual: it would go where everything else goes.
        entries.row("2", 1, actor={"id": "7", "email": [secret]}, data={}, targetUser=None),
    ]
    catalog = deselecting("actor.email", "ipAddress", "targetUserDetail")
    ended = run(Log(rows=rows), catalog=catalog, **flat(1))

    assert_fits(ended)
    columns = schemas(ended)["audit_logs"]["properties"]
    assert "actor__id" in columns
    assert not {"actor__email", "ipAddress", "targetUserDetail__id"} & columns.keys()
    assert secret not in json.dumps(ended.records)


# --- settings that do not work out


def refused(**options: object) -> list[str]:
    with FakeSentry({"acme": Log([0])}) as sentry:
        ended = run_tap(config(sentry, **options))
        assert sentry.requests == []
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    return ended.log("ERROR")


def test_without_a_depth_flattening_is_refused_in_plain_words() -> None:
    assert refused(flattening_enabled=True)[0] == (
        "flattening_max_depth is required when flattening is enabled"
    )


def test_columns_of_one_name_are_refused_in_plain_words() -> None:
    maps = {"audit_logs": {"actor__name": "event"}}
    for options in ({"flattening_max_key_length": 3}, {"stream_maps": maps}):
        [line, *_] = refused(**flat(1, **options))

        assert line.startswith("Duplicate column name produced in schema: act")
        assert line.endswith(
            ": set another flattening_separator or flattening_max_key_length, "
            "or rename the field that a stream map adds"
        )


# --- a catalog that was made before


@pytest.mark.parametrize("options", [{}, flat(1)], ids=["plain", "flat"])
def test_a_catalog_may_come_from_a_tap_with_or_without_flattening(options: Row) -> None:
    catalog = json.loads(run_tap(options, "--discover").stdout)
    for stream in catalog["streams"]:
        for metadata in stream["metadata"]:
            if not metadata["breadcrumb"]:
                metadata["metadata"]["selected"] = True
    flattened = partial(run, rich_log(), catalog=catalog)
    plain = run(rich_log(), *ALL)

    assert_read_back(flattened(**flat(3)), plain)
    assert_fits(flattened(**flat(3)))
