"""dataset.json of the Medical Segmentation Decathlon: what a folder's files are."""

import json
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from medssl_jax.data.table import refuse_any
from medssl_jax.errors import DataError

FILE = "dataset.json"
_FIELDS = {"labels": dict, "modality": dict, "training": list, "test": list}
_EXAMPLES = {
    "labels": '{"0": "background", "1": "tumour"}',
    "training": '{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}',
    "test": '"./imagesTs/a.nii.gz"',
}


class Decathlon(NamedTuple):
    """The cases of a folder.

    classes: name of each value of a mask, by value, rising from 0, the background.
    channels: of every image.
    masks: of the training cases, by the image's name; both relative to the folder.
    test: names of the other images.
    """

    classes: dict[int, str]
    channels: int
    masks: dict[str, str]
    test: list[str]


def read_decathlon(root: str) -> Decathlon:
    """Read root/dataset.json.

    Raises:
      DataError: naming it, if it is missing or damaged, lacks a field, or has in one
        what the decathlon has not, such as a case twice.
    """
    if not root:
        raise DataError("data.root", f"is empty; name the folder that holds {FILE}")
    path = Path(root) / FILE
    fields = _load(path)
    pairs = [_training(path, case) for case in fields["training"]]
    test = [_name(path, "test", image) for image in fields["test"]]
    for names in ([image for image, _ in pairs], test):
        twice = [name for name, count in Counter(names).items() if count > 1]
        refuse_any(str(path), "case(s) that it lists twice", twice)
    return Decathlon(_classes(path, fields), len(fields["modality"]), dict(pairs), test)


def _load(path):
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        text = "is missing; data.root names the folder that holds it"
        raise DataError(path, text) from None
    except (OSError, ValueError) as error:
        raise DataError(path, f"is no readable JSON ({error})") from error
    fields = {"test": []} | fields if isinstance(fields, dict) else {}
    for field, kind in _FIELDS.items():
        if not isinstance(fields.get(field), kind):
            what = "list" if kind is list else "mapping"
            raise DataError(path, f"has no {what} {field!r}, which the decathlon's has")
    if not fields["modality"]:
        raise DataError(path, "names no channel under 'modality'")
    return fields


def _training(path, case):
    if not isinstance(case, dict) or not {"image", "label"} <= case.keys():
        raise _unlike(path, "training", case)
    return tuple(_name(path, "training", case[key]) for key in ("image", "label"))


def _name(path, field, name):
    if not isinstance(name, str) or not name:
        raise _unlike(path, field, name)
    return PurePosixPath(name).as_posix()  # without the ./ that they begin with


def _classes(path, fields):
    labels = fields["labels"]
    if not all(value.isdecimal() for value in labels) or "0" not in labels:
        raise _unlike(path, "labels", labels)
    return {int(value): str(labels[value]) for value in sorted(labels, key=int)}


def _unlike(path, field, found):
    text = f"has {found!r} under {field!r}, where the decathlon has"
    return DataError(path, f"{text} {_EXAMPLES[field]}")
