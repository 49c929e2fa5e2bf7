"""Draw docs/page.png: the page over the demo's log, in Chromium. `make page-picture`."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from browser import CHROMIUM, chromium, served

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "output" / "page"
PICTURE = ROOT / "docs" / "page.png"


def main() -> None:
    """Open the page, and take a picture of it."""
    if CHROMIUM is None:
        sys.exit("This needs Chromium: apt-get install chromium")
    place = {
        "SENTRY_AUDIT_PAGE_DATABASE": "output/page/audit.duckdb",
        "MELTANO_DATABASE_URI": f"sqlite:///{DEMO}/.meltano/meltano.db",
        # The demo's export may have run long ago.
        "SENTRY_AUDIT_PAGE_OVERDUE_MINUTES": "100000",
    }
    with served(ROOT, **place) as address, chromium(1360, 900) as page:
        page.goto(address)
        page.get_by_test_id("stDataFrame").wait_for()
        # Until nothing moves any longer.
        page.wait_for_timeout(3000)
        page.screenshot(path=PICTURE)
    # A page has few colours.
    Image.open(PICTURE).convert("RGB").quantize(128).save(PICTURE, optimize=True)
    sys.stdout.write(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size // 1000} kB\n")


if __name__ == "__main__":
    main()
