"""Errors that the user can mend: `main` prints their text without a traceback."""


class UserError(Exception):
    """Something outside the code is wrong; the text says what, where, what to do."""


class ConfigError(UserError):
    """A field of the config cannot be used; the text names the field."""


class Diverged(UserError):
    """A training's numbers are no longer finite; the text says since when."""


class DataError(UserError):
    """A file or row cannot be used: `path` names it, `reason` says why."""

    def __init__(self, path, reason: str):
        super().__init__(str(path), reason)  # both in args: errors cross processes
        self.path = str(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"
