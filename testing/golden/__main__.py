"""Compare or write the golden files: see the package's docstring."""

from __future__ import annotations

import argparse
import sys

from testing.golden.cases import CASES
from testing.golden.corpus import difference, path, played


def main() -> int:
    parser = argparse.ArgumentParser(prog="golden")
    parser.add_argument("--write", action="store_true", help="regenerate the files")
    parser.add_argument("prefix", nargs="?", default="", help="how the cases' names begin")
    asked = parser.parse_args()
    names = [name for name in CASES if name.startswith(asked.prefix)]
    if not names:
        parser.error(f"no case begins with {asked.prefix!r}: there are {', '.join(CASES)}")
    found = 0
    for name in names:
        lines = played(name)
        if asked.write:
            path(name).write_text("".join(f"{line}\n" for line in lines), "utf-8")
        elif problem := difference(name, lines):
            found += 1
            sys.stdout.write(f"{name}: {problem}\n")
    sys.stdout.write(f"{len(names)} cases, {found} of them differ\n")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
