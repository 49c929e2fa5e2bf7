"""The cases of every program of this repository, as far as they fit one without a server."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from testing.conformance import Program, conformance_suite
from testing.ocsf_mapper import SCHEMA, lines, record

if TYPE_CHECKING:
    from testing.conformance import Server


@dataclass(frozen=True)
class NoServer:
    """What a program talks to that talks to nobody; its URL is the name of a stream."""

    url: str = "ocsf_events"
    requests: tuple[object, ...] = ()


Suite = conformance_suite(
    Program(
        package="mapper_sentry_ocsf",
        server=lambda: cast("AbstractContextManager[Server]", nullcontext(NoServer())),
        settings={},
        address="output_stream",
        required="",
        number=("", 0, 0),
        flag="split_by_class",
        confidential="",
        unusable="",
        usable="",
        retry_after=lambda _headers, _now: None,
        without_sdk=("config", "events", "signals", "streams", "table"),
        input=lines([SCHEMA, record()]),
    )
)

_OF_OTHERS = (
    *("program.number", "program.confidential", "program.required", "program.retry_after"),
    *("nowhere", "stream_map", "flattening_enabled"),
)


class TestConformance(Suite):  # type: ignore[valid-type,misc]  # the suite is made when it runs
    """Those about numbers, secrets, required settings, servers and the SDK's maps do not fit."""

    for _name, _test in inspect.getmembers(Suite, inspect.isfunction):
        if _name.startswith("test_") and any(
            word in inspect.getsource(_test) + str(_test.__dict__) for word in _OF_OTHERS
        ):
            locals()[_name] = None
