"""Losses of voxels against MONAI's values and formulas written out on NumPy."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from medssl_jax.losses import dice_loss, supervision_weights, voxel_cross_entropy

FORMS = list(itertools.product([True, False], [False, True]))  # background, over_batch


@pytest.fixture(scope="module")
def voxels():
    """Return logits, classes last, and labels of the reference."""
    random = np.random.RandomState(0)
    labels = random.randint(0, 3, (2, 4, 5, 6))
    assert labels.sum() == 232
    return np.moveaxis(random.randn(2, 3, 4, 5, 6), 1, -1), labels


@pytest.fixture(scope="module")
def regions():
    """Return logits and 0/1 labels of three regions that overlap."""
    random = np.random.RandomState(1)
    return random.randn(2, 4, 5, 3), random.randint(0, 2, (2, 4, 5, 3))


def value_and_gradient(loss, logits, labels):
    """Return the mean over examples in float64, and its slope in the logits."""
    with jax.enable_x64(True):
        labels = jnp.asarray(labels)
        of_logits = jax.jit(jax.value_and_grad(lambda z: loss(z, labels).mean()))
        return jax.tree.map(np.asarray, of_logits(jnp.asarray(logits)))


REFERENCE = {
    (True, False): (0.6795053917, 2.3030887869e-4),
    (False, False): (0.6816365397, 2.9074119599e-4),
    (True, True): (0.6793259483, 2.3031534515e-4),
    (False, True): (0.6814806745, 2.9086179217e-4),
}


@pytest.mark.parametrize("background, over_batch", FORMS)
def test_dice_loss_and_gradient_equal_the_reference_values(
    voxels, background, over_batch
):
    dice = functools.partial(dice_loss, background=background, over_batch=over_batch)
    loss, gradient = value_and_gradient(dice, *voxels)
    expected, squares = REFERENCE[background, over_batch]
    np.testing.assert_allclose(loss, expected, atol=1e-8)
    np.testing.assert_allclose(np.sum(gradient**2), squares, rtol=1e-8)


PER_CASE = np.array(
    [
        [0.6632707078, 0.72875697, 0.6533265756],
        [0.6872154839, 0.7029842927, 0.6414783205],
    ]
)


def test_dice_loss_of_a_case_is_the_mean_over_its_classes(voxels):
    logits, labels = map(jnp.asarray, voxels)
    for background, classes in ((True, PER_CASE), (False, PER_CASE[:, 1:])):
        each = dice_loss(
            jnp.float32(logits), labels, background=background, over_batch=False
        )
        np.testing.assert_allclose(each, classes.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(
    "over_batch, expected", [(False, 0.7712668993), (True, 0.7435353048)]
)
def test_an_absent_class_costs_a_case_one_unless_the_batch_has_it(
    voxels, over_batch, expected
):
    logits, labels = voxels
    labels = labels.copy()
    labels[1][labels[1] == 2] = 0
    dice = functools.partial(dice_loss, background=False, over_batch=over_batch)
    loss, _ = value_and_gradient(dice, logits, labels)
    np.testing.assert_allclose(loss, expected, atol=1e-8)


def test_cross_entropy_equals_the_reference_value(voxels):
    loss, gradient = value_and_gradient(voxel_cross_entropy, *voxels)
    np.testing.assert_allclose(loss, 1.4587550851, atol=1e-8)
    logits, labels = voxels
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = (p - np.eye(3)[labels]) / labels.size  # softmax - one-hot, of a mean
    np.testing.assert_allclose(gradient, expected, atol=1e-12)


def numpys_region_dice(logits, labels, over_batch):
    """Loop over regions, each a mask of its own."""
    p = 1 / (1 + np.exp(-logits))
    groups = [slice(None)] if over_batch else range(len(p))
    terms = [
        [
            1
            - (2 * (p[b][..., k] * labels[b][..., k]).sum() + 1e-5)
            / (p[b][..., k].sum() + labels[b][..., k].sum() + 1e-5)
            for k in range(p.shape[-1])
        ]
        for b in groups
    ]
    return np.broadcast_to(np.mean(terms, axis=1), len(p))


def assert_is_its_slope(numpys, logits, gradient):
    """Hold a gradient against differences of a NumPy loss along three directions."""
    random, h = np.random.RandomState(2), 1e-5
    for _ in range(3):
        way = random.randn(*logits.shape)
        ends = [numpys(logits + t * way) for t in (-h, h)]
        slope = (ends[1] - ends[0]) / (2 * h)
        np.testing.assert_allclose(np.sum(gradient * way), slope, rtol=1e-6)


@pytest.mark.parametrize("background, over_batch", FORMS)
def test_every_region_has_a_sigmoid_and_none_is_background(
    regions, background, over_batch
):
    dice = functools.partial(dice_loss, background=background, over_batch=over_batch)
    loss, gradient = value_and_gradient(dice, *regions)
    logits, labels = regions

    def numpys(z):
        return numpys_region_dice(z, labels, over_batch).mean()

    np.testing.assert_allclose(loss, numpys(logits), atol=1e-12)
    assert_is_its_slope(numpys, logits, gradient)


def test_cross_entropy_of_regions_is_binary_and_means_over_them(regions):
    loss, gradient = value_and_gradient(voxel_cross_entropy, *regions)
    logits, labels = regions
    p = 1 / (1 + np.exp(-logits))
    each = -np.log(np.where(labels == 1, p, 1 - p))
    np.testing.assert_allclose(loss, each.mean(), atol=1e-12)
    np.testing.assert_allclose(gradient, (p - labels) / labels.size, atol=1e-12)


@pytest.mark.parametrize("over_batch", [False, True])
def test_unknown_voxels_have_no_part_in_dice(voxels, over_batch):
    """As if the second half of every volume were not there."""
    logits, labels = voxels
    dice = functools.partial(dice_loss, background=True, over_batch=over_batch)
    unknown = labels.copy()
    unknown[:, 2:] = -1
    loss, gradient = value_and_gradient(dice, logits, unknown)
    expected, slope = value_and_gradient(dice, logits[:, :2], labels[:, :2])
    np.testing.assert_allclose(loss, expected, atol=1e-12)
    np.testing.assert_allclose(gradient[:, :2], slope, atol=1e-12)
    assert not gradient[:, 2:].any()


def test_unknown_regions_have_no_part_in_dice(regions):
    logits, labels = regions
    unknown = labels.copy()
    unknown[:, :, 3:] = -1
    dice = functools.partial(dice_loss, background=True, over_batch=False)
    loss, gradient = value_and_gradient(dice, logits, unknown)
    known = numpys_region_dice(logits[:, :, :3], labels[:, :, :3], over_batch=False)
    np.testing.assert_allclose(loss, known.mean(), atol=1e-12)
    assert not gradient[:, :, 3:].any()


def test_unknown_voxels_count_with_zero_in_cross_entropy(voxels, regions):
    for logits, labels in (voxels, regions):
        unknown = labels.copy()
        unknown[:, 2:] = -1
        loss, gradient = value_and_gradient(voxel_cross_entropy, logits, unknown)
        known, slope = value_and_gradient(
            voxel_cross_entropy, logits[:, :2], labels[:, :2]
        )
        share = 2 / labels.shape[1]
        np.testing.assert_allclose(loss, share * known, atol=1e-12)
        np.testing.assert_allclose(gradient[:, :2], share * slope, atol=1e-12)
        assert not gradient[:, 2:].any()


def over_devices(function):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.shard_map(
        lambda weight, *x: jax.tree.map(
            lambda y: y[None], function(weight, *(a[0] for a in x))
        ),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec("data"), PartitionSpec("data")),
        out_specs=PartitionSpec("data"),
        check_vma=False,
    )


def over_vmap(function):
    return jax.vmap(function, in_axes=(None, 0, 0), axis_name="data")


@pytest.mark.parametrize("over", [over_vmap, over_devices])
@pytest.mark.parametrize("over_batch", [False, True])
def test_the_mean_of_devices_gradients_is_one_devices(over, over_batch):
    """As the train step does it: each device's own gradient, then their mean."""
    random = np.random.RandomState(3)
    images, weight = random.randn(16, 3, 4, 5), random.randn(5, 4)
    images[..., 0], weight[0, 3] = 1, -15  # a class that the smoothing decides
    # as uneven as small lesions: a device without a class differs from the batch
    labels = random.choice(4, (16, 3, 4), p=[0.8, 0.18, 0.02, 0])
    images, weight, labels = (
        jnp.float32(images),
        jnp.float32(weight),
        jnp.asarray(labels),
    )

    def of_weight(axis_name, weight, images, labels):
        each = dice_loss(
            images @ weight,
            labels,
            background=False,
            over_batch=over_batch,
            axis_name=axis_name,
        )
        return each.mean()

    one = jax.value_and_grad(functools.partial(of_weight, None))
    many = over(jax.value_and_grad(functools.partial(of_weight, "data")))
    shards = [x.reshape(8, 2, *x.shape[1:]) for x in (images, labels)]
    losses, gradients = jax.jit(many)(weight, *shards)
    loss, gradient = jax.jit(one)(weight, images, labels)
    np.testing.assert_allclose(losses.mean(), loss, atol=1e-6)
    np.testing.assert_allclose(gradients.mean(axis=0), gradient, atol=1e-6)
    assert np.abs(gradient).max() > 1e-3
    if over_batch:
        np.testing.assert_array_equal(losses, losses[0])


