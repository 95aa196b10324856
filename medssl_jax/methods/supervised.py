"""Classification with labels: fine-tuning, or training from random weights."""

from collections.abc import Sequence
from types import MappingProxyType

import jax
from jax.typing import DTypeLike

from medssl_jax.errors import ConfigError
from medssl_jax.methods import base
from medssl_jax.methods.auxiliary import Heads, auxiliary_heads
from medssl_jax.methods.label_losses import label_loss
from medssl_jax.models.features import vectors_alone
from medssl_jax.models.heads import linear
from medssl_jax.models.network import Network
from medssl_jax.optim.durations import Durations
from medssl_jax.ranges import Count, Natural, NotNegative
from medssl_jax.views.compose import View


def supervised(
    backbone: Network,
    *,
    views: dict[str, View],
    durations: Durations,
    axis_name: str | None,
    dtype: DTypeLike,
    classes: Natural = 0,
    findings: Natural = 0,
    ordered: bool = False,
    ordinal_head: bool = False,
    frozen_epochs: NotNegative = 0.0,
    frozen_statistics: bool = True,
    hidden_sizes: Sequence[Count] = (),
    heads: Heads = MappingProxyType({}),
) -> base.Method:
    """Build a backbone with a linear layer, both trained by cross-entropy.

    Two classes are BYOLMed3D's downstream task; more are softmax, findings sigmoid,
    grades either softmax or questions.

    Args:
      backbone: images (b, *s, c) -> Features.
      views: "first", the random view to train on; "eval", the one to predict on.
      durations: of the run.
      axis_name: unused; only the backbone takes statistics over devices.
      dtype: of the head's computation.
      classes: how many; labels (b,) are 0 to classes - 1.
      findings: how many; labels (b, findings) are 1, 0, or -1 where unknown.
      ordered: the classes are grades, in the order of their numbers: tests tell kappa
        with quadratic weights too.
      ordinal_head: of grades, learn by classes - 1 questions, each whether an example is
        above a grade (`label_losses.log_grades`), and not by softmax.
      frozen_epochs: so long the head learns alone, on a backbone whose weights and
        batch statistics stay as they are.
      frozen_statistics: False, for an encoder that was trained on other images than
        these, or on patches: its batch statistics follow while its weights are frozen.
      hidden_sizes: of layers with GELU between the features and the linear layer, as
        SB-SSL has one (arXiv:2208.13923, section 4.1).
      heads: beside this one, as `auxiliary.auxiliary_heads` has them. Where they read columns
        of the labels, these are findings, of which the first are this method's: so many
        as `findings`, or one, as two classes.

    Raises:
      ConfigError: unless one of classes and findings is given; if fewer than three
        classes are ordered, or an ordinal head is for classes that are not.
    """
    if ordered and classes < 3:
        raise ConfigError(
            f"method.ordered is on, and method.classes {classes}: an order takes three "
            "classes or more"
        )
    if ordinal_head and not ordered:
        raise ConfigError(
            "method.ordinal_head takes grades: set method.ordered too, or switch it off"
        )
    beside = auxiliary_heads(heads, dtype=dtype)
    if not beside.planes:
        backbone = vectors_alone(backbone)
    del axis_name
    frozen = durations.to_updates(frozen_epochs)
    labels = label_loss(classes=classes, findings=findings, ordinal_head=ordinal_head)
    head = linear(output_size=labels.outputs, hidden_sizes=hidden_sizes, dtype=dtype)

    def own_labels(given):
        if not beside.columns:
            return given
        return given[:, :findings] if findings else given[:, 0]

    def one_view(key, example):
        placed = views["first"].placed(key, example["image"])
        made = {"image": placed.image, "label": example["label"]}
        return made | beside.fields(placed, example)

    def init(key, batch):
        view_key, backbone_key, head_key = jax.random.split(key, 3)
        x = views["first"](view_key, batch["image"][0])[None]
        encoder = backbone.init(backbone_key, x)
        features, _ = backbone.apply(encoder, x, False)
        classifier = head.init(head_key, features.pooled)
        params = {"backbone": encoder["params"], "head": classifier["params"]}
        params |= beside.init(jax.random.fold_in(head_key, 1), features)
        return params, {"batch_stats": {"backbone": encoder["batch_stats"]}}

    def loss(params, aux, views, key, update):
        del key
        encoder = base.backbone_variables(params, aux)
        features, stats = base.train_from(
            frozen,
            backbone,
            encoder,
            views["image"],
            update,
            views.get(base.KEYS),
            frozen_statistics,
        )
        out, _ = head.apply({"params": params["head"]}, features.pooled, True)
        per_example, metrics = labels.loss(out, own_labels(views["label"]))
        total = per_example.mean()
        if heads:
            others, told = beside.loss(params, features, views)
            metrics |= {"own_loss": total, **told}
            total += others
        new = {**aux, "batch_stats": {"backbone": stats}}
        return total, (new, metrics)

    def predict(params, aux, images):
        no_key = jax.random.key(0)  # the view of evaluation draws nothing
        images = jax.vmap(lambda image: views["eval"](no_key, image))(images)
        encoder = base.backbone_variables(params, aux)
        features, _ = backbone.apply(encoder, images, False)
        out, _ = head.apply({"params": params["head"]}, features.pooled, False)
        told = {"probability": labels.probabilities(out)}
        return told | beside.predict(params, features, images.shape[1])

    return base.Method(
        init,
        one_view,
        loss,
        base.no_change,
        base.backbone_variables,
        predict,
        frozen={"backbone": frozen} if frozen else {},
        learns=(classes, findings),
        ordered=ordered,
        **beside.of_method,
    )
