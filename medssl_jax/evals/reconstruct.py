"""What a method makes up of images that it has hidden a part of, to look at."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from medssl_jax.data.pipeline import eval_batches, for_device
from medssl_jax.data.source import Subset
from medssl_jax.errors import ConfigError
from medssl_jax.evals.base import Context, Evaluator
from medssl_jax.files import write_arrays
from medssl_jax.ranges import Count
from medssl_jax.step.state import views_fed

_MEASURED = 256  # examples; the error is of pixels, and there are thousands in each


def reconstruct(context: Context, *, examples: Count) -> Evaluator:
    """Build the pictures of some images, and the error over more, "test"'s if there are.

    What is hidden is drawn by the run's seed, and is the same for every run of it.
    `reconstructions.npz` holds `image`, `hidden`, `corrupted` and `reconstruction` of
    `examples` images, in the method's own range of intensities.

    Raises:
      ConfigError: if the method makes nothing up.
    """
    method = context.method
    if method.reconstruct is None:
        raise ConfigError(
            "config.evaluation has reconstruct, and config.method makes up no images: "
            "use it with gmml"
        )
    role = "test" if "test" in context.sources else "train"
    source = context.sources[role]

    @jax.jit
    def of_batch(params, aux, batch, key):
        views = views_fed(
            method, batch, key=key, step=0, global_size=context.batch_size
        )
        return method.reconstruct(params, aux, views)

    def final(params, aux):
        places = np.arange(min(len(source), _MEASURED), dtype=np.int64)
        places = places * len(source) // len(places)
        size = context.batch_size
        parts = []
        for batch in eval_batches(Subset(source, places), context.draw, size=size):
            known = {"patient": np.zeros(size, np.uint32), **for_device(batch)}
            made = of_batch(params, aux, known, jax.random.key(context.seed))
            parts.append(
                {k: np.asarray(v)[: len(batch["index"])] for k, v in made.items()}
            )
        found = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
        shown = {k: v[:examples] for k, v in found.items()}
        write_arrays(context.workdir / "reconstructions.npz", shown)
        return {"headline": _told(found, role), "tables": [], "roc": []}

    return Evaluator(lambda params, aux: {}, final)


def _told(found: Mapping[str, Any], role: str) -> str:
    hidden = found["hidden"][..., None]
    image = found["image"]
    wrong = np.abs(found["reconstruction"] - image)
    axes = tuple(range(1, image.ndim))
    seen = np.mean(image, axes, where=~hidden | hidden.all(axes, keepdims=True))
    by_mean = np.abs(seen.reshape(-1, *[1] * (image.ndim - 1)) - image)
    error, plain = (
        np.mean(x, where=np.broadcast_to(hidden, x.shape)) for x in (wrong, by_mean)
    )
    return (
        f"What is hidden of {len(image)} {role} images is made up with a mean error of "
        f"{error:.3f}; by each image's mean it would be {plain:.3f}."
    )