def test_half_precision_is_summed_in_float32(voxels):
    """A volume's voxels are more than bfloat16 can count."""
    random = np.random.RandomState(4)
    logits = jnp.asarray(random.randn(1, 32, 32, 2), jnp.bfloat16)
    labels = jnp.asarray(random.randint(0, 2, (1, 32, 32)), jnp.uint8)
    p = np.exp(np.float64(logits))
    p /= p.sum(axis=-1, keepdims=True)
    y = np.eye(2)[labels]
    axes = (1, 2)
    dice = 2 * (p * y).sum(axes) / (p + y).sum(axes)
    losses = {
        "dice": dice_loss(logits, labels, background=True, over_batch=False),
        "cross-entropy": voxel_cross_entropy(logits, labels),
    }
    expected = {
        "dice": 1 - dice.mean(),
        "cross-entropy": -np.log((p * y).sum(-1)).mean(),
    }
    for name, loss in losses.items():
        assert loss.dtype == jnp.float32
        np.testing.assert_allclose(loss[0], expected[name], atol=1e-5)


def test_deep_supervision_halves_the_weight_and_leaves_out_the_coarsest():
    expected = [8 / 15, 4 / 15, 2 / 15, 1 / 15, 0]
    np.testing.assert_allclose(supervision_weights(5), expected, atol=1e-12)
    assert supervision_weights(2) == (1, 0)


def test_a_single_output_has_all_the_weight():
    assert supervision_weights(1) == (1,)
