"""Steps compiled for chips that are not here: what benchmarks/aot.py reads off them."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from emitter import AS_USERS
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from test_configs import load

from medssl_jax.protocols import experiment

_PATH = Path(__file__).parents[1] / "benchmarks/compiled.py"


@pytest.fixture(scope="module")
def compiled():
    spec = importlib.util.spec_from_file_location("compiled", _PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_collectives_are_counted_with_their_bytes(compiled):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    def step(x):
        return jax.lax.psum(x, "data"), jax.lax.all_gather(x.astype("bfloat16"), "data")

    mapped = jax.shard_map(
        step, mesh=mesh, in_specs=P("data"), out_specs=(P(), P()), check_vma=False
    )
    lowered = jax.jit(mapped).lower(np.zeros((8, 4, 5), np.float32))
    text = lowered.compile(compiler_options=AS_USERS).as_text()
    found = compiled.collectives(text)
    assert found["all-reduce"] == (1, 4 * 5 * 4)
    assert found["all-gather"][0] == 1
    assert found["all-gather"][1] in (8 * 4 * 5 * 2, 8 * 4 * 5 * 4)  # CPU may widen it
    largest, said = compiled.movers(text)[0]
    assert largest >= 8 * 4 * 5 * 2 and ("all-gather" in said or "fusion" in said)


@pytest.mark.parametrize("name", ["byol3d", "swav", "finetune"])
def test_runs_of_other_seeds_and_rates_share_one_program(compiled, name):
    def program(**changes):
        config = experiment.vary(load(name, "demo"), changes)
        devices = jax.devices()[:1]
        this = compiled.built(config, devices, examples=64, channels=1)
        return compiled.lowered_step(this, config.micro_batch_size).as_text()

    rates = load(name, "demo").schedule.to_dict()
    half = {
        f"schedule.{k}": rates[k] / 2 for k in ("peak", "start", "end") if k in rates
    }
    assert program() == program(**{"seed": 7, **half})


def test_flops_are_those_of_the_convolutions_and_grow_with_the_batch(compiled):
    config = load("segment", "pancreas")
    config.data.shape, config.model.levels, config.model.width = (16, 16, 16), 1, 8
    config.init_from, config.method.frozen_epochs = "", 0.0

    def flops(batch):
        config.batch_size = config.micro_batch_size = batch
        return compiled.flops_of(config, examples=64, channels=1)

    one, two = flops(1), flops(2)
    # 1 to 8 and 8 to 8 channels, 27 positions less those that are padding; forward, and
    # backward for kernels and for what is not the image
    places = (16 * 3 - 2) ** 3
    least = 2 * places * (2 * 8 + 3 * 64)
    assert least < two - one < 1.3 * least


@pytest.mark.slow
@pytest.mark.parametrize(
    "topology, module, extra",
    [("v5e:2x2", "libtpu", "tpu"), ("h200", "jax_cuda12_plugin", "gpu")],
)
def test_a_published_kind_of_step_compiles_for_chips_that_are_not_here(
    compiled, topology, module, extra, monkeypatch
):
    pytest.importorskip(module, reason=f"the extra [{extra}] is not installed")
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    config = load("proxy", "rotation:msd")
    config.data.shape, config.model.width, config.model.levels = (16, 16, 16), 4, 2
    config.method.hidden_sizes = (8,)
    config.batch_size = config.micro_batch_size = 8
    config.running.precision = "bfloat16"
    devices, options = compiled.described(topology)
    this = compiled.built(config, devices, examples=64, channels=1)
    lowered = compiled.lowered_step(this, config.micro_batch_size)
    program = lowered.compile(compiler_options=options)
    if len(devices) > 1:
        assert compiled.collectives(program.as_text())["all-reduce"][0] > 0
    assert program.memory_analysis().argument_size_in_bytes > 0
    assert compiled.movers(program.as_text())[0][0] > 0
