"""Exported encoders in PyTorch itself, and its own here; it needs the extra [bench]."""

import sys
from pathlib import Path

import exported
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from medssl_jax.models.features import pooled
from medssl_jax.saved import foreign
from medssl_jax.saved.encoder import backbone, initial_variables

NEEDED = "PyTorch, torchvision and timm are not installed (the extra [bench])"
torch = pytest.importorskip("torch", reason=NEEDED)
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from peers.vision import torchvision

timm = pytest.importorskip("timm", reason=NEEDED)


def channels_second(images):
    return torch.tensor(np.moveaxis(images, -1, 1).copy())


def assert_close(found, expected):
    """To 1e-5 of the largest: sums of many terms are as exact as their largest."""
    difference = np.abs(np.asarray(found) - np.asarray(expected)).max()
    assert difference <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("kind", exported.KINDS)
def test_the_lines_load_what_gives_the_same_features(tmp_path, kind, monkeypatch):
    encoder = exported.encoder(kind)
    _, shape, channels, _ = exported.KINDS[kind]
    monkeypatch.chdir(tmp_path)
    loaded = {}
    exec(foreign.write(tmp_path, encoder), loaded)  # noqa: S102, strictly
    images = np.random.RandomState(0).rand(3, *shape, channels).astype(np.float32)
    found = loaded["encode"](channels_second(images)).numpy()
    assert_close(found, encoder(images))
    assert found.std(axis=0).max() > 1e-3


@pytest.mark.parametrize(
    "kind, name", [("resnet18 of grey", "resnet18"), ("vit", None)]
)
def test_timms_own_names_are_the_same(tmp_path, kind, name):
    encoder = exported.encoder(kind)
    _, shape, channels, view = exported.KINDS[kind]
    foreign.write(tmp_path, encoder)
    settings = {"in_chans": channels, "num_classes": 0}
    if name is None:
        name = "vit_tiny_patch16_224"
        settings |= {"img_size": shape, "patch_size": 8, "embed_dim": 24, "depth": 2}
    model = timm.create_model(name, **settings)
    found = timm.models.load_state_dict(str(tmp_path / foreign.FILE))
    model.load_state_dict(found, strict=True)
    images = np.random.RandomState(0).rand(2, *shape, channels).astype(np.float32)
    given = images
    if "standardise" in view:
        given = images - images.mean(axis=(1, 2, 3), keepdims=True)
        given /= given.std(axis=(1, 2, 3), keepdims=True)
    with torch.no_grad():
        features = model.eval()(channels_second(given)).numpy()
    assert_close(features, encoder(images))


RESNET = {"name": "resnet", "ndim": 2, "layers": [2, 2, 2, 2], "block": "basic"}
RESNET |= {"width": 64, "stem": "imagenet"}
DENSENET = {"name": "densenet", "ndim": 2, "blocks": [6, 12, 24, 16], "growth": 32}
DENSENET |= {"initial_features": 64, "stem": "imagenet"}
VIT = {"name": "vit", "ndim": 2, "patch": 16, "width": 192, "heads": 3, "depth": 12}
VIT |= {"maps": [12], "pooling": "class"}
GIVEN = {
    "torchvision's": (lambda: torchvision.models.resnet18(num_classes=5), RESNET, 3),
    "timm's": (lambda: timm.create_model("resnet18", num_classes=7), RESNET, 3),
    "timm's of grey": (lambda: timm.create_model("resnet18", in_chans=1), RESNET, 1),
    "timm's densenet": (lambda: timm.create_model("densenet121"), DENSENET, 3),
    "timm's vit": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=48, in_chans=1),
        VIT,
        1,
    ),
}


@pytest.mark.parametrize("given", GIVEN)
def test_weights_of_others_give_their_features_here(tmp_path, given):
    build, model, channels = GIVEN[given]
    torch.manual_seed(0)
    theirs = build().eval()
    tensors = {name: x.numpy() for name, x in theirs.state_dict().items()}
    path = tmp_path / "theirs.safetensors"
    save_file(tensors, path)
    images = np.random.RandomState(0).rand(2, 48, 48, channels).astype(np.float32)
    variables = initial_variables(str(path), model, images.shape[1:])
    network = pooled(backbone(model, dtype=jnp.float32, axis_name=None))
    found, _ = jax.jit(network.apply, static_argnums=2)(variables, images, False)
    for head in ("fc", "classifier", "head"):
        if hasattr(theirs, head):
            setattr(theirs, head, torch.nn.Identity())
    with torch.no_grad():
        expected = theirs(channels_second(images)).numpy()
    assert_close(found, expected)
