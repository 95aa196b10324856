"""An encoder for PyTorch: its state dict, and the lines that load it without us."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree
from safetensors.numpy import save_file

from medssl_jax import files
from medssl_jax.errors import ConfigError
from medssl_jax.models.convert import to_torch
from medssl_jax.models.vit import resized
from medssl_jax.saved.encoder import Encoder
from medssl_jax.views.compose import compose

FILE = "model.safetensors"
_STAGES = 4  # of torchvision's ResNets
_RESNETS = {
    ("basic", (2, 2, 2, 2)): "resnet18",
    ("basic", (3, 4, 6, 3)): "resnet34",
    ("bottleneck", (3, 4, 6, 3)): "resnet50",
    ("bottleneck", (3, 4, 23, 3)): "resnet101",
    ("bottleneck", (3, 8, 36, 3)): "resnet152",
}
_BLOCKS = {"basic": "BasicBlock", "bottleneck": "Bottleneck"}
# of torch.nn.Conv2d: kernel size, stride and padding of each stem
_STEMS = {"imagenet": "7, 2, 3", "r3d": "7, 2, 3", "small": "3, 1, 1"}
_DEEP_STEMS = _STEMS | {"r3d": "(3, 7, 7), (1, 2, 2), (1, 3, 3)"}
_CAN = (
    "resnet of 2D and 3D with up to four stages, and densenet and vit of 2D can be "
    "written for PyTorch"
)


def check(model: Mapping[str, Any]) -> None:
    """Refuse an encoder that neither torchvision nor timm has a network for.

    Raises:
      ConfigError: saying which can be written.
    """
    name, ndim = model["name"], model.get("ndim")
    if name == "resnet" and len(model["layers"]) <= _STAGES:
        return
    if name in ("densenet", "vit") and ndim == 2:
        return
    stages = f" with {len(model['layers'])} stages" if name == "resnet" else ""
    axes = f" in {ndim}D" if ndim else ""
    raise ConfigError(
        f"config.formats has torch, and neither torchvision nor timm has this encoder "
        f"({name}{axes}{stages}): {_CAN}; leave torch out, "
        "--config.formats='(\"stablehlo\",)'"
    )


def write(folder: Path, encoder: Encoder) -> str:
    """Write `FILE` into `folder`; return the lines that load it, see `loading`.

    Raises:
      ConfigError: as `check`.
      UserError: if it cannot be written.
    """
    spec, host = encoder.spec, encoder.host
    check(spec["model"])
    image = jax.ShapeDtypeStruct((*host.shape, spec["channels"]), jnp.float32)
    view = functools.partial(compose(spec["view"]), jax.random.key(0))
    *sides, channels = jax.eval_shape(view, image).shape
    one = jax.ShapeDtypeStruct((1, *image.shape), jnp.float32)
    features = jax.eval_shape(encoder, one).shape[-1]
    variables = _on_grid(encoder.variables, spec["model"], sides)
    name, ndim = spec["model"]["name"], spec["model"]["ndim"]
    tensors = to_torch(variables, model=name, ndim=ndim)
    files.write_whole(folder / FILE, functools.partial(save_file, tensors))
    return loading(spec, sides=sides, channels=channels, features=features)


def loading(
    spec: Mapping[str, Any], *, sides: Sequence[int], channels: int, features: int
) -> str:
    """Return lines that define `encode` over PyTorch's tensors, from `FILE`.

    What `encode` is given is what an `Encoder` is, channels second, where the view of
    `spec` does no more than standardise; of other views a comment says what is to be
    done first.

    Args:
      spec: of an encoder that `check` lets pass.
      sides: of the images after the view.
      channels: of the images.
      features: of an image.
    """
    lines = {"resnet": _resnet, "densenet": _densenet, "vit": _vit}
    imports, built = lines[spec["model"]["name"]](spec["model"], sides, channels)
    axes = ", ".join(map(str, (channels, *sides)))
    standardise = "standardise" in spec["view"]
    first = [k for k, v in spec["view"].items() if not _does_nothing(k, v, sides)]
    return "\n".join(
        [
            "import torch",
            "from safetensors.torch import load_file",
            *sorted(imports),
            "",
            *built,
            f'model.load_state_dict(load_file("{FILE}"), strict=True)',
            "model.eval()",
            "",
            "",
            f"def encode(images):  # float32 (n, {axes}) in [0, 1]",
            *[
                f"    # do this first: {name} {dict(spec['view'][name])}"
                for name in first
            ],
            *(_STANDARDISE if standardise else ()),
            "    with torch.no_grad():",
            f"        return model(images)  # (n, {features})",
            "",
        ]
    )


def _on_grid(variables: PyTree, model: Mapping[str, Any], sides: Sequence[int]):
    """Return variables whose positions, if any, are of images with these sides."""
    if model["name"] != "vit":
        return variables
    grid = tuple(side // model["patch"] for side in sides)
    params = variables["params"]
    table = resized(params["positions"], grid)
    return variables | {"params": params | {"positions": table}}


_STANDARDISE = (
    "    of_image = tuple(range(1, images.ndim))",
    "    images = images - images.mean(of_image, keepdim=True)",
    "    std = images.square().mean(of_image, keepdim=True).sqrt()",
    "    images = images / std.clamp(min=1e-4)",
)


def _does_nothing(name, arguments, sides):
    """Say whether a step of a view leaves images that have the view's size."""
    size = tuple(arguments.get("size") or ())
    fits = name in ("resize", "centre_crop") and size == tuple(sides[-len(size) :])
    return fits or name == "standardise"


