"""Vision transformers against timm's numbers, devices, dtypes, and what cannot be."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medssl_jax.errors import ConfigError, UserError
from medssl_jax.models.convert import from_torch, to_torch
from medssl_jax.models.vit import resized, vit

TINY = {
    "ndim": 2,
    "patch": 8,
    "width": 48,
    "heads": 3,
    "depth": 2,
    "maps": (1, 2),
    "pooling": "class",
}
SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}
# of medssl's reference values: timm, patch 16, no head
COUNTS = {
    "tiny": (5_437_632, 5_524_416),
    "small": (21_492_096, 21_665_664),
    "base": (85_451_520, 85_798_656),
}


def timm_layout(width, depth, patches, patch, channels):
    """Return the shapes of timm's state dict, in PyTorch's layout."""
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + patches, width),
        "patch_embed.proj.weight": (width, channels, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    for i in range(depth):
        sizes = {
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "mlp.fc1": (4 * width, width),
            "mlp.fc2": (width, 4 * width),
        }
        for name, shape in sizes.items():
            shapes[f"blocks.{i}.{name}.weight"] = shape
            shapes[f"blocks.{i}.{name}.bias"] = shape[:1]
        for name in ("norm1", "norm2"):
            shapes[f"blocks.{i}.{name}.weight"] = (width,)
            shapes[f"blocks.{i}.{name}.bias"] = (width,)
    return shapes | {"norm.weight": (width,), "norm.bias": (width,)}


@functools.cache
def tensors_drawn():
    """Draw the weights of the reference values."""
    rng = np.random.RandomState(0)
    drawn = {}
    for name, shape in sorted(timm_layout(48, 2, 16, 8, 1).items()):
        drawn[name] = rng.randn(*shape) * 0.1
        if "norm" in name and name.endswith("weight"):
            drawn[name] += 1
    assert sum(array.size for array in drawn.values()) == 60_624
    return drawn


def images(*shape, seed=1):
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def shapes_of(network, image):
    return jax.eval_shape(network.init, jax.random.key(0), image)


@pytest.fixture(scope="module")
def variables():
    shapes = shapes_of(vit(**TINY), images(1, 32, 32, 1))
    return from_torch(tensors_drawn(), shapes, sum_channels=False)


@functools.partial(jax.jit, static_argnums=0)
def features(network, variables, x):
    return network.apply(variables, x, False)[0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place, image", [(0, (256, 256, 1)), (1, (224, 224, 3))])
def test_it_has_as_many_parameters_as_timms(size, place, image):
    width, heads = SIZES[size]
    model = TINY | {
        "patch": 16,
        "width": width,
        "heads": heads,
        "depth": 12,
        "maps": (12,),
    }
    shapes = shapes_of(vit(**model), jnp.zeros((1, *image)))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert count == COUNTS[size][place]


def test_gives_the_tokens_of_timm(variables):
    x = images(2, 1, 32, 32).transpose(0, 2, 3, 1)
    found = features(vit(**TINY), variables, x)
    close = functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5)
    close(found.pooled[0, :4], [0.7937757071, 0.0543092113, 0.0480661157, 1.7186129364])
    patches = found.maps[-1].reshape(2, 16, 48)
    close(patches[0, 0, :3], [1.0591149683, 0.0970167497, -0.3936828785])
    every = np.concatenate([found.pooled[:, None], patches], axis=1).astype(np.float64)
    np.testing.assert_allclose(every.sum(), -15.4107920321, atol=1e-3)
    np.testing.assert_allclose((every**2).sum(), 1700.6650068359, rtol=1e-5)
    mean = features(vit(**TINY | {"pooling": "mean"}), variables, x).pooled
    close(mean, patches.mean(axis=1))


def test_what_came_from_timm_goes_back_to_the_same_state_dict(variables):
    found = to_torch(variables, model="vit", ndim=2)
    assert found.keys() == tensors_drawn().keys()
    for name, array in tensors_drawn().items():
        np.testing.assert_array_equal(found[name], array.astype(np.float32))


def test_positions_of_another_grid_are_those_of_timm():
    table = np.random.RandomState(0).randn(1, 197, 4)
    with jax.enable_x64(True):
        found = resized(jnp.asarray(table[0, 1:].reshape(14, 14, 4)), (16, 16))
    found = np.asarray(found)
    assert found.sum() == pytest.approx(-76.5967708783, abs=1e-8)
    assert (found**2).sum() == pytest.approx(674.4283078271, abs=1e-8)


def test_images_of_another_size_meet_resized_positions_as_imported_ones_do(variables):
    network, x = vit(**TINY), images(2, 48, 24, 1)
    imported = from_torch(tensors_drawn(), shapes_of(network, x), sum_channels=False)
    assert imported["params"]["positions"].shape == (6, 3, 48)
    found, expected = (
        features(network, one, x).pooled for one in (variables, imported)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_attention_is_what_values_are_weighed_by(variables):
    x = images(1, 32, 32, 1)
    attention = features(vit(**TINY), variables, x).attention
    assert len(attention) == 2
    params = jax.tree.map(np.asarray, variables["params"])
    block = params["blocks_0"]
    # the first block again, in NumPy
    patches = x.reshape(4, 8, 4, 8).transpose(0, 2, 1, 3).reshape(16, 64)
    embed = params["patch_embed"]
    tokens = patches @ embed["kernel"].reshape(64, 48) + embed["bias"]
    tokens += params["positions"].reshape(16, 48)
    first = params["cls_token"] + params["cls_position"]
    tokens = np.concatenate([first[None], tokens]).astype(np.float64)
    y = (tokens - tokens.mean(1, keepdims=True)) / np.sqrt(
        tokens.var(1, keepdims=True) + 1e-6
    )
    y = y * block["norm1"]["scale"] + block["norm1"]["bias"]
    q, k, _ = np.split(y @ block["qkv"]["kernel"] + block["qkv"]["bias"], 3, axis=1)
    q, k = (part.reshape(17, 3, 16).transpose(1, 0, 2) for part in (q, k))
    scores = np.exp(q @ k.transpose(0, 2, 1) / 4)
    expected = scores / scores.sum(-1, keepdims=True)
    np.testing.assert_allclose(attention[0][0], expected, atol=1e-5)


def test_what_nobody_reads_is_not_computed(variables):
    network, x = vit(**TINY), images(1, 32, 32, 1)

    def flops(read):
        lowered = jax.jit(lambda x: read(network.apply(variables, x, False)[0]))
        return lowered.lower(x).compile().cost_analysis()["flops"]

    without, with_it = (
        flops(lambda f: f.pooled),
        flops(lambda f: (f.pooled, f.attention)),
    )
    assert without + 2 * 3 * 17 * 17 * 16 * 2 <= with_it


def test_a_volume_is_cut_into_cubes(variables):
    """A volume of equal slices, with the kernel of a plane spread over its depth."""
    flat, deep = vit(**TINY), vit(**TINY | {"ndim": 3})
    x = images(2, 32, 32, 1)
    volumes = np.repeat(x[:, None], 8, axis=1)
    params = dict(variables["params"])
    kernel = params["patch_embed"]["kernel"]
    params["patch_embed"] = params["patch_embed"] | {
        "kernel": jnp.repeat(kernel[None], 8, axis=0) / 8
    }
    params["positions"] = params["positions"][None]
    expected = features(flat, variables, x).pooled
    found = features(deep, {**variables, "params": params}, volumes).pooled
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_bfloat16_is_close_and_features_stay_float32(variables):
    x = images(2, 32, 32, 1)
    fine, coarse = (
        features(vit(**TINY | {"dtype": dtype}), variables, x)
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    assert coarse.pooled.dtype == jnp.float32
    assert {m.dtype for m in coarse.maps} == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_allclose(coarse.pooled, fine.pooled, atol=0.1)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"pooling": "max"}, "unknown pooling 'max'; known: class, mean"),
        ({"heads": 5}, "width 48 is not divisible by 5 heads"),
        ({"maps": (1, 3)}, r"maps is \(1, 3\); name blocks of 1 to 2"),
        ({"maps": (2, 1)}, "in rising order, 2 the last"),
        ({"maps": (1,)}, "2 the last, which is pooled"),
        ({"maps": ()}, "name blocks of 1 to 2"),
    ],
)
def test_settings_that_cannot_be_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        vit(**TINY | settings)


def test_images_that_the_patch_does_not_divide_are_refused():
    with pytest.raises(ConfigError, match="patch 8 does not divide images of 32 x 30"):
        shapes_of(vit(**TINY), images(1, 32, 30, 1))


def test_weights_with_other_tokens_are_refused():
    more = tensors_drawn() | {"pos_embed": np.zeros((1, 18, 48))}
    with pytest.raises(UserError, match="pos_embed has 17 positions, which make no sq"):
        from_torch(
            more, shapes_of(vit(**TINY), images(1, 32, 32, 1)), sum_channels=False
        )
