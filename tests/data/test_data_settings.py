"""The data of a config, written out: it has every field, and no other."""

import functools
import inspect
from dataclasses import dataclass

import pytest
from ml_collections import ConfigDict

from medssl_jax import resolve
from medssl_jax.data import settings
from medssl_jax.data.host import HostTransform
from medssl_jax.data.order import roles
from medssl_jax.errors import ConfigError
from medssl_jax.run import task

SOURCES = "medssl_jax.data.sources"


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (
            {"name": "nifti"},
            {
                "name": "nifti",
                "root": "",
                "labels": "",
                "unlisted": "raise",
                "only": "",
                "classes": (),
                "masks": "",
                "unmasked": "raise",
                "channels": 1,
                "orientation": "SPL",
            },
        ),
        (
            {"name": "npz", "patients": "id"},  # texts of its own, kept
            {
                "name": "npz",
                "root": "",
                "images": "images",
                "labels": "labels",
                "patients": "id",
                "names": "",
                "findings": "",
                "channels_last": False,
                "only": "",
            },
        ),
        (
            {"name": "phantom_slices", "count": 3, "seed": 7, "size_pixels": (8, 9)},
            {
                "name": "phantom_slices",
                "count": 3,
                "seed": 7,
                "size_pixels": (8, 9),
                "images_per_patient": (1, 4),
                "tear_fraction": 0.5,
                "scanner": "mr",
                "masks": False,
            },
        ),
        (
            {"name": "shards", "split": "train"},  # required, and chosen
            {"name": "shards", "root": "", "split": "train"},
        ),
    ],
)
def test_a_source_has_all_its_settings_in_their_order(stated, expected):
    found = settings.source(**stated)
    assert found == expected
    assert list(found) == list(expected)


@pytest.mark.parametrize("name", resolve.known(SOURCES))
def test_every_source_can_be_named_with_what_it_requires_beside_text(name):
    numbers = {"phantom": {"size_voxels": (1, 2, 3)}}
    for flat in ("phantom_slices", "phantom_chests"):
        numbers[flat] = {"size_pixels": (2, 3)}
    for deep in ("phantom_heads", "phantom_brains"):
        numbers[deep] = {"size_voxels": (1, 2, 3)}
    chosen = numbers.get(name, {})
    found = settings.source(name, **{"count": 1, "seed": 0, **chosen} if chosen else {})
    assert found.pop("name") == name
    inspect.signature(resolve.factory(SOURCES, name)).bind(**found)
    assert all(
        type(value) in (str, bool, int, float, tuple) for value in found.values()
    )


def test_what_is_required_and_no_text_has_to_be_stated():
    with pytest.raises(TypeError, match="source phantom: .*'seed'"):
        settings.source("phantom", count=3, size_voxels=(4, 5, 6))


def test_a_typing_error_is_no_new_setting():
    with pytest.raises(TypeError, match="source images: .*'channel'"):
        settings.source("images", channel="rgb")
    with pytest.raises(TypeError, match="windows"):
        settings.training({}, windows="none")
    with pytest.raises(ConfigError, match="'image'.*images"):
        settings.source("image")


def test_the_data_of_a_training_is_its_source_and_how_it_is_fed():
    found = ConfigDict(
        settings.training({"name": "npy", "root": ""}, workers=2, frames="random")
    )
    assert found.to_dict() == {
        "name": "npy",
        "root": "",
        "shape": None,
        "frames": "random",
        "spacing_mm": None,
        "resize": None,
        "crop_to_body": False,
        "longest_side": None,
        "window": "none",
        "percentiles": (0.5, 99.5),
        "window_hu": None,
        "foreground": 0.0,
        "most_boxes": 0,
        "workers": 2,
        "cache": "",
        "on_error": "raise",
        "balance": "",
        "sampler": "shuffled",
        "slices": {"of_each": 0, "axis": 0, "neighbours": 0},
        "planes": "",
        "lesion_boxes": 0,
    }


def fed(order, *, cache, on_error="raise"):
    """Stand for a part of which only what is keyword-only is a setting."""


@dataclass
class Size:
    """Stand for a part of which everything is a setting."""

    shape: tuple
    window: str = "none"


def test_settings_go_to_the_part_whose_signature_has_them_and_the_rest_to_the_source():
    stated = {"name": "npy", "shape": (8, 8), "cache": "c", "order": 1, "window": "hu"}
    of_size, of_fed, rest = settings.divide(stated, Size, fed)
    assert of_size == {"shape": (8, 8), "window": "hu"}
    assert of_fed == {"cache": "c"}
    assert rest == {"name": "npy", "order": 1}  # what the code gives is the source's
    assert len(stated) == 5
    given = functools.partial(Size, (8, 8))
    assert settings.divide(stated, given)[0] == {"window": "hu"}


def test_a_trainings_data_is_divided_without_rest():
    parts = HostTransform, roles.sources, task._Batching
    for name in ("phantom", "images"):  # phantoms have a seed of their own
        source = {"name": name} | dict.fromkeys(
            inspect.signature(resolve.factory(SOURCES, name)).parameters
        )
        data = settings.training(source, shape=(8, 8)) | {"label_fraction": 0.5}
        *_, rest = settings.divide(data, *parts)
        assert rest == source


@pytest.mark.parametrize("field", ["shape", "spacing_mm", "resize", "window_hu"])
def test_a_field_that_is_not_set_takes_a_tuple_and_nothing_else(field):
    found = ConfigDict(settings.training({})).lock()
    with pytest.raises(TypeError):
        found[field] = "(1, 2)"
    found[field] = (1, 2)
    assert ConfigDict(settings.training({}))[field] is None  # of its own config only
