"""Encoders of every kind that PyTorch has a name for, their weights drawn."""

import functools
import json

import jax
import jax.numpy as jnp
from reference.layers_numpy import randomised

from medssl_jax.saved.encoder import Encoder, backbone

_RESNET = {"name": "resnet", "ndim": 2, "layers": [1, 1, 1, 1], "block": "basic"}
_RESNET |= {"width": 8, "stem": "imagenet"}
_DENSENET = {"name": "densenet", "ndim": 2, "blocks": [2, 1], "stem": "imagenet"}
_DENSENET |= {"initial_features": 8, "growth": 4}
_VIT = {"name": "vit", "ndim": 2, "patch": 8, "width": 24, "heads": 3, "depth": 2}
_VIT |= {"maps": [2], "pooling": "class"}
_STANDARDISED = {"standardise": {}}
# (model, spatial shape, channels, view); odd sizes: an uneven padding would show
KINDS = {
    "resnet18 of grey": (
        _RESNET | {"layers": [2, 2, 2, 2], "width": 64},
        (33, 40),
        1,
        _STANDARDISED,
    ),
    "basic, small": (_RESNET | {"stem": "small"}, (13, 12), 3, {}),
    "bottleneck": (_RESNET | {"block": "bottleneck"}, (33, 40), 3, {}),
    "wide": (_RESNET | {"width": 72, "layers": [1, 1]}, (33, 40), 3, {}),
    "two stages": (
        _RESNET | {"layers": [1, 2], "stem": "r3d", "block": "bottleneck"},
        (21, 18),
        2,
        {},
    ),
    "published stages": (_RESNET | {"width": 64}, (33, 40), 3, {}),
    "r3d_18": (
        _RESNET | {"ndim": 3, "layers": [2, 2, 2, 2], "width": 64, "stem": "r3d"},
        (3, 17, 18),
        3,
        {},
    ),
    "3D, grey": (
        _RESNET | {"ndim": 3, "stem": "r3d", "layers": [1, 2]},
        (5, 17, 18),
        1,
        _STANDARDISED,
    ),
    "3D, bottleneck": (
        _RESNET | {"ndim": 3, "block": "bottleneck", "layers": [1, 1]},
        (9, 17, 18),
        1,
        {},
    ),
    "3D, small": (
        _RESNET | {"ndim": 3, "stem": "small", "layers": [1, 1, 1]},
        (5, 9, 8),
        2,
        {},
    ),
    "densenet": (_DENSENET, (33, 40), 3, {}),
    "densenet, small": (_DENSENET | {"stem": "small"}, (13, 12), 1, {}),
    "vit": (_VIT, (16, 24), 1, {"resize": {"size": [16, 24]}}),
    "vit, mean": (_VIT | {"pooling": "mean"}, (16, 16), 3, _STANDARDISED),
}
# of few variables, which compile in no time
QUICK = ("two stages", "3D, grey", "densenet, small", "vit")


def encoder(kind: str) -> Encoder:
    """Return the encoder of `KINDS`."""
    model, shape, channels, view = KINDS[kind]
    return _encoder(json.dumps(model), shape, channels, json.dumps(view))


@functools.cache
def _encoder(model, shape, channels, view):
    model, view = json.loads(model), json.loads(view)
    network = backbone(model, dtype=jnp.float32, axis_name=None)
    image = jnp.zeros((1, *shape, channels))
    host = {"shape": list(shape), "spacing_mm": None, "window": "none", "frames": "all"}
    spec = {"model": model, "view": view, "host": host, "channels": channels}
    spec["provenance"] = {"method": {"name": "simclr"}}
    variables = jax.jit(network.init)(jax.random.key(0), image)
    return Encoder(randomised(variables), spec)
