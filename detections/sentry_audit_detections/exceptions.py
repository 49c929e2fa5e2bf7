"""What can go wrong, with a message for the user of the command."""

from __future__ import annotations


class DetectionsError(Exception):
    """The command cannot do what it was asked to; the text gives the cause and the fix."""
