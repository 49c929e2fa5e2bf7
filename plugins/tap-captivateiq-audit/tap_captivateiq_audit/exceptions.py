"""What can go wrong: each message is one line for a user, without secrets or entries."""


class ApiError(Exception):
    """The API cannot be read."""


class StateError(Exception):
    """The state that a run is given cannot be used."""