def _resnet(model, sides, channels):
    del sides
    deep = model["ndim"] == 3
    layers, width = tuple(model["layers"]), model["width"]
    plain = width == 64 and len(layers) == _STAGES
    name = "" if deep else _RESNETS.get((model["block"], layers), "")
    if deep and (model["block"], layers) == ("basic", (2, 2, 2, 2)):
        name = "r3d_18"
    imports, block = set(), _BLOCKS[model["block"]]
    if plain and name:
        path = "torchvision.models.video" if deep else "torchvision.models"
        imports.add(f"from {path} import {name}")
        built = [f"model = {name}()"]
    else:
        imports, built = _staged(block, layers, width, deep)
    built += _deep_stem(model, channels) if deep else _stem("model", model, channels)
    return imports, [*built, "model.fc = torch.nn.Identity()"]


def _staged(block, layers, width, deep):
    """Return lines of torchvision's ResNet with other stages than the published."""
    imports = {f"from torchvision.models.resnet import {block}, ResNet"}
    conv, made = "", f"ResNet({block}, [1, 1, 1, 1])"
    if deep:
        module = "torchvision.models.video.resnet"
        names = f"BasicStem, Conv3DSimple, {block}, VideoResNet"
        if block < "BasicStem":
            names = f"{block}, BasicStem, Conv3DSimple, VideoResNet"
        imports = {f"from {module} import {names}"}
        conv = "Conv3DSimple, "
        made = f"VideoResNet({block}, [Conv3DSimple] * 4, [1, 1, 1, 1], BasicStem)"
    built = [
        f"model = {made}",
        f"model.inplanes = {width}  # of the first stage; torchvision's has 64",
        f"for i, blocks in enumerate({list(layers)}):",
        f"    arguments = {conv}{width} * 2**i, blocks, 1 if i == 0 else 2",
        f"    stage = model._make_layer({block}, *arguments)",
        '    setattr(model, f"layer{i + 1}", stage)',
    ]
    for i in range(len(layers), _STAGES):
        built.append(f"model.layer{i + 1} = torch.nn.Identity()")
    if not deep and width != 64:
        built.append(f"model.bn1 = torch.nn.BatchNorm2d({width})")
    return imports, built


def _stem(parent, model, channels):
    """Return the lines for a first convolution that is not the published one."""
    built, stem = [], model["stem"]
    width = model["width"] if "width" in model else model["initial_features"]
    conv, pool = ("conv1", "maxpool") if parent == "model" else ("conv0", "pool0")
    if channels != 3 or stem == "small" or (parent == "model" and width != 64):
        built.append(
            f"{parent}.{conv} = torch.nn.Conv2d("
            f"{channels}, {width}, {_STEMS[stem]}, bias=False)"
        )
    if stem != "imagenet":
        built.append(f"{parent}.{pool} = torch.nn.Identity()")
    return built


def _deep_stem(model, channels):
    stem, width = model["stem"], model["width"]
    if (stem, width, channels) == ("r3d", 64, 3):
        return []
    conv = f"torch.nn.Conv3d({channels}, {width}, {_DEEP_STEMS[stem]}, bias=False)"
    parts = [conv, f"torch.nn.BatchNorm3d({width})", "torch.nn.ReLU()"]
    if stem == "imagenet":
        parts.append("torch.nn.MaxPool3d(3, 2, 1)")
    return [
        "model.stem = torch.nn.Sequential(",
        *[f"    {part}," for part in parts],
        ")",
    ]


def _densenet(model, sides, channels):
    del sides
    growth, first = model["growth"], model["initial_features"]
    settings = f"{growth}, {tuple(model['blocks'])}, {first}"
    built = [f"model = DenseNet({settings})"]
    built += _stem("model.features", model, channels)
    built.append("model.classifier = torch.nn.Identity()")
    return {"from torchvision.models import DenseNet"}, built


def _vit(model, sides, channels):
    settings = {
        "img_size": tuple(sides),
        "patch_size": model["patch"],
        "in_chans": channels,
        "embed_dim": model["width"],
        "depth": model["depth"],
        "num_heads": model["heads"],
        "num_classes": 0,
    }
    # else timm's mean over tokens is taken before the last norm
    mean = {"global_pool": '"avg"', "fc_norm": False}
    settings |= mean if model["pooling"] == "mean" else {"global_pool": '"token"'}
    built = [f"    {name}={value}," for name, value in settings.items()]
    imports = {"from timm.models.vision_transformer import VisionTransformer"}
    return imports, ["model = VisionTransformer(", *built, ")"]
