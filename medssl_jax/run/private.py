"""Paths name their users: what of them is written where others read it."""

import re
from pathlib import Path
from typing import Any

_FOLDERS = re.compile(
    r"(?<![\w.])(?:~|[A-Za-z]:)?[/\\](?:[^'\",=]*[/\\])?(?=[^'\",=/\\])"
)


def without_folders(text: str) -> str:
    """Leave of each absolute path in a text, quoted or after a `=`, its last part.

    For run.json and the report, which are shown to others.
    """
    return _FOLDERS.sub("…/", text)


def without_home(value: Any) -> Any:
    """Write the user's home as ~ in all texts of a config; `with_home` undoes it.

    For config.json, which commands open the same data by.
    """
    return _in_texts(value, lambda text: _moved(text, str(Path.home()), "~"))


def with_home(value: Any) -> Any:
    """Return a config as it was before `without_home`, also for another user's home."""
    return _in_texts(value, lambda text: _moved(text, "~", str(Path.home())))


def _moved(text, old, new):
    below = text == old or text.startswith((f"{old}/", f"{old}\\"))
    return new + text[len(old) :] if below else text


def _in_texts(value, change):
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _in_texts(inner, change) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_in_texts(inner, change) for inner in value)
    return value
