"""A Meltano project for a demo, with the plugins of this checkout and a state of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from demo import ROOT

OUR_VARIABLES = ("MELTANO", "TAP_SENTRY_AUDIT", "TARGET_")


@dataclass(frozen=True, slots=True)
class Project:
    """A project in a folder, whose log file takes what Meltano says."""

    folder: Path
    settings: dict[str, str]

    @property
    def log(self) -> Path:
        """Where Meltano's messages are."""
        return self.folder / "meltano.log"

    def start_afresh(self) -> None:
        """Make the project anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        plugins = self.folder / ".meltano"
        plugins.mkdir(parents=True)
        for kind in ("extractors", "loaders"):
            (plugins / kind).symlink_to(ROOT / ".meltano" / kind)
        shutil.copy(ROOT / "meltano.yml", self.folder)

    def meltano(self, *arguments: str, **settings: str) -> int:
        """Run Meltano without the settings of whoever runs the demo; return its exit code."""
        own = {n: v for n, v in os.environ.items() if not n.startswith(OUR_VARIABLES)}
        command = [str(Path(sys.executable).with_name("meltano")), *arguments]
        with self.log.open("a", encoding="utf-8") as file:
            return subprocess.run(  # noqa: S603
                command,
                cwd=self.folder,
                env={**own, "MELTANO_AUTO_INSTALL": "false", **self.settings, **settings},
                stdout=file,
                stderr=file,
                check=False,
            ).returncode
