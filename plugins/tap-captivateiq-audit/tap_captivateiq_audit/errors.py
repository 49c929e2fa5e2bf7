"""What can go wrong, each as one line for a person, without secrets or entries."""


class ApiError(Exception):
    """The API cannot be read."""


class StateError(Exception):
    """The state that a run is given cannot be used."""
