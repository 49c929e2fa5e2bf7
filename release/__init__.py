"""Releases of this repository's packages, each by itself: the check before one, and a rehearsal."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
