"""Errors that the user can mend: `main` prints their text without a traceback."""

from typing import NamedTuple


class Part(NamedTuple):
    """What `config.FIELD` calls `name`, and the settings that it cannot do without."""

    field: str
    name: str
    needed: tuple[str, ...]


class UserError(Exception):
    """Something outside the code is wrong; the text says what, where, what to do."""

    def _render_traceback_(self) -> list[str]:
        """Say it in a notebook as `main` does: IPython's protocol."""
        return [f"error: {self}"]


class ConfigError(UserError):
    """A field of the config cannot be used; the text names the field.

    `part` is there where the settings of a part are not those of its `name`.
    """

    def __init__(self, text: str, *, part: Part | None = None):
        super().__init__(text)
        self.part = part


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
