"""Every config in configs/, in all variants: it builds, and its data is complete."""

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from medssl_jax import resolve
from medssl_jax.run.provenance import plain

CONFIGS = Path(__file__).parents[1] / "configs"
# the fields of config.data that are not the source's
PREPARED = {
    *("shape", "spacing_mm", "resize", "window", "percentiles", "window_hu"),
    *("crop_to_body", "longest_side", "on_error"),
}
FED = PREPARED | {
    *(
        "frames",
        "foreground",
        "most_boxes",
        "workers",
        "cache",
        "balance",
        "sampler",
        "slices",
        "planes",
        "lesion_boxes",
    ),
}
BESIDE_SOURCE = {
    "train": FED,
    "prepare": PREPARED,
    "features": {"on_error"},
    "transfer": {"on_error", "cache"},
    "robustness": {"on_error", "cache"},
    "predict": {"on_error"},
    "evaluate": set(),
}
OF_LABELS = {"label_fraction", "split_seed", "unlabelled"}
OF_METHOD = {
    "supervised": OF_LABELS,
    "segment": OF_LABELS,
    "detect": OF_LABELS,
    "swav": {"known_labels"},
}


def module(name):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


NAMES = sorted(path.stem for path in CONFIGS.glob("*.py"))
VARIANTS = [
    (name, variant)
    for name in NAMES
    for variant in getattr(module(name), "SOURCES", [None])
]


def load(name, variant):
    get_config = module(name).get_config
    return (get_config() if variant is None else get_config(variant)).lock()


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_a_variant_states_every_setting_of_its_source_and_no_other(name, variant):
    config = load(name, variant)
    if config.command == "stages":
        resolve.command(config.command)
        check(config.first, {"fold"})
        check(config.second, {"attention"})
        return
    config = config.get("experiment", config)
    resolve.command(config.command)
    for one in config.get("variants", {}).values():  # trainings of their own
        resolve.command(one.command)
        config = one
    if config.command in ("compare", "export") or variant == "again":
        return
    check(config)


def check(config, of_stage=frozenset()):
    data = plain(config.data)
    beside = BESIDE_SOURCE[config.command] | of_stage
    beside = beside | OF_METHOD.get(config.get("method", {}).get("name"), set())
    if sources := data.pop("sources", None):
        assert data.keys() == beside
        assert all(source.pop("modality") for source in sources)
        for source in sources:
            check_settings(source)
        return
    settings = check_settings({k: v for k, v in data.items() if k not in beside})
    assert beside <= data.keys()
    for role in plain(config.get("splits", {})).values():
        assert role.keys() <= settings or role.keys() <= {"fraction", "only"}


def check_settings(source):
    """Return the settings that a source has; `source` states these, and its name."""
    factory = resolve.factory("medssl_jax.data.sources", source["name"])
    settings = inspect.signature(factory).parameters.keys()
    assert source.keys() == settings | {"name"}
    return settings


@pytest.mark.parametrize("name", NAMES)
def test_a_header_says_how_to_start_it_and_names_only_variants_that_there_are(name):
    found = module(name)
    started = re.findall(r"--config=configs/(\w+)\.py(?::([\w:]+))?", found.__doc__)
    assert name in {other for other, _ in started}
    for other, variant in started:
        known = getattr(module(other), "SOURCES", None)
        assert not variant or known is None or variant in known


def test_an_unknown_variant_is_answered_with_those_that_there_are():
    for name in {name for name, variant in VARIANTS if variant}:
        known = ", ".join(module(name).SOURCES)
        with pytest.raises(ValueError, match=f"'knee'; known: {known}$"):
            load(name, "knee")


def test_radiographs_of_all_views_are_pretrained_on_as_their_release_has_them():
    data = load("simclr", "chexpert").data
    assert (data.view, data.uncertain, data.blank) == ("all", "ignore", "zeros")


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("byol3d", "nifti"),
        ("finetune_mrnet", "nifti"),
        ("simclr", "images"),
        ("micle", "images"),
        ("finetune", "images"),
        ("segment", "nifti"),
    ],
)
def test_training_from_shards_is_training_from_files_otherwise(name, files):
    raw, prepared = (load(name, variant).to_dict() for variant in (files, "shards"))
    for config in (raw, prepared):
        del config["name"]
        config["data"] = {field: config["data"][field] for field in FED}
    assert prepared == raw
