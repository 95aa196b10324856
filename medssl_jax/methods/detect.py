"""Detection: boxes with kinds and probabilities, in one pass over the whole image."""

import functools
from types import MappingProxyType

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from medssl_jax.boxes import corners, nms
from medssl_jax.data.source import NO_BOX
from medssl_jax.losses import giou_loss, sigmoid_focal
from medssl_jax.methods import base
from medssl_jax.methods.auxiliary import Heads, auxiliary_heads
from medssl_jax.methods.points import (
    Points,
    boxes_at,
    centreness,
    faces,
    matched,
    points_of,
)
from medssl_jax.models.network import Network
from medssl_jax.models.pyramid import detector, levels_of, strides_of
from medssl_jax.optim.durations import Durations
from medssl_jax.ranges import Count, Natural, NotNegative, Positive, Share
from medssl_jax.views.compose import View
from medssl_jax.views.placed import boxes_through


def detect(
    backbone: Network,
    *,
    views: dict[str, View],
    durations: Durations,
    axis_name: str | None,
    dtype: DTypeLike,
    kinds: Count,
    levels: Count,
    coarser: Natural,
    width: Count,
    depth: Natural,
    middle: bool,
    alpha: Share,
    gamma: NotNegative,
    least_points: Positive,
    candidates: Count,
    most: Count,
    overlap: Share,
    frozen_epochs: NotNegative = 0.0,
    frozen_statistics: bool = True,
    heads: Heads = MappingProxyType({}),
) -> base.Method:
    """Build a backbone with an FCOS head, trained by focal, GIoU and centreness losses.

    Boxes follow the spatial operations of the view. Each of the three losses is a sum
    over an image's points, over how many of them answer for a box, or `least_points` if
    there are fewer: every example's loss is its own, so that devices and accumulated
    micro-batches equal one batch, and an image without boxes weighs no more than others.
    (torchvision divides by the points of all of a device's images.)

    Args:
      backbone: images (b, *s, c) -> Features, whose coarsest maps the head reads.
      views: "first", the random view to train on; "eval", the one to predict on, which
        must leave the image in its place.
      durations: of the run.
      axis_name: has no part in it but in the backbone.
      dtype: of the head's computation.
      kinds: of boxes, numbered from 0.
      levels, coarser, width, depth: of the head (`models.pyramid.detector`). 3, 2, 256
        and 4 are published; the first level's stride is best no larger than most boxes.
      middle: whether points lie half a stride on (the paper), not at k strides
        (torchvision).
      alpha, gamma: of `losses.sigmoid_focal`; .25 and 2.
      least_points: by which a sum of losses is divided at least.
      candidates: of the likeliest points of an image, so many may become boxes.
      most: boxes of an image that are predicted, the others of no kind.
      overlap: of two of a kind, the less likely is dropped if they share more than this,
        as intersection over union.
      frozen_epochs: so long the head learns alone, on a backbone whose weights and
        batch statistics stay as they are.
      frozen_statistics: as of `supervised`.
      heads: beside the boxes', as `auxiliary.auxiliary_heads` has them.

    Raises:
      ConfigError: if the backbone has fewer maps than `levels`.

    Source: FCOS, arXiv:1904.01355 and 2006.09214, as torchvision has it.
    """
    frozen = durations.to_updates(frozen_epochs)
    beside = auxiliary_heads(heads, dtype=dtype)
    head = detector(
        kinds=kinds,
        levels=levels,
        coarser=coarser,
        width=width,
        depth=depth,
        dtype=dtype,
    )

    def one_view(key, example):
        placed = views["first"].placed(key, example["image"])
        boxes = boxes_through(placed, example["boxes"])
        return {"image": placed.image, "boxes": boxes, **beside.fields(placed, example)}

    def init(key, batch):
        view_key, backbone_key, head_key = jax.random.split(key, 3)
        x = views["first"](view_key, batch["image"][0])[None]
        encoder = backbone.init(backbone_key, x)
        features, _ = backbone.apply(encoder, x, False)
        points_on(encoder, x, features.maps)  # refuses too few maps
        detecting = head.init(head_key, features.maps)
        params = {"backbone": encoder["params"], "head": detecting["params"]}
        params |= beside.init(jax.random.fold_in(head_key, 1), features)
        return params, {"batch_stats": {"backbone": encoder["batch_stats"]}}

    def points_on(encoder, images, maps) -> Points:
        shapes = tuple(m.shape[1:-1] for m in maps)
        strides = strides_of(backbone, encoder, images.shape[1:], levels, coarser)
        return points_of(levels_of(shapes, levels, coarser), strides, middle=middle)

    def loss(params, aux, views, key, update):
        del key
        images, rows = views["image"], views["boxes"]
        encoder = base.backbone_variables(params, aux)
        keys = views.get(base.KEYS)
        features, stats = base.train_from(
            frozen, backbone, encoder, images, update, keys, frozen_statistics
        )
        detecting = {"params": params["head"]}  # without batch statistics
        found, _ = head.apply(detecting, features.maps, True)
        points = points_on(encoder, images, features.maps)
        sides = jnp.float32(images.shape[1:-1])

        def of_one(found, rows):
            boxes, own_kinds, there = in_voxels(rows, sides)
            match = matched(points, boxes, there)
            inside = match >= 0
            own = boxes[match]
            right = own_kinds[match][:, None] == jnp.arange(kinds)[None]
            right &= inside[:, None]
            focal = sigmoid_focal(found.kinds, right, alpha=alpha, gamma=gamma)
            apart = giou_loss(boxes_at(points, found.distances), own)
            # 1 at points that have no box, where the gradient has to be finite too
            to_faces = jnp.where(inside[:, None], faces(points.at, own), 1.0)
            near = centreness(to_faces)
            centre = optax.sigmoid_binary_cross_entropy(found.middle, near)
            count = jnp.sum(inside, dtype=jnp.float32)
            sums = {
                "focal": jnp.sum(focal),
                "giou": jnp.sum(jnp.where(inside, apart, 0.0)),
                "centreness": jnp.sum(jnp.where(inside, centre, 0.0)),
            }
            divisor = jnp.maximum(count, least_points)
            return {name: x / divisor for name, x in sums.items()}, count

        parts, counts = jax.vmap(of_one)(found, rows)
        parts = {name: x.mean() for name, x in parts.items()}
        new = {"batch_stats": {"backbone": stats}}
        metrics = {**parts, "points": counts.mean()}
        others, told = beside.loss(params, features, views)
        return sum(parts.values()) + others, ({**aux, **new}, metrics | told)

    def predict(params, aux, images):
        no_key = jax.random.key(0)  # the view of evaluation draws nothing
        images = jax.vmap(lambda image: views["eval"](no_key, image))(images)
        encoder = base.backbone_variables(params, aux)
        features, _ = backbone.apply(encoder, images, False)
        detecting = {"params": params["head"]}  # without batch statistics
        found, _ = head.apply(detecting, features.maps, False)
        points = points_on(encoder, images, features.maps)
        sides = jnp.float32(images.shape[1:-1])
        told = jax.vmap(lambda of_one: decoded(points, *of_one, sides))(found)
        return told | beside.predict(params, features, images.shape[1])

    def decide(told):
        others = dict(told)  # of other heads, or tasks
        points = others.pop("boxes"), others.pop("box_probability")
        fixed = {"candidates": candidates, "most": most, "overlap": overlap}
        return others | jax.vmap(functools.partial(likeliest, **fixed))(*points)

    return base.Method(
        init,
        one_view,
        loss,
        base.no_change,
        base.backbone_variables,
        predict,
        decide,
        frozen={"backbone": frozen} if frozen else {},
        **beside.of_method,
        boxes=kinds,
    )


