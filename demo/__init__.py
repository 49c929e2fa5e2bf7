"""The tap at work, against a stand-in for Sentry: `make demo`."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

sys.path.append(str(ROOT / "tests"))  # where the stand-in lives
