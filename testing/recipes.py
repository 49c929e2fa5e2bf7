"""The code blocks of the documentation, each behind a comment `<!-- test: name -->`."""

from __future__ import annotations

import re


def block(name: str, text: str) -> str:
    """Return the one block with this name in a Markdown text."""
    [found] = re.findall(
        rf"^<!-- test: {re.escape(name)} -->\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
    )
    return str(found)
