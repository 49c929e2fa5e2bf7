"""Catalog files: what the SDK could not explain is refused in words."""

from __future__ import annotations

from typing import IO, Any

import msgspec
from singer_sdk.exceptions import SingerSDKError


class CatalogError(SingerSDKError):
    """A stream cannot be read as its catalog says; the text says what to change."""


class _CatalogStream(msgspec.Struct):
    tap_stream_id: str
    schema: dict[str, Any]


class _Catalog(msgspec.Struct):
    streams: list[_CatalogStream]


def read_catalog_file(file: IO[str]) -> str:
    """Return the text of a catalog file, or raise a CatalogError where the SDK would fail."""
    text = ""
    problem: object
    try:
        text = file.read()
        msgspec.json.decode(text, type=_Catalog)
    except UnicodeDecodeError:
        problem = "its file is not UTF-8 text"
    except RecursionError:
        problem = "it is nested too deeply"
    except msgspec.ValidationError as error:
        problem = error
    except msgspec.DecodeError as error:
        problem = f"its file is not JSON: {error}"
    else:
        return text
    message = f"the catalog cannot be used ({problem}): create it again with --discover"
    raise CatalogError(message)
