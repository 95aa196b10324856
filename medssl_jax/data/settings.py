"""What a config states of its data: every field, so that any can be set by a flag."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from medssl_jax import resolve

# by variant: the sources that a command which trains nothing can read; channels that
# are left open, 0 or "", are those that the model was trained on (`following`)
ANY = {
    "nifti": {"name": "nifti", "channels": 0},
    "itk": {"name": "itk", "channels": 0},
    "msd": {"name": "msd"},
    "dicom": {"name": "dicom"},
    "npy": {"name": "npy"},
    "npz": {"name": "npz"},
    "images": {"name": "images", "channels": ""},
    "medmnist": {"name": "medmnist", "split": "test"},
    "mrnet": {"name": "mrnet", "split": "valid", "plane": "sagittal", "task": "acl"},
    "chexpert": {
        "name": "chexpert",
        "split": "valid",
        "uncertain": "ignore",
        "blank": "zeros",
    },
    "aptos": {"name": "aptos"},
    "phantom_slices": {
        "name": "phantom_slices",
        "count": 256,
        "seed": 9,
        "size_pixels": (64, 64),
    },
    "shards": {"name": "shards", "split": "train"},
}


def source(name: str, **chosen: Any) -> dict[str, Any]:
    """Return the settings of the source `name`: all that its factory's signature has.

    A required text that is not chosen is "", for a flag to fill.

    Raises:
      ConfigError: if there is no such source.
      TypeError: if it has no such setting, or requires one that is neither text nor
        chosen.
    """
    factory = resolve.factory("medssl_jax.data.sources", name)
    signature = inspect.signature(factory, eval_str=True)
    empty = {f.name: "" for f in signature.parameters.values() if _is_text(f)}
    try:
        bound = signature.bind(**empty | chosen)
    except TypeError as error:
        raise TypeError(f"source {name}: {error}") from None
    bound.apply_defaults()
    return {"name": name, **bound.arguments}


def mixture(*of_each: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of several sources: what `source` takes, and a `modality`."""
    stated = []
    for one in of_each:
        chosen = {field: value for field, value in one.items() if field != "modality"}
        stated.append(ConfigDict(source(**chosen) | {"modality": one["modality"]}))
    return {"sources": tuple(stated)}


def following(settings: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a source's settings with a model's channels, where these are left open.

    `spec` is the saved model's; those of before 0.1.0 do not say, and have 1.
    """
    if settings.get("channels") in ("", 0):
        return {**settings, "channels": spec.get("channels", 1)}
    return dict(settings)


def training(settings: dict[str, Any], **chosen: Any) -> dict[str, Any]:
    """Return a training config's data: the source's settings, and how it is fed.

    What is not chosen does nothing: no resampling, window, balance or cache.

    Raises:
      TypeError: if a chosen field is none of those of every training config.
    """
    feeding = {
        "shape": config_dict.placeholder(tuple),
        "frames": "all",
        "spacing_mm": config_dict.placeholder(tuple),
        "resize": config_dict.placeholder(tuple),
        "crop_to_body": False,
        "longest_side": config_dict.placeholder(int),
        "window": "none",
        "percentiles": (0.5, 99.5),
        "window_hu": config_dict.placeholder(tuple),
        "foreground": 0.0,
        "most_boxes": 0,
        "workers": 0,
        "cache": "",
        "on_error": "raise",
        "balance": "",
        "sampler": "shuffled",
        "slices": {"of_each": 0, "axis": 0, "neighbours": 0},
        "planes": "",
        "lesion_boxes": 0,
    }
    if unknown := chosen.keys() - feeding.keys():
        raise TypeError(f"no field of a training config's data: {sorted(unknown)}")
    return settings | feeding | chosen


def divide(settings: Mapping[str, Any], *parts: Callable) -> list[dict[str, Any]]:
    """Divide settings: to each part those that its signature has, then the rest.

    A part's settings are its keyword-only parameters, or all where it has none. The
    rest of `config.data` is the source's, which refuses what it does not know.
    """
    rest, divided = dict(settings), []
    for part in parts:
        parameters = inspect.signature(part).parameters.values()
        only = [field for field in parameters if field.kind is field.KEYWORD_ONLY]
        names = [field.name for field in only or parameters]
        divided.append({name: rest.pop(name) for name in names if name in rest})
    return [*divided, rest]


def _is_text(field: inspect.Parameter) -> bool:
    return field.default is field.empty and field.annotation is str
