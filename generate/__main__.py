"""Regenerate the generated files, and name those that changed."""

from __future__ import annotations

import sys

from generate.files import FILES
from generate.packages import ROOT


def main() -> None:
    """Write each file whose content is out of date."""
    for path, render in FILES.items():
        present = path.read_text("utf-8") if path.exists() else ""
        text = render(present)
        if text != present:
            path.write_text(text, "utf-8")
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
