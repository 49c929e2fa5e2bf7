"""A local stand-in for Sentry's organization audit log, for tests and benchmarks."""

from . import entries, faults
from .answers import Answer
from .log import Log
from .server import FakeSentry, Request

__all__ = ["Answer", "FakeSentry", "Log", "Request", "entries", "faults"]
