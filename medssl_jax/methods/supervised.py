"""Classification with labels: fine-tuning, or training from random weights."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from medssl_jax.methods import base
from medssl_jax.models import heads
from medssl_jax.models.network import Network
from medssl_jax.views.compose import View


def supervised(
    backbone: Network,
    *,
    views: dict[str, View],
    updates: int,
    axis_name: str | None,
    dtype: DTypeLike,
    classes: int,
) -> base.Method:
    """Build a backbone with a linear layer, both trained by cross-entropy.

    Two classes share one logit (binary cross-entropy, as BYOLMed3D's downstream task);
    more have one each (softmax).

    Args:
      backbone: images (b, *s, c) -> features (b, d).
      views: "first", the random view to train on; "eval", the one to predict on.
      updates: unused; every method is told the length of its run.
      axis_name: unused; only the backbone takes statistics over devices.
      dtype: of the head's computation.
      classes: how many; labels are 0 to classes - 1.
    """
    del updates, axis_name
    head = heads.linear(output_size=1 if classes == 2 else classes, dtype=dtype)

    def one_view(key, example):
        return {
            "image": views["first"](key, example["image"]),
            "label": example["label"],
        }

    def init(key, batch):
        view_key, backbone_key, head_key = jax.random.split(key, 3)
        x = views["first"](view_key, batch["image"][0])[None]
        encoder = backbone.init(backbone_key, x)
        features, _ = backbone.apply(encoder, x, False)
        classifier = head.init(head_key, features)
        params = {"backbone": encoder["params"], "head": classifier["params"]}
        return params, {"batch_stats": {"backbone": encoder["batch_stats"]}}

    def logits(params, aux, images, train):
        features, stats = backbone.apply(
            base.backbone_variables(params, aux), images, train
        )
        out, _ = head.apply({"params": params["head"]}, features, train)
        return _all_classes(out), {"backbone": stats}

    def loss(params, aux, views, key, update):
        del key, update
        out, stats = logits(params, aux, views["image"], True)
        per_example = optax.softmax_cross_entropy_with_integer_labels(
            out, views["label"]
        )
        accuracy = jnp.mean(out.argmax(axis=-1) == views["label"], dtype=jnp.float32)
        aux = {**aux, "batch_stats": stats}
        return per_example.mean(), (aux, {"accuracy": accuracy})

    def predict(params, aux, images):
        no_key = jax.random.key(0)  # the view of evaluation draws nothing
        images = jax.vmap(lambda image: views["eval"](no_key, image))(images)
        out, _ = logits(params, aux, images, False)
        return jax.nn.softmax(out)

    return base.Method(
        init, one_view, loss, base.no_change, base.backbone_variables, predict
    )


def _all_classes(out):
    """Give one logit its pair: softmax over (0, l) is the sigmoid of l."""
    return (
        jnp.concatenate([jnp.zeros_like(out), out], -1) if out.shape[-1] == 1 else out
    )
