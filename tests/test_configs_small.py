"""Each task of configs/small.py has a step, on images and on volumes."""

from pathlib import Path

import jax
import numpy as np
import pytest

from medssl_jax.data.order.roles import TRAIN
from medssl_jax.data.pipeline import for_device
from medssl_jax.protocols.experiment import load
from medssl_jax.run.task import build
from medssl_jax.step.parallel import AXIS
from medssl_jax.step.state import make_train_step

CONFIG = Path(__file__).parents[1] / "configs/small.py"
TASKS = ("simclr", "byol", "swav", "gmml", "rotation", "jigsaw")
TASKS += ("relative_patch_location", "exemplar", "cpc", "finetune", "segment")
VARIANTS = [
    f"{task}:{source}"
    for task in TASKS
    for source in ("demo", "demo_3d")
    # those of the others that are traced elsewhere too
    if source == "demo_3d" or task in ("swav", "rotation", "jigsaw", "cpc")
]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_task_has_a_step_on_images_and_on_volumes(variant, tmp_path):
    config = load(str(CONFIG), f"small:{variant}")
    config.data.count, config.data.cache = 64, ""
    if "classes" in config.method and config.method.name == "segment":
        config.method.classes = 5
    task = build(config, tmp_path)
    example = for_device(task.draw(task.sources[TRAIN][0], None))
    batch = {"label": np.int32(0), "patient": np.uint32(0), "index": 0} | example
    size = config.micro_batch_size
    batch = {k: np.broadcast_to(x, (1, size, *np.shape(x))) for k, x in batch.items()}
    step = make_train_step(task.method, task.tx, axis_name=AXIS)
    state, metrics = jax.eval_shape(
        jax.vmap(step, in_axes=(None, 0), axis_name=AXIS),
        jax.eval_shape(task.init),
        batch,
    )
    assert metrics["loss"].shape == (1,)
    assert jax.tree.leaves(state.params)
