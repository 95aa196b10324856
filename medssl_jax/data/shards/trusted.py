"""What a folder of TFDS may have imported: nothing but TFDS's own features."""

from pathlib import Path
from typing import Any

from medssl_jax.errors import DataError
from medssl_jax.files import read_json

FEATURES = "features.json"
_CLASS, _KNOWN = "pythonClassName", "tensorflow_datasets.core.features."


def check_features(folder: Path) -> None:
    """Refuse a folder whose features.json names classes that are not TFDS's.

    TFDS imports whatever stands there, which runs the module's code.

    Raises:
      DataError: naming the file and the class, or if it is missing or damaged.
    """
    path = folder / FEATURES
    for name in _classes(read_json(path, "prepare again")):
        if not (isinstance(name, str) and name.startswith(_KNOWN)):
            text = f"names the class {name!r}, which is none of TFDS's features"
            raise DataError(path, f"{text}; it is not imported")


def _classes(value: Any):
    if isinstance(value, dict):
        if _CLASS in value:
            yield value[_CLASS]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _classes(inner)
