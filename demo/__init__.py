"""The tap at work, against a stand-in for Sentry: `make demo`."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
