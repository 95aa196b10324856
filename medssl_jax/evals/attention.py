"""Where a transformer's class token looks, of some test cases."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from medssl_jax.data.pipeline import eval_batches
from medssl_jax.data.source import Subset
from medssl_jax.errors import ConfigError
from medssl_jax.evals.base import Context, Evaluator
from medssl_jax.files import write_arrays
from medssl_jax.ranges import Count
from medssl_jax.saved.encoder import backbone
from medssl_jax.step.state import to_unit
from medssl_jax.views.compose import compose


def attention(context: Context, *, block: Count, examples: Count) -> Evaluator:
    """Build the pictures of a block's attention over some cases, "test"'s if there are.

    `attention.npz` holds `image` (n, *s, c), `attention` (n, *g) over the grid of its
    patches: the class token's, in the mean over heads, each divided by its largest value;
    `names` and `block`. Of volumes that a network sees slice by slice it is that of every
    slice, (n, f, *g).

    Args:
      block: which, counted from 1.
      examples: how many cases, evenly spaced.

    Raises:
      ConfigError: if `config.model` has no attention, or no such block.

    Source: SB-SSL, arXiv:2208.13923, fig. 5.
    """
    spec = context.spec
    network = backbone(spec["model"], dtype=jnp.float32, axis_name=None)
    view = functools.partial(compose(spec["view"]), jax.random.key(0))
    role = "test" if "test" in context.sources else "train"
    source = context.sources[role]

    @jax.jit
    def of_block(variables, images):
        images = jax.vmap(view)(to_unit(images))
        seen = _apart(images) if "of" in spec["model"] else images
        features, _ = network.apply(variables, seen, False)
        if features.attention is None:
            raise ConfigError(
                "config.evaluation has attention, and config.model has none: use a vit"
            )
        if block > len(features.attention):
            raise ConfigError(
                f"config.evaluation's attention is of block {block}, and config.model "
                f"has {len(features.attention)}"
            )
        sides = seen.shape[1:-1]
        if "of" in spec["model"]:
            sides = sides[1:]  # of slices
        looks = class_token(features.attention[block - 1], sides)
        before = images.shape[: images.ndim - 1 - len(sides)]
        return images, looks.reshape(*before, *looks.shape[1:])

    def untrained(images):
        variables = network.init(jax.random.key(0), jax.vmap(view)(to_unit(images)))
        return of_block(variables, images)

    # what cannot be shown is told before it has been trained
    jax.eval_shape(untrained, context.draw(source[0], None)["image"][None])

    def final(params, aux):
        variables = context.method.encoder(params, aux)
        count = min(examples, len(source))
        places = np.arange(count, dtype=np.int64) * len(source) // count
        shown = Subset(source, places)
        (batch,) = eval_batches(shown, context.draw, size=count)
        image, found = of_block(variables, jnp.asarray(batch["image"]))
        arrays = {
            "image": np.asarray(image),
            "attention": np.asarray(found),
            "names": np.array([shown.name(i) for i in range(count)]),
            "block": np.array(block),
        }
        write_arrays(context.workdir / "attention.npz", arrays)
        told = f"The report shows where block {block} looks in {count} {role} cases."
        return {"headline": told, "tables": [], "roc": []}

    return Evaluator(lambda params, aux: {}, final)


def class_token(
    attention: Float[Array, "b h n n"], sides: tuple[int, ...]
) -> Float[Array, "b *g"]:
    """Return where the first token looks, on the grid of an image's patches, up to 1."""
    looks = attention[:, :, 0, 1:].mean(axis=1)
    pixels = float(np.prod(sides)) / looks.shape[-1]
    patch = round(pixels ** (1 / len(sides)))
    grid = [side // patch for side in sides]
    return (looks / looks.max(axis=-1, keepdims=True)).reshape(len(looks), *grid)


def _apart(volumes):
    """Return volumes of one slice each, whose attention is that of their middle one."""
    b, f, *of_slice = volumes.shape
    return volumes.reshape(b * f, 1, *of_slice)
