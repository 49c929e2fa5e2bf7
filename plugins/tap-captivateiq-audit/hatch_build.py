"""What PyPI shows of the README: PyPI knows no other file, so links to files become absolute.

Where the repository is, GitHub says in the workflow that releases the package. Built anywhere else,
the README stays as it is. Each package whose README has such links has a copy of this file, because
its source archive must build by itself.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?![a-z]+:|#)(?P<path>[^)\s]+)\)")


class CustomMetadataHook(MetadataHookInterface):
    """Sets the field `readme`; the option `folder` says where in the repository the package is."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set it to README.md, its links made absolute if the repository is known."""
        text = Path(self.root, "README.md").read_text("utf-8")
        repository = os.environ.get("GITHUB_REPOSITORY")
        if repository:
            server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
            tag = f"{metadata['name']}-v{metadata['version']}"
            folder = self.config.get("folder", "")
            text = absolute(text, f"{server}/{repository}", tag, folder)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(text: str, repository: str, tag: str, folder: str) -> str:
    """Return a Markdown text of a folder, its links to files leading to a repository at a tag."""

    def replaced(link: re.Match[str]) -> str:
        view = "raw" if link["image"] else "blob"
        path = posixpath.normpath(posixpath.join(folder, link["path"]))
        return f"{link['image']}[{link['text']}]({repository}/{view}/{tag}/{path})"

    return _LINK.sub(replaced, text)
