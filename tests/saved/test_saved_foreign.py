"""What an encoder is for PyTorch, as far as it is known without PyTorch."""

import exported
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from medssl_jax.errors import ConfigError
from medssl_jax.saved import foreign
from medssl_jax.saved.encoder import Encoder, initial_variables

RESNET = {"name": "resnet", "ndim": 2, "layers": [1] * 4}


@pytest.mark.parametrize("kind", exported.QUICK)
def test_what_is_written_for_pytorch_can_be_started_from(tmp_path, kind):
    encoder = exported.encoder(kind)
    model, shape, channels, _ = exported.KINDS[kind]
    foreign.write(tmp_path, encoder)
    path = str(tmp_path / foreign.FILE)
    found = initial_variables(path, model, (*shape, channels))
    jax.tree.map(np.testing.assert_array_equal, found, dict(encoder.variables))


@pytest.mark.parametrize("kind", exported.KINDS)
def test_the_lines_are_python_and_name_file_and_images(kind):
    model, shape, channels, view = exported.KINDS[kind]
    spec = {"model": model, "view": view}
    lines = foreign.loading(spec, sides=shape, channels=channels, features=7)
    compile(lines, kind, "exec")
    assert 'load_file("model.safetensors"), strict=True' in lines
    axes = ", ".join(map(str, (channels, *shape)))
    assert f"float32 (n, {axes}) in [0, 1]" in lines and "# (n, 7)" in lines
    assert ("clamp(min=1e-4)" in lines) == ("standardise" in view)


def test_published_networks_go_by_their_published_name():
    grey, rgb = (
        foreign.loading(
            {"model": RESNET | model, "view": {}}, sides=sides, channels=c, features=1
        ).splitlines()
        for model, sides, c in (
            (
                {"layers": [3, 4, 6, 3], "block": "bottleneck", "width": 64}
                | {"stem": "imagenet"},
                (224, 224),
                1,
            ),
            (
                {"layers": [2] * 4, "block": "basic", "width": 64}
                | {"stem": "r3d", "ndim": 3},
                (16, 112, 112),
                3,
            ),
        )
    )
    assert "model = resnet50()" in grey
    assert "model.conv1 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)" in grey
    assert "model = r3d_18()" in rgb
    assert not [line for line in rgb if "stem" in line]


def test_a_view_that_changes_images_is_told():
    spec = {"model": exported.KINDS["vit"][0]}
    for view, told in (
        ({"resize": {"size": [16, 16]}}, False),
        ({"centre_crop": {"size": [16, 16]}}, False),
        ({"resize": {"size": [16, 8]}}, True),
        ({"gaussian_blur": {"sigma": 1.0}}, True),
    ):
        lines = foreign.loading(
            spec | {"view": view}, sides=(16, 16), channels=1, features=1
        )
        assert ("# do this first: " in lines) == told


@pytest.mark.parametrize(
    "model, said",
    [
        ({"name": "unet", "ndim": 3}, "unet in 3D"),
        ({"name": "in_plane_densenet"}, "in_plane_densenet"),
        ({"name": "slicewise", "of": exported.KINDS["vit"][0]}, "slicewise"),
        ({"name": "adapter", "of": RESNET}, "adapter"),
        ({"name": "vit", "ndim": 3}, "vit in 3D"),
        ({"name": "densenet", "ndim": 3}, "densenet in 3D"),
        (RESNET | {"layers": [1] * 5}, "resnet in 2D with 5 stages"),
    ],
)
def test_an_encoder_without_a_foreign_name_is_told_which_can(tmp_path, model, said):
    spec = {"view": {}, "host": {"shape": [8, 8]}, "channels": 1, "model": model}
    with pytest.raises(ConfigError) as error:
        foreign.check(spec["model"])
    assert f"({said}): resnet of 2D and 3D with up to four stages" in str(error.value)
    assert "config.formats" in str(error.value)


def test_positions_are_of_the_grid_that_the_lines_state(tmp_path):
    """An encoder that was trained on from images of another size keeps its table."""
    small = exported.encoder("vit")
    host = small.spec["host"] | {"shape": [32, 24]}
    larger = Encoder(
        small.variables,
        small.spec | {"host": host, "view": {"resize": {"size": [32, 24]}}},
    )
    assert "img_size=(32, 24)" in foreign.write(tmp_path, larger)
    table = load_file(tmp_path / foreign.FILE)["pos_embed"]
    assert table.shape == (1, 1 + 4 * 3, 24)
