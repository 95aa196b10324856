"""A proxy task's encoder is what segmentation and grading start from, frozen at first."""

import json

import numpy as np
import pytest
import tiny_run
from safetensors.numpy import load_file
from test_configs import load

from medssl_jax.commands import train
from medssl_jax.errors import ConfigError
from medssl_jax.protocols import label_efficiency
from medssl_jax.saved import encoder

pytestmark = pytest.mark.slow
# each task once, in 3D or in 2D, of whole images and of patches
TASKS = ("rotation", "jigsaw_2d", "relative_patch_location_2d", "exemplar", "cpc_2d")
SIDE = 12  # cells of 4, patches of 3
MODEL = {"width": 2, "levels": 2}


def shrink(config):
    ndim = len(config.data.shape)
    size = "size_voxels" if ndim == 3 else "size_pixels"
    config.data.update({"count": 16, "cache": "", "shape": (SIDE,) * ndim})
    config.data[size] = config.data.shape
    config.update(batch_size=8, micro_batch_size=8)
    config.checkpoint.every_epochs = 1.0
    return config


def pretraining(variant):
    config = shrink(load("proxy", variant))
    for role in ("probe", "test"):
        config.splits[role].count = 8
    config.model.update(MODEL)
    for field, small in (("hidden_sizes", (8,)), ("output_size", 8), ("code_size", 8)):
        if field in config.method:
            config.method[field] = small
    if "cpc" in variant:
        config.method.update(patch=4, stride=4, context_size=8, steps=1)
    config.train_epochs, config.schedule.warmup_epochs = 1.0, 0.0
    return config


def downstream(variant, run):
    """Two epochs, the first of them with the encoder frozen, a checkpoint after each."""
    config = load("finetune" if variant.endswith("_2d") else "segment", "demo")
    shrink(config)
    with config.unlocked():
        config.model = load("proxy", variant).model.to_dict() | MODEL
        config.views = {"first": {}, "eval": {}}
        config.splits.validation = {"seed": 6, "count": 8}
        config.splits.test = {"seed": 7, "count": 8}
    config.method.frozen_epochs = 1.0
    config.train_epochs, config.init_from = 2.0, str(run)
    return config


@pytest.fixture(scope="module", params=TASKS)
def pretrained(request, tmp_path_factory):
    workdir = tmp_path_factory.mktemp(request.param)
    train.run(pretraining(request.param), workdir)
    return request.param, workdir


def of_backbone(state):
    """Return parameters and statistics of a checkpoint's backbone, by their name."""
    parts = {
        "/params/backbone/": "params/",
        "/aux/batch_stats/backbone/": "batch_stats/",
    }
    return {
        short + name.removeprefix(long): leaf
        for name, leaf in state.items()
        for long, short in parts.items()
        if name.startswith(long)
    }


def test_its_encoder_is_what_a_run_starts_from_and_leaves_alone_at_first(
    pretrained, tmp_path, capsys
):
    variant, run = pretrained
    train.run(downstream(variant, run), tmp_path)
    warned = "was trained on patches" in capsys.readouterr().err
    assert warned == (variant not in ("rotation", "exemplar"))
    known = load_file(run / "encoder/weights.safetensors")
    frozen, thawed = (tiny_run.checkpoint(tmp_path, step)[0] for step in (2, 4))
    at_first, at_last = of_backbone(frozen), of_backbone(thawed)
    assert known.keys() == at_first.keys() and len(known) > 4
    for name, leaf in known.items():
        np.testing.assert_array_equal(at_first[name], leaf, err_msg=name)
        assert (at_last[name] != leaf).any(), name
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["headline"].startswith("Test ")


def test_another_model_or_number_of_channels_is_told_from_its_own(pretrained):
    variant, run = pretrained
    model, shape = pretraining(variant).model.to_dict(), [SIDE, SIDE]
    shape += [] if variant.endswith("_2d") else [SIDE]
    found = encoder.initial_variables(str(run), model, (*shape, 1))
    assert found.keys() == {"params", "batch_stats"}
    with pytest.raises(ConfigError, match=r"images of 1 channel\(s\), .* has 3: see"):
        encoder.initial_variables(str(run), model, (*shape, 3))
    with pytest.raises(ConfigError, match=r"width is 2 there, 4 in config\.model"):
        encoder.initial_variables(str(run), model | {"width": 4}, (*shape, 1))


@pytest.mark.parametrize("pretrained", ["rotation"], indirect=True)
def test_the_question_is_asked_in_one_command_each_start_at_a_rate_of_its_own(
    pretrained, tmp_path
):
    variant, run = pretrained
    config = load("label_efficiency", "segment:demo")
    with config.unlocked():
        config.experiment = downstream(variant, "")
    config.update(repeats=1, fractions=(1.0,), rates=(1e-4, 1e-2))
    config.initialisations = (f"rotation={run}", "random=")
    label_efficiency.run(config, tmp_path)
    found = json.loads((tmp_path / "results.json").read_text())
    for name in ("rotation", "random"):
        tried = tmp_path / "rates" / name / "1"
        assert not list(tried.glob("*/cases.csv"))
        losses = {}
        for folder in tried.iterdir():
            outcome = json.loads((folder / "results.json").read_text())
            losses[float(folder.name)] = outcome["values"]["validation_loss"]["value"]
        chosen = found["rates"][f"{name}, 1"]
        assert len(losses) == 2 and chosen == min(losses, key=losses.get)
        measured = json.loads((tmp_path / f"runs/{name}/1/0/config.json").read_text())
        assert measured["schedule"]["peak"] == chosen
    assert "Dice of rotation - random" in found["headline"]
