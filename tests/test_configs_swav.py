"""The recipes of configs/swav.py against table I of the publication."""

import jax
import jax.numpy as jnp
import pytest
from test_configs import load

from medssl_jax import optim, resolve
from medssl_jax.errors import ConfigError
from medssl_jax.optim import schedules
from medssl_jax.optim.durations import Durations
from medssl_jax.run import task
from medssl_jax.run.provenance import plain
from medssl_jax.saved import encoder
from medssl_jax.views.compose import compose


@pytest.mark.parametrize(
    "variant, crops, prototypes, queue, queue_from, frozen, batch, sizes",
    [
        ("xray", (2, 6), 3000, 3840, 10, 10_000, 32, [(224, 224), (92, 92)]),
        ("multimodal", (2, 6), 3000, 3840, 10, 10_000, 32, [(224, 224), (92, 92)]),
        # one assigned crop as printed: two are needed to swap predictions
        ("ct3d", (2, 4), 1500, 1920, 3, 4_000, 4, [(224, 192), (112, 96)]),
    ],
)
def test_published_variants_are_table_one(
    variant, crops, prototypes, queue, queue_from, frozen, batch, sizes
):
    config = load("swav", variant)
    of = config.method
    assert (of.crops.assigned, of.crops.small) == crops
    assert (of.prototypes, of.queue_length) == (prototypes, queue)
    assert (of.queue_from_epoch, of.frozen_updates) == (queue_from, frozen)
    assert (of.temperature, of.epsilon, of.iterations) == (0.1, 0.03, 3)
    assert of.output_size == 128 and config.train_epochs == 100
    assert config.batch_size == config.micro_batch_size == batch
    cut = [config.views[k].rescaled_crop.size for k in ("assigned", "small")]
    assert cut == sizes
    assert config.optimizer.weight_decay == 1e-6
    run = Durations(64_000, batch, batch, config.train_epochs)
    rate = schedules.schedule(run, **config.schedule)
    assert float(rate(0)) == pytest.approx(0.6)
    assert float(rate(run.updates)) == pytest.approx(6e-4, rel=1e-4)
    for kind in ("assigned", "small"):
        view = config.views[kind]
        assert view.gamma.exponent == (1.8, 2.6)
        assert (view.linear.factor, view.linear.offset) == ((0.9, 1.1), (-0.2, 0.2))


def test_multimodal_batches_take_turns_between_four():
    config = load("swav", "multimodal")
    assert config.data.sampler == "modalities"
    named = tuple(source.modality for source in config.data.sources)
    assert config.method.modalities == named == ("ct", "mr", "xray", "us")


@pytest.mark.parametrize(
    "name, variant",
    [
        ("swav", "demo"),
        pytest.param("swav", "xray", marks=pytest.mark.slow),
        pytest.param("swav", "multimodal", marks=pytest.mark.slow),
        pytest.param("swav", "ct3d", marks=pytest.mark.slow),
        ("swav_small", "npz"),
        ("swav_small", "kinds"),
    ],
)
def test_every_variant_builds_and_its_crops_have_their_sizes(name, variant):
    """In shapes: nothing is computed."""
    config = load(name, variant)
    run = Durations(
        10_000, config.batch_size, config.micro_batch_size, config.train_epochs
    )
    settings = plain(config.method)
    views = {kind: measured(plain(ops)) for kind, ops in config.views.items()}
    method = resolve.factory("medssl_jax.methods", settings.pop("name"))(
        encoder.backbone(plain(config.model), dtype=jnp.float32, axis_name=None),
        views={kind: compose(ops) for kind, ops in views.items()},
        durations=run,
        axis_name=None,
        dtype=jnp.float32,
        **settings,
    )
    tx = optim.optimizer(
        run,
        schedules.schedule(run, **config.schedule),
        frozen=method.frozen,
        **config.optimizer,
    )
    size = config.micro_batch_size
    images = jax.ShapeDtypeStruct((size, *config.data.shape, 1), jnp.float32)
    label = jax.ShapeDtypeStruct((size,), jnp.int32)

    def step(key, images, label):
        batch = {"image": images, "label": label}
        params, aux = method.init(key, batch)
        made = jax.vmap(method.views)(jax.random.split(key, size), batch)
        loss, _ = method.loss(params, aux, made, key, jnp.int32(0))
        evaluated = compose(views["eval"])(key, images[0])
        return loss, tx.init(params), made, evaluated

    loss, _, made, evaluated = jax.eval_shape(step, jax.random.key(0), images, label)
    assert loss.shape == ()
    for kind, count in config.method.crops.items():
        assert made[kind].shape[:2] == (size, count)
    assert evaluated.shape == made["assigned"].shape[2:]


def measured(ops):
    """Fill in energies, which a run measures on its data."""
    if "energy_bands" in ops:
        count = len(ops["energy_bands"]["sigmas"]) + 1
        ops["energy_bands"] |= {"mean": (0.1,) * count, "std": (0.01,) * count}
    return ops


def test_an_optimizers_settings_are_looked_at_before_energies_are_measured(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("medssl_jax.data.energies.fill", lambda *_, **__: pytest.fail())
    config = load("swav", "demo")
    config.optimizer.b1 = 2.0
    with pytest.raises(ConfigError, match=r"config\.optimizer\.b1 is 2\.0"):
        task.build(config, tmp_path)