def in_voxels(
    rows: Float[Array, "m columns"], sides: Float[Array, " r"]
) -> tuple[Array, Array, Array]:
    """Return boxes (m, 2 r) in voxels, kinds (m,) and which rows are boxes (m,).

    Rows are low corner, high corner, kind, corners as fractions of an image with these
    sides.
    """
    boxes, kinds = rows[:, :-1], rows[:, -1]
    there = kinds != NO_BOX
    return boxes * jnp.tile(sides, 2)[None], kinds.astype(jnp.int32), there


def decoded(
    points: Points,
    kinds: Float[Array, "p k"],
    distances: Float[Array, "p corners"],
    middle: Float[Array, " p"],
    sides: Float[Array, " r"],
) -> dict[str, Array]:
    """Return the box that each point of an image tells of, and how likely which kind.

    The probability is the geometric mean of that of the kind and of the point's to be in
    a box's middle. Boxes are cut to the image. The points of another model are the same
    ones, so that both can be averaged.

    Returns:
      boxes (p, 2 r) as fractions of the image, box_probability (p, k).
    """
    probability = jnp.sqrt(jax.nn.sigmoid(kinds) * jax.nn.sigmoid(middle)[:, None])
    whole = jnp.tile(sides, 2)[None]
    boxes = jnp.clip(boxes_at(points, distances) / whole, 0.0, 1.0)
    return {"boxes": boxes, "box_probability": probability}


def likeliest(
    boxes: Float[Array, "p corners"],
    probability: Float[Array, "p k"],
    *,
    candidates: int,
    most: int,
    overlap: float,
) -> dict[str, Array]:
    """Return the boxes of one image, the likeliest first; of those that overlap, one.

    Returns:
      boxes (most, 2 r), score (most,), kind (most,) int32, -1 and score 0 in rows
      without one.
    """
    count = probability.shape[1]
    flat = probability.reshape(-1)
    score, place = jax.lax.top_k(flat, min(candidates, len(flat)))
    boxes, kind = boxes[place // count], place % count
    low, high = corners(boxes)
    # overlaps are the same in fractions of the image as in voxels
    kept = nms(boxes, score, kind, iou=overlap) & jnp.all(high > low, axis=1)
    score = jnp.where(kept, score, 0.0)
    score, first = jax.lax.top_k(score, min(most, len(score)))
    there = score > 0
    lacking = most - len(score)
    boxes = jnp.where(there[:, None], boxes[first], 0.0)
    kind = jnp.where(there, kind[first], -1).astype(jnp.int32)
    return {
        "boxes": jnp.pad(boxes, ((0, lacking), (0, 0))),
        "score": jnp.pad(score, (0, lacking)),
        "kind": jnp.pad(kind, (0, lacking), constant_values=-1),
    }
