"""A local stand-in for Sentry: an organization's audit log and what else it has."""

from . import entries, faults
from .answers import Answer
from .inventory import Inventory
from .log import Log
from .releases import ReleaseList
from .server import FakeSentry, Request

__all__ = [
    "Answer",
    "FakeSentry",
    "Inventory",
    "Log",
    "ReleaseList",
    "Request",
    "entries",
    "faults",
]
