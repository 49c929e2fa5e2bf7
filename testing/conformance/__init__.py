"""One table of cases for every program: settings, `Retry-After`, signals, `.env`, errors, layers.

`TestConformance = conformance_suite(Program(...))` in a test file runs it against a program, in the
manner of `singer_sdk.testing`. `Program` holds what differs between them; everything else is a
promise that each of them keeps. This package imports none of them.
"""

from __future__ import annotations

from testing.conformance.dotenv import Dotenv
from testing.conformance.errors import Errors
from testing.conformance.layers import Layers
from testing.conformance.program import EveryProgram, Program, Server
from testing.conformance.retry_after import RetryAfter
from testing.conformance.settings import Flags, NoBatches, Settings
from testing.conformance.signals import Signals, SignalsToTaps

__all__ = ["Program", "Server", "conformance_suite"]


def conformance_suite(program: Program) -> type[EveryProgram]:
    """Return a class with the tests for a program."""
    cases: list[type[EveryProgram]] = [Settings, RetryAfter, Signals, Dotenv, Errors, Layers]
    if program.flag:
        cases.append(Flags)
    if program.is_tap:
        cases += [NoBatches, SignalsToTaps]
    return type("TestConformance", tuple(cases), {"program": program})
