"""The environment, and the file that stands in for what it lacks."""

from __future__ import annotations

from pathlib import Path

import singer_sdk
from dotenv import load_dotenv

FILE = ".env"


class EnvironmentFileError(ValueError):
    """The file cannot be used. The text says what to do, and holds nothing of the file."""


def fill_environment() -> Path | None:
    """Set the variables that the environment lacks as a file says, and return the file's path.

    It is the one that singer-sdk 0.54 looks for with `--config ENV`: the first `.env` in the
    folders above the SDK's own, so above the virtual environment too. Returns None where there is
    none, it is empty, or python-dotenv's own PYTHON_DOTENV_DISABLED is set.

    Raises:
        EnvironmentFileError: It cannot be read or decoded.

    """
    for folder in Path(singer_sdk.__file__).parents:
        path = folder / FILE
        try:
            if path.is_file() or path.is_fifo():
                return path if load_dotenv(path, override=False) else None
        except (OSError, ValueError) as error:
            message = f"Mend {path} or move it away: it cannot be read ({type(error).__name__})"
            raise EnvironmentFileError(message) from None
    return None
