"""The SDK's flattening, without its losses.

The SDK (singer-sdk 0.54.9) drops an object whose `properties` are empty from SCHEMA, turns a
field of several types into a string column whatever the value, and lets undeclared fields and
null objects through as columns that SCHEMA lacks. So records are first reshaped to have none of
these: an open object becomes one column of JSON text; in an object with known fields, such as
`actor`, each known field becomes a column of one type, and everything else goes, as JSON text,
into the column of `additionalFields`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.mapper import PluginMapper, RemoveRecordTransform, StreamMap

from tap_sentry_audit.streams.schemas import ADDITIONAL, is_of_type, types_of, usual_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from logging import Logger

    from singer_sdk.helpers._flattening import FlatteningOptions

    from tap_sentry_audit.api.decoding import Json
    from tap_sentry_audit.config import Schema
    from tap_sentry_audit.streams.records import Record


class FlatteningMapper(PluginMapper):
    """The SDK's mapper; if flattening is on, it flattens after the stream maps."""

    def __init__(self, plugin_config: Mapping[str, Any], logger: Logger) -> None:
        """Make a mapper, or raise a ConfigValidationError if `flattening_max_depth` is missing."""
        super().__init__(dict(plugin_config), logger)
        self._options = self.flattening_options
        self.flattening_options = replace(self._options, enabled=False)

    def register_raw_stream_schema(
        self, stream_name: str, schema: Schema, key_properties: Sequence[str] | None
    ) -> None:
        """Make a stream's maps, or raise a ConfigValidationError if two columns share a name."""
        super().register_raw_stream_schema(stream_name, schema, key_properties)
        if self._options.enabled and self._options.max_level > 0:
            self.stream_maps[stream_name] = [
                one if isinstance(one, RemoveRecordTransform) else _Flattened(one, self._options)
                for one in self.stream_maps[stream_name]
            ]


class _Flattened(StreamMap):
    """A stream map that flattens the records of another."""

    def __init__(self, inner: StreamMap, options: FlatteningOptions) -> None:
        schema = _flattenable(inner.transformed_schema, options.max_level)
        keys = inner.transformed_key_properties
        try:
            super().__init__(inner.stream_alias, schema, keys, options)
        except ValueError as error:
            # The SDK's only one here: "Duplicate column name produced in schema: …".
            cure = "set another flattening_separator or flattening_max_key_length"
            problem = f"{error}: {cure}, or rename the field that a stream map adds"
            message = "the settings cannot be used"
            raise ConfigValidationError(message, errors=[problem]) from None
        self._inner = inner

    def transform(self, record: Record) -> Record | None:
        mapped = self._inner.transform(record)
        if mapped is None:
            return None
        properties = self.raw_schema["properties"]
        return super().transform(
            {name: _fitted(value, properties.get(name, {})) for name, value in mapped.items()}
        )

    def get_filter_result(self, record: Record) -> bool:
        return self._inner.get_filter_result(record)


def _flattenable(schema: Schema, depth: int) -> Schema:
    """Return an object's schema with one type for each field, for flattening `depth` levels."""
    properties = {name: _column(field, depth) for name, field in schema["properties"].items()}
    return schema | {"properties": properties}


def _column(field: Schema, depth: int) -> Schema:
    """Return the schema of a field that becomes one column, or several if it is an object."""
    if usual_type(field) == "object" and field.get("properties") and depth > 0:
        known = _flattenable(field, depth - 1)["properties"]
        return field | {"properties": known | {ADDITIONAL: {"type": ["object", "null"]}}}
    column = {name: value for name, value in field.items() if name != "properties"}
    if len(types_of(field)) > 1:
        column["type"] = [usual_type(field), "null"]
    return column


def _fitted(value: Json, field: Schema) -> Json:
    """Return a value that flattens into the columns that `field`, made by `_column`, declares."""
    properties = field.get("properties")
    if properties is None:
        return value
    if value is None:
        # Null columns, where the SDK would write a column that SCHEMA lacks.
        return {}
    known: Record = {}
    rest: Record = {}
    for name, one in (value if isinstance(value, dict) else {"value": value}).items():
        declared = properties.get(name)
        if declared is not None and name != ADDITIONAL and _fits(one, declared):
            known[name] = _fitted(one, declared)
        else:
            rest[name] = one
    # Its empty rest distinguishes an empty object from null.
    return known if known and not rest else known | {ADDITIONAL: rest}


def _fits(value: Json, field: Schema) -> bool:
    if value is None:
        return "properties" not in field
    kind = usual_type(field)
    return kind is None or is_of_type(value, kind)
