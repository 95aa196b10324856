"""What rotation, jigsaw and relative patch location share: images, a label made of them."""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike
from jaxtyping import Array

from medssl_jax.methods import base
from medssl_jax.models import heads
from medssl_jax.models.features import check_halvings, pooled
from medssl_jax.models.network import Network
from medssl_jax.ranges import Count

_GUESSING, _SOLVED, _COLLAPSED = 0.98, 0.99, 0.02
_GIVEN_AWAY = (
    "something else than anatomy gives the answer away, such as edges that patches share, "
    "borders, or marks that scanners burn in"
)


def classification(
    backbone: Network,
    make: Callable[..., Mapping[str, Array]],
    classes: Callable[[int], int],
    *,
    axis_name: str | None,
    dtype: DTypeLike,
    hidden_sizes: tuple[Count, ...],
    seen: str = "",
) -> base.Method:
    """Build the classification of what was done to an image, or of where it was.

    The backbone sees each of an example's p images; their vectors, one behind the
    other, go through `hidden_sizes` layers to the classes. Softmax cross-entropy.

    Args:
      backbone: images (b, *s, c) -> Features.
      make: (key, example) -> "images" (p, *s, c) and "label" (), of ONE example.
      classes: spatial axes -> how many labels there are.
      axis_name: devices over which batch statistics are taken.
      dtype: of the head's computation.
      hidden_sizes: of layers with batch norm and ReLU; () for none.
      seen: where images are patches, the settings that say how large, for errors.

    Raises:
      ConfigError: from `init`, if patches are too small for the backbone.
    """
    vectors = pooled(backbone)

    def head(ndim):
        return heads.mlp(
            hidden_sizes=hidden_sizes,
            output_size=classes(ndim),
            hidden_bias=False,
            output_norm=False,
            dtype=dtype,
            axis_name=axis_name,
        )

    def init(key, batch):
        view_key, backbone_key, head_key = jax.random.split(key, 3)
        example = {name: array[0] for name, array in batch.items()}
        images = make(view_key, example)["images"]
        encoder = vectors.init(backbone_key, images)
        if seen:
            check_halvings(backbone, encoder, images, seen)
        features, _ = vectors.apply(encoder, images, False)
        last = head(images.ndim - 2).init(head_key, features.reshape(1, -1))
        params = {"backbone": encoder["params"], "head": last["params"]}
        stats = {"backbone": encoder["batch_stats"], "head": last["batch_stats"]}
        return params, {"batch_stats": stats}

    def loss(params, aux, views, key, update):
        del key, update
        images, label = views["images"], views["label"]
        features, backbone_stats = base.apply_to_each(
            vectors, base.backbone_variables(params, aux), images, views
        )
        number = classes(images.ndim - 3)
        logits, head_stats = head(images.ndim - 3).apply(
            base.variables(params, aux["batch_stats"], "head"),
            features.reshape(len(features), -1),
            True,
        )
        per_example = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        found = logits.argmax(axis=-1) == label
        metrics = {
            "pretext_accuracy": jnp.mean(found, dtype=jnp.float32),
            "loss_of_guessing": per_example.mean() / math.log(number),
            "spread": base.spread(features.swapaxes(0, 1), axis_name),
        }
        stats = {"backbone": backbone_stats, "head": head_stats}
        return per_example.mean(), ({**aux, "batch_stats": stats}, metrics)

    return base.Method(
        init,
        make,
        loss,
        base.no_change,
        base.backbone_variables,
        patches=bool(seen),
        early=solved,
        verdict=verdict,
    )


def solved(metrics: Mapping[str, float], why: str = _GIVEN_AWAY) -> str:
    """Say what is wrong with a task that is solved in its first epoch."""
    if metrics["pretext_accuracy"] <= _SOLVED:
        return ""
    share = metrics["pretext_accuracy"]
    return f"solved in the first epoch ({share:.1%} right): {why}"


def verdict(metrics: Mapping[str, float]) -> str:
    """Say whether the task is learnt at all."""
    if metrics["spread"] < _COLLAPSED:
        return f"collapsed: all images have one vector (spread {metrics['spread']:.3f})"
    if metrics["loss_of_guessing"] > _GUESSING:
        return "at chance: the loss is that of guessing, nothing is learnt yet"
    return ""
