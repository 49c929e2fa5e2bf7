"""Make a moving picture of the bar and of `make demo`: `make picture`."""

from __future__ import annotations

import sys
from html import escape
from typing import TYPE_CHECKING

from demo import ROOT
from testing.fake_sentry import FakeSentry, Log, entries
from testing.sentry_tap import TOKEN
from testing.terminal import run_on_a_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

PICTURE = ROOT / "docs" / "terminal.svg"

COLUMNS = 80
ENTRIES = 40_000
FRAMES = 24

_PROMPT = "$ tap-sentry-audit --config=ENV | target-jsonl"
_SECONDS = 0.4
_LAST_SECONDS = 6.0
_CHARACTER = 8.4
_LINE = 18
_MARGIN = 14

_STYLE = """
rect { fill: #161b22 }
text { font: 14px ui-monospace, Menlo, Consolas, monospace; fill: #e6edf3; white-space: pre }
g { visibility: hidden; animation-iteration-count: infinite; animation-timing-function: step-end }
"""


def main() -> None:
    """Run the tap on a terminal, then the demo, and draw both."""
    frames = [[_PROMPT, *lines] for lines in _bar()]
    ended = frames[-1]
    frames.append([*ended, "$ make demo", *_demo()])
    PICTURE.write_text(draw(frames), "utf-8")
    sys.stdout.write(f"{PICTURE.relative_to(ROOT)} has {len(frames)} frames\n")


def _bar() -> list[list[str]]:
    """Return what a terminal shows while the tap reads a large organization."""
    log = Log(entries.even(ENTRIES))
    with FakeSentry({"acme": log}, latency=0.1, rate_limit=40) as sentry:
        variables = {
            "TAP_SENTRY_AUDIT_AUTH_TOKEN": TOKEN,
            "TAP_SENTRY_AUDIT_ORGANIZATION": "acme",
            "TAP_SENTRY_AUDIT_HOST": sentry.url,
        }
        tap = [sys.executable, "-m", "tap_sentry_audit", "--config=ENV"]
        screens = run_on_a_terminal(tap, COLUMNS, variables).screens
    return [*screens[:: max(1, len(screens) // FRAMES)], screens[-1]]


def _demo() -> list[str]:
    seen = run_on_a_terminal([sys.executable, "-m", "demo"], COLUMNS)
    return seen.stdout.splitlines()


def draw(frames: Sequence[Sequence[str]]) -> str:
    """Return an SVG that shows frames of lines, one after the other, again and again."""
    width = round(COLUMNS * _CHARACTER + 2 * _MARGIN)
    height = max(map(len, frames)) * _LINE + 2 * _MARGIN
    whole = (len(frames) - 1) * _SECONDS + _LAST_SECONDS
    styles, groups = [_STYLE], []
    for number, lines in enumerate(frames):
        begin = number * _SECONDS / whole * 100
        end = (number + 1) * _SECONDS / whole * 100 if number < len(frames) - 1 else 100.0
        styles.append(
            f"@keyframes f{number} {{ 0% {{ visibility: hidden }} "
            f"{begin:.2f}% {{ visibility: visible }} {end:.2f}% {{ visibility: hidden }} }}\n"
            f"#f{number} {{ animation: f{number} {whole:.1f}s step-end infinite }}\n"
        )
        rows = (
            f'<text x="{_MARGIN}" y="{_MARGIN + (row + 0.8) * _LINE:.1f}">{escape(line)}</text>'
            for row, line in enumerate(lines)
            if line
        )
        groups.append(f'<g id="f{number}">{"".join(rows)}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'aria-label="tap-sentry-audit in a terminal">\n'
        f"<style>{''.join(styles)}</style>\n"
        f'<rect width="{width}" height="{height}" rx="8"/>\n{chr(10).join(groups)}\n</svg>\n'
    )


if __name__ == "__main__":
    main()
