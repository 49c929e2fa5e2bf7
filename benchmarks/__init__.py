"""How fast the tap is: `make bench`."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"

sys.path.append(str(TESTS))  # where the stand-in lives
