"""What torchvision, timm and DINO call the variables of our ResNets, DenseNets and ViTs."""

import functools
from collections.abc import Callable, Iterable, Sequence

POSITIONS = "pos_embed.patches"  # of a ViT: its pos_embed is split, see `convert`
CLASS_POSITION = "pos_embed.class"
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}

NameOf = Callable[[Sequence[str]], str]


def of_tensors(names: Iterable[str]) -> tuple[str, NameOf]:
    """Return the name of the stem's kernel, and path -> name of any variable's.

    `names` are a state dict's, of which network they are says a layer that it alone has.
    """
    names = set(names)
    if POSITIONS in names:
        return "patch_embed.proj.weight", _of_vit
    if "features.conv0.weight" in names:
        return "features.conv0.weight", _of_densenet
    if "stem.0.weight" in names:
        return "stem.0.weight", functools.partial(_of_resnet, video=True)
    return "conv1.weight", functools.partial(_of_resnet, video=False)


def of_model(name: str, ndim: int) -> NameOf:
    """Return path -> name, of the variables of our `resnet`, `densenet` or `vit`."""
    resnet = functools.partial(_of_resnet, video=ndim == 3)
    return {"vit": _of_vit, "densenet": _of_densenet, "resnet": resnet}[name]


def _of_vit(path):
    """Return blocks.0.attn.qkv.weight for params, blocks_0, qkv, kernel, and so on."""
    _, *layer, last = path
    if not layer:
        tables = {"cls_position": CLASS_POSITION, "positions": POSITIONS}
        return tables.get(last, last)
    of_part = {
        "patch_embed": "patch_embed.proj",
        "qkv": "attn.qkv",
        "proj": "attn.proj",
    }
    of_part |= {"fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    *block, part = (name.replace("_", ".", name.startswith("blocks")) for name in layer)
    return ".".join([*block, of_part.get(part, part), _LEAVES[last]])


def _of_densenet(path):
    """Return features.denseblock1.denselayer2.conv1.weight for our names of it."""
    _, *layer, last = path
    name = ".".join(layer).replace("_", ".")
    if layer[0] == "stem":
        name = "norm0" if layer[-1] == "norm" else "conv0"
    return f"features.{name}.{_LEAVES[last]}"


def _of_resnet(path, video):
    """Return layer2.0.conv1.weight for params, layer2_0, conv1, kernel, and so on."""
    _, *layer, last = path
    norm = layer[-1] == "norm"
    *block, part = layer[:-1] if norm else layer
    if video or part == "downsample":
        part = f"{part}.{int(norm)}"
    else:
        part = part.replace("stem", "conv1")
        part = part.replace("conv", "bn") if norm else part
    return ".".join([*(name.replace("_", ".") for name in block), part, _LEAVES[last]])
