"""What can go wrong, with a message for whoever started the command."""

from __future__ import annotations


class DetectionsError(Exception):
    """The command cannot do what it was asked; the text says why, and what helps."""
