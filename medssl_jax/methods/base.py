"""What a training task is: pure functions, in the style of optax."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key, PyTree

from medssl_jax.errors import ConfigError
from medssl_jax.models.network import Network

Params = PyTree
Aux = Mapping[str, Any]
Batch = Mapping[str, Array]

KEYS = "keys"  # among the views: one of each example (b,), for what networks draw


class Voxels(NamedTuple):
    """What the voxels of a mask are told apart into."""

    classes: int
    regions: int


class Method(NamedTuple):
    """A training task; the train step calls these and knows nothing else of it.

    init: (key, batch) -> (params, aux). `params` is what the optimizer trains, `aux`
      what it does not: batch statistics, a target network, a queue. Both hold the
      backbone under "backbone" (`params`, `aux["batch_stats"]`).
    views: (key, example) -> views of ONE example, whose `image` is (*s, c) in [0, 1],
      as is its `partner`, if the run's sampler gives one: another image of the same
      patient; `patient` () is a number that no two patients are likely to share. What
      else its record has is there as `data.draw.Draw` gives it. The step maps it over
      the batch.
    loss: (params, aux, views, key, update) -> (scalar, (aux, metrics)), the mean over
      this device's examples. Called on every micro-batch. `key` is the same on every
      device; what the backbone draws from is the views' KEYS, which the step adds.
    after_update: (params, aux, update) -> (params, aux), called only when update
      number `update` (from 0) has moved `params`.
    encoder: (params, aux) -> variables of the backbone: all that evaluators and
      export see of a pretext task.
    predict: (params, aux, images (b, *s, c)) -> what a task with labels says of them, by
      name: "probability" (b, classes or findings), "mask" (b, *s, classes), a class's
      probability in each voxel, "boxes" (b, p, 2 n) that each point tells of, as
      fractions of the image, with their "box_probability" (b, p, kinds); else None.
    decide: what `predict` tells, or its mean over several models -> what is said:
      "boxes" (b, m, 2 n) with their "score" and "kind" (b, m), -1 where there is none,
      in place of those of the points; all else as it is.
    in_batch: what the loss takes from the other examples of its micro-batch, such as
      "negatives", for the warning that accumulation does not add to it; "" is nothing.
    strangers: whether some of these have to be of another patient.
    patches: whether the backbone sees patches of images only, so that its batch
      statistics are not those of whole ones.
    modalities: names, if a batch's rows have to take turns between them.
    frozen: updates during which the optimizer leaves a part of `params` alone, by its
      name there. Its batch statistics are the method's own: see `train_from`.
    learns: how many classes and findings, one of them 0, where labels of examples are
      learnt from; (0, 0) where none are.
    columns: how many columns of findings the labels have to have at least, where other
      heads than the method's own read some; its own are the first.
    planes: whether a head learns the labels of slices; the views then take an example's
      `planes`.
    heads: beside the method's own, by name the columns of the labels that they learn, ()
      the labels of slices: `predict` tells "NAME_probability" (b, columns or slices).
    ordered: whether the classes are grades, in the order of their numbers.
    boxes: how many kinds of boxes are learnt, 0 where none are; the views then take an
      example's `boxes`.
    voxels: how many classes, the background included, and overlapping regions, one of
      them 0, are learnt from masks; the views then take an example's `mask`.
    early: means of the metrics -> what is wrong if they are so in the first epoch.
    verdict: means of the metrics -> what is wrong with the training, "" if nothing is.
    reconstruct: (params, aux, views) -> what a task that hides parts of images makes up:
      "image" and "corrupted" (b, *s, c), "hidden" (b, *s), "reconstruction"; else None.
    """

    init: Callable[..., tuple[Params, Aux]]
    views: Callable[..., Mapping[str, Array]]
    loss: Callable[..., tuple[Array, tuple[Aux, Mapping[str, Array]]]]
    after_update: Callable[..., tuple[Params, Aux]]
    encoder: Callable[[Params, Aux], PyTree]
    predict: Callable[..., Mapping[str, Array]] | None = None
    decide: Callable[..., Mapping[str, Array]] = lambda told: told
    in_batch: str = ""
    strangers: bool = False
    patches: bool = False
    modalities: tuple[str, ...] = ()
    frozen: Mapping[str, int] = MappingProxyType({})
    learns: tuple[int, int] = (0, 0)
    columns: int = 0
    planes: bool = False
    heads: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    ordered: bool = False
    boxes: int = 0
    voxels: Voxels = Voxels(0, 0)
    early: Callable[[Mapping[str, float]], str] = lambda metrics: ""
    verdict: Callable[[Mapping[str, float]], str] = lambda metrics: ""
    reconstruct: Callable[..., Mapping[str, Array]] | None = None


def no_change(params: Params, aux: Aux, update: Array) -> tuple[Params, Aux]:
    """Return both as they are: `after_update` of a method without a target."""
    del update
    return params, aux


def backbone_variables(params: Params, aux: Aux) -> PyTree:
    """Return the variables of the network under "backbone"."""
    return variables(params, aux["batch_stats"], "backbone")


def variables(params: Params, batch_stats: PyTree, part: str) -> PyTree:
    """Return the variables of one part, as `Network.apply` takes them."""
    return {"params": params[part], "batch_stats": batch_stats[part]}


def keys_of(views: Mapping[str, Array], count: int) -> Key[Array, "v b"] | None:
    """Return keys of `count` passes of each example through a network.

    None where the views hold no keys: networks that draw nothing need none.
    """
    if KEYS not in views:
        return None
    split = jax.vmap(lambda key: jax.random.split(key, count), out_axes=1)
    return split(views[KEYS])


def apply_to_each(
    network: Network,
    variables: PyTree,
    images: Float[Array, "b p *t c"],
    views: Mapping[str, Array],
) -> tuple[Float[Array, "b p d"], PyTree]:
    """Train a network of vectors on each of an example's p images.

    Return the vectors and the batch statistics, taken over all of them.
    """
    count, each = images.shape[:2]
    keys = keys_of(views, each)
    keys = None if keys is None else keys.T.reshape(-1)  # the images' order
    flat = images.reshape(count * each, *images.shape[2:])
    features, stats = network.apply(variables, flat, True, keys)
    return features.reshape(count, each, -1), stats


def train_from(
    start: int,
    network: Network,
    variables: PyTree,
    x: PyTree,
    update: Int[Array, ""],
    keys: Key[Array, " b"] | None,
    statistics: bool = True,
) -> tuple[PyTree, PyTree]:
    """Apply a network that is frozen before update `start`; return (y, batch_stats).

    While it is frozen its parameters have no gradient; x has one. It runs as in
    evaluation, by its running statistics, which stay as they are; without `statistics`
    among what is frozen, it runs as in training, and the running ones follow. `keys`
    are what it draws from then, as `Network.apply` takes them. Name the part in
    `Method.frozen` too: an optimizer's momentum and decay need no gradient to move it.
    """
    if start == 0:
        return network.apply(variables, x, True, keys)
    return lax.cond(
        update < start,
        lambda: network.apply(lax.stop_gradient(variables), x, not statistics, keys),
        lambda: network.apply(variables, x, True, keys),
    )


def check_negatives(examples: int, axis_name: str | None) -> None:
    """Refuse a micro-batch, of this many examples on each device, that has but one.

    Raises:
      ConfigError: naming micro_batch_size.
    """
    devices = 1 if axis_name is None else lax.axis_size(axis_name)
    if examples * devices < 2:
        raise ConfigError(
            "micro_batch_size is 1: its example has no negatives; use 2 or more, and "
            "hundreds for a good encoder"
        )


def spread(z: Float[Array, "v b d"], axis_name: str | None) -> Float[Array, ""]:
    """Return the mean deviation of l2-normalised z over the global batch, times sqrt(d).

    Of each of v views. Near 1 for a batch spread over the sphere, 0 for one that has
    collapsed.
    """

    def over_batch(x):
        mean = x.mean(axis=1)
        return mean if axis_name is None else lax.pmean(mean, axis_name)

    z = z / (jnp.linalg.norm(z, axis=-1, keepdims=True) + 1e-12)
    variance = over_batch(jnp.square(z)) - jnp.square(over_batch(z))
    deviation = jnp.sqrt(jnp.maximum(variance, 0.0))
    return jnp.mean(deviation) * jnp.sqrt(jnp.float32(z.shape[-1]))
