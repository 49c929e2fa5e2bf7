"""What can go wrong with the API."""


class ApiError(Exception):
    """The API cannot be read. The text is one line for a person, without secrets or entries."""
