"""The recipes of configs/simclr.py and configs/micle.py against the publication."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from medssl_jax import optim, resolve
from medssl_jax.optim import schedules
from medssl_jax.optim.durations import Durations
from medssl_jax.saved import encoder
from medssl_jax.views.compose import compose

CONFIGS = Path(__file__).parents[1] / "configs"
VARIANTS = [
    ("simclr", variant)
    for variant in ("demo", "chexpert", "derm", "images", "npz", "medmnist")
] + [("micle", variant) for variant in ("demo", "derm", "images", "npz")]


def load(name, variant):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


def durations(config, examples):
    return Durations(
        examples, config.batch_size, config.micro_batch_size, config.train_epochs
    )


@pytest.mark.parametrize(
    "name, variant, examples, updates, batch, base_rate, temperature",
    # arXiv:2101.05224, sections 4.1 and 4.2; CheXpert's train.csv has 223,414 rows
    [
        ("simclr", "derm", 454_295, 150_000, 512, 0.3, 0.1),
        ("simclr", "chexpert", 223_414, 100_000, 1024, 0.5, 0.1),
        ("micle", "derm", 15_340, 100_000, 128, 0.1, 0.1),
    ],
)
def test_published_variants_are_the_published_recipes(
    name, variant, examples, updates, batch, base_rate, temperature
):
    config = load(name, variant)
    run = durations(config, examples)
    assert run.updates == updates and run.accumulation == 1
    assert config.batch_size == batch
    rate = schedules.schedule(run, **config.schedule)
    warm = run.to_updates(10)
    assert float(rate(warm)) == pytest.approx(base_rate * batch / 256, rel=1e-5)
    assert float(rate(updates)) == pytest.approx(0, abs=1e-6)
    assert config.method.temperature == temperature
    blurred = "gaussian_blur" in config.views.first
    assert blurred == (variant == "derm")
    assert config.views.first.color_jitter.strength == (1.0 if blurred else 0.5)


@pytest.mark.parametrize(
    "name, variant",
    [
        pytest.param(*one, marks=() if one[1] in ("demo", "npz") else pytest.mark.slow)
        for one in VARIANTS
    ],
)
def test_every_variant_builds_and_its_views_agree(name, variant):
    config = load(name, variant).lock()
    run = durations(config, 10_000)
    tx = optim.optimizer(
        run, schedules.schedule(run, **config.schedule), **config.optimizer
    )
    settings = config.method.to_dict()
    method = resolve.factory("medssl_jax.methods", settings.pop("name"))(
        encoder.backbone(config.model.to_dict(), dtype=jnp.float32, axis_name=None),
        views={kind: compose(ops.to_dict()) for kind, ops in config.views.items()},
        durations=run,
        axis_name=None,
        dtype=jnp.float32,
        **settings,
    )
    channels = 3 if config.data.to_dict().get("channels") == "rgb" else 1
    images = jax.ShapeDtypeStruct((2, *config.data.shape, channels), jnp.float32)

    def step(key, images):
        batch = {"image": images, "partner": images}
        params, aux = method.init(key, batch)
        views = jax.vmap(method.views)(jax.random.split(key, 2), batch)
        evaluated = compose(config.views.eval.to_dict())(key, images[0])
        assert evaluated.shape == views["first"].shape[1:] == views["second"].shape[1:]
        loss, _ = method.loss(params, aux, views, key, jnp.int32(0))
        features = params["projector"]["hidden"]["kernel"].shape
        # SimCLR's hidden layer is as wide as the features
        assert features[0] == features[1]
        return loss, tx.init(params)

    loss, _ = jax.eval_shape(step, jax.random.key(0), images)
    assert loss.shape == ()


def test_the_head_follows_the_width_of_the_network():
    config = load("simclr", "derm")
    config.model.width = 128
    assert config.method.to_dict()["hidden_size"] == 4096
