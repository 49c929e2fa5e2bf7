"""Check a release, or rehearse all of them: see `make help`."""

import argparse
import sys

from release import ROOT
from release.check import check
from release.packages import ReleaseError
from release.rehearsal import rehearse

FOLDER = ROOT / "dist" / "release"


def main() -> None:
    """Do what the command line says; a release that must not be ends with exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check").add_argument("tag", help="such as target-otlp-v0.2.0")
    commands.add_parser("rehearse")
    asked = parser.parse_args()
    try:
        if asked.command == "check":
            package = check(asked.tag, ROOT, FOLDER)
            archives = sorted(path.name for path in FOLDER.glob("packages/*.[wt]*"))
            _say(f"{package.tag} can be released: {', '.join(archives)}\n")
            _say((FOLDER / "notes.md").read_text(encoding="utf-8").rstrip())
        else:
            rehearse(ROOT)
    except ReleaseError as error:
        sys.exit(f"Error: {error}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
