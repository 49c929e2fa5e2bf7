"""The `.env` file, which adds the variables that the environment lacks."""

from __future__ import annotations

from pathlib import Path

import singer_sdk
from dotenv import load_dotenv

from tap_captivateiq_audit.config import SettingsError


def load_dotenv_file() -> Path | None:
    """Set the variables of a `.env` file that the environment lacks; return the path of the file.

    The file is the one that the SDK would take: the first in the folders above the SDK's own code,
    such as a project's with the virtual environment in it. Returns None if there is none, or if it
    sets nothing.

    Raises:
        SettingsError: The file cannot be read.

    """
    for folder in Path(singer_sdk.__file__).parents:
        file = folder / ".env"
        try:
            if file.is_file() or file.is_fifo():
                return file if load_dotenv(file, override=False) else None
        except (OSError, ValueError) as error:
            problem = f"{file} cannot be read ({type(error).__name__}): mend it or take it away"
            raise SettingsError([problem]) from None
    return None
