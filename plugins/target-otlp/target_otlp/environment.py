"""The `.env` file, which adds the variables that the environment lacks."""

from __future__ import annotations

from pathlib import Path

import singer_sdk
from dotenv import load_dotenv

from target_otlp.config import SettingsError


def load_dotenv_file() -> Path | None:
    """Set the variables of a `.env` file that the environment lacks; return the path of the file.

    The file is the one that singer-sdk 0.54 takes with `--config ENV`: the first in the folders
    above the SDK's own, so above the virtual environment too. Returns None if there is none, if it
    is empty, or if python-dotenv's own PYTHON_DOTENV_DISABLED is set.

    Raises:
        SettingsError: The file cannot be read or decoded.

    """
    for folder in Path(singer_sdk.__file__).parents:
        path = folder / ".env"
        try:
            if path.is_file() or path.is_fifo():
                return path if load_dotenv(path, override=False) else None
        except (OSError, ValueError) as error:
            problem = f"Mend {path} or move it away: it cannot be read ({type(error).__name__})"
            raise SettingsError([problem]) from None
    return None
