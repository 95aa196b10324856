"""Rotations, permutations and patches against NumPy, and what their tasks make of them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from reference.layers_numpy import randomised

from medssl_jax import resolve
from medssl_jax.data.order.sampler import sampler
from medssl_jax.data.source import Examples
from medssl_jax.errors import ConfigError
from medssl_jax.methods import pretext
from medssl_jax.methods.jigsaw import permutations
from medssl_jax.methods.patches import overlapping, shaken
from medssl_jax.methods.rotation import rotate
from medssl_jax.models.features import Features
from medssl_jax.models.network import Network
from medssl_jax.models.unet import unet
from medssl_jax.run.suitable import check_data
from medssl_jax.views.compose import View

PUBLISHED = (  # of 0 1 2 3 4 5 6 7 in a cube
    "01234567 23670145 67452301 45016723 20316475 32107654 13025746 40625173 54761032 "
    "15370426"
)


def test_the_ten_rotations_are_the_published_ones():
    cube = jnp.arange(8.0).reshape(2, 2, 2, 1)
    turned = [rotate(cube, label).ravel().astype(int) for label in range(10)]
    assert [*map(list, turned)] == [[*map(int, one)] for one in PUBLISHED.split()]


def test_an_images_four_rotations_are_numpys_and_keep_channels():
    image = np.random.default_rng(0).random((5, 5, 2)).astype(np.float32)
    turned = jax.vmap(rotate, (None, 0))(jnp.asarray(image), jnp.arange(4))
    for label in range(4):
        np.testing.assert_array_equal(turned[label], np.rot90(image, label))


@pytest.mark.parametrize("shape", [(2, 3, 3, 1), (4, 5, 1), (4, 1)])
def test_what_cannot_be_turned_is_refused(shape):
    with pytest.raises(ConfigError, match=r"sides of config\.data\.shape, .* equal"):
        rotate(jnp.zeros(shape), 1)


@pytest.mark.parametrize(("cells", "most", "apart"), [(27, 702, 26), (9, 504, 7)])
def test_any_two_permutations_are_as_far_apart_as_can_be(cells, most, apart):
    every = permutations(cells, most, seed=0)
    np.testing.assert_array_equal(np.sort(every), np.tile(np.arange(cells), (most, 1)))
    distance = (every[:, None] != every[None]).sum(axis=-1)
    assert distance[~np.eye(most, dtype=bool)].min() == apart
    chosen = permutations(cells, 100, seed=1)
    assert len({*map(tuple, permutations(cells, most - 1, seed=3))}) == most - 1
    assert (permutations(cells, 100, seed=1) == chosen).all()
    assert (permutations(cells, 100, seed=2) != chosen).any()
    assert {*map(tuple, chosen)} <= {*map(tuple, every)}


def test_permutations_that_there_are_not_are_refused():
    with pytest.raises(ConfigError, match="method.orders is 703; 27 cells have 702"):
        permutations(27, 703, seed=0)
    with pytest.raises(ConfigError, match="8 cells have no permutations"):
        permutations(8, 2, seed=0)


def test_patches_lie_in_their_cells_and_are_shaken():
    image = jnp.arange(11.0 * 14).reshape(11, 14, 1)
    cut = jax.jit(lambda key: shaken(key, image, grid=3, jitter=1, standardise=False))
    seen, pairs = set(), set()
    for seed in range(30):
        found = np.asarray(cut(jax.random.key(seed)))[..., 0]
        assert found.shape == (9, 2, 3)
        shifts = []
        for patch, (row, column) in zip(
            found, itertools.product(range(3), repeat=2), strict=True
        ):
            top, left = divmod(int(patch[0, 0]), 14)
            expected = np.asarray(image)[top : top + 2, left : left + 3, 0]
            np.testing.assert_array_equal(patch, expected)
            # 11 is 1 + 3 * 3 + 1, 14 is 1 + 3 * 4 + 1
            assert 0 <= top - (1 + 3 * row) <= 1 and 0 <= left - (1 + 4 * column) <= 1
            shifts.append((top - 3 * row, left - 4 * column))
        seen |= {*shifts}
        pairs |= {*itertools.pairwise(shifts)}
    assert len(seen) == 4 and len(pairs) == 16  # each patch on its own


def test_standardised_patches_tell_nothing_of_brightness():
    ramp = jnp.linspace(0.0, 1.0, 9 * 9).reshape(9, 9, 1).at[:3, :3].set(0.5)
    cut = shaken(jax.random.key(0), ramp, grid=3, jitter=0, standardise=True)
    np.testing.assert_allclose(cut[0], 0.0)
    np.testing.assert_allclose(cut[1:].mean(axis=(1, 2, 3)), 0.0, atol=1e-5)
    np.testing.assert_allclose(cut[1:].std(axis=(1, 2, 3)), 1.0, atol=1e-4)


def test_a_constant_patch_is_nothing_whatever_its_value():
    """0.3 has no exact mean: what is left by rounding has a deviation too."""
    found = overlapping(jnp.full((40, 40, 1), 0.3), size=39, stride=1, standardise=True)
    np.testing.assert_allclose(found, 0.0, atol=0.01)


def halving(levels, ndim=3):
    return unet(ndim=ndim, width=1, levels=levels)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        (
            "jigsaw",
            {"jitter": 1},
            "method.jitter 1, with 3 cells a side of config.data",
        ),
        ("relative_patch_location", {"jitter": 1}, "method.jitter 1, with 3 cells"),
        ("cpc", {"patch": 2}, "method.patch 2 makes"),
    ],
)
def test_patches_that_a_network_would_halve_to_nothing_are_refused(
    name, settings, said, monkeypatch
):
    """9 voxels make cells of 3; halved twice, as by 3 levels, takes more than 2."""
    monkeypatch.setattr(tiny, "views", lambda name="": {"first": View(())})
    batch = {"image": jnp.zeros((1, 9, 9, 9, 1))}
    method = tiny.method(name, None, backbone=halving(3), **settings)
    with pytest.raises(ConfigError, match=said) as raised:
        jax.eval_shape(method.init, jax.random.key(0), batch)
    assert "patches of 2 x 2 x 2 voxels" in str(raised.value)
    assert "one voxel out of 4 x 4 x 4" in str(raised.value)
    enough = {field: 0 if field == "jitter" else 3 for field in settings}
    method = tiny.method(name, None, backbone=halving(3), **enough)
    jax.eval_shape(method.init, jax.random.key(0), batch)


def test_a_grid_without_room_for_patches_is_refused():
    with pytest.raises(
        ConfigError, match="method.jitter is 2: the cells .* 6 x 9 have 2 x 3 voxels"
    ):
        shaken(
            jax.random.key(0), jnp.zeros((6, 9, 1)), grid=3, jitter=2, standardise=False
        )


def unchanged(name, **settings):
    """Return a method whose backbone is the image itself, and its views."""
    itself = Network(
        lambda key, x: {"params": {}, "batch_stats": {}},
        lambda variables, x, train, keys=None: (
            Features(x.reshape(len(x), -1), (x,)),
            {},
        ),
    )
    method = tiny.method(name, None, backbone=itself, **settings)
    return method


@pytest.fixture
def numbered(monkeypatch):
    """Views that change nothing, of an image of which every voxel is its place."""
    monkeypatch.setattr(tiny, "views", lambda name="": {"first": View(())})
    return jnp.arange(27.0).reshape(3, 3, 3, 1)


def test_jigsaws_label_is_the_order_of_its_patches(numbered):
    method = unchanged("jigsaw", orders=50, standardise=False)
    known, labels = permutations(27, 50, seed=0), set()
    for seed in range(20):
        views = method.views(jax.random.key(seed), {"image": numbered})
        order = np.asarray(views["images"]).ravel()
        np.testing.assert_array_equal(order, known[views["label"]])
        labels.add(int(views["label"]))
    assert len(labels) > 10


def test_relative_location_pairs_the_middle_with_a_neighbour(numbered):
    method = unchanged("relative_patch_location", standardise=False)
    places = set()
    for seed in range(200):
        views = method.views(jax.random.key(seed), {"image": numbered})
        middle, other = np.asarray(views["images"]).ravel().astype(int)
        assert middle == 13 and other != 13
        assert views["label"] == (other if other < 13 else other - 1)
        places.add(int(views["label"]))
    assert places == {*range(26)}


def test_rotations_label_is_its_turn(numbered):
    method = unchanged("rotation")
    labels = set()
    for seed in range(60):
        views = method.views(jax.random.key(seed), {"image": numbered})
        turned = rotate(numbered, int(views["label"]))
        np.testing.assert_array_equal(views["images"][0], turned)
        labels.add(int(views["label"]))
    assert labels == {*range(10)}


def test_the_loss_is_cross_entropy_of_all_patches_features_in_their_order():
    method = unchanged("jigsaw", hidden_sizes=())
    random = np.random.default_rng(0)
    images = random.random((4, 27, 1, 2, 2, 1), np.float32)
    label = np.array([0, 4, 2, 2], np.int32)
    batch = {"image": jnp.asarray(random.random((4, *tiny.SHAPE), np.float32))}
    params, aux = method.init(jax.random.key(0), batch)
    params = jax.device_get(randomised(params))
    views = {"images": jnp.asarray(images), "label": jnp.asarray(label)}
    loss, (_, metrics) = method.loss(params, aux, views, None, jnp.int32(0))
    logits = images.reshape(4, -1) @ params["head"]["output"]["kernel"]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -np.log(p[np.arange(4), label])
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        metrics["loss_of_guessing"], expected.mean() / np.log(5), rtol=1e-5
    )
    right = (logits.argmax(axis=1) == label).mean()
    np.testing.assert_allclose(metrics["pretext_accuracy"], right)


def test_verdicts_tell_guessing_shortcuts_and_collapse():
    fine = {"pretext_accuracy": 0.5, "loss_of_guessing": 0.7, "spread": 0.4}
    assert pretext.verdict(fine) == pretext.solved(fine) == ""
    assert "at chance" in pretext.verdict(fine | {"loss_of_guessing": 0.995})
    assert "collapsed" in pretext.verdict(fine | {"spread": 0.01})
    early = fine | {"pretext_accuracy": 0.995}
    assert "first epoch (99.5%" in pretext.solved(early)
    exemplar = unchanged("exemplar").early
    assert exemplar(fine) == "" and "method.hardest=True" in exemplar(early)


def flat(x):
    """A backbone without weights: the image as a vector."""
    return np.asarray(x, np.float64).reshape(len(x), -1)


@pytest.mark.parametrize("hardest", [False, True])
def test_exemplars_negative_is_another_patients_scan(hardest):
    method = unchanged("exemplar", hardest=hardest, margin=0.02)
    random = np.random.default_rng(0)
    views = {
        name: jnp.asarray(random.random((5, 2, 2, 2, 1), np.float32))
        for name in ("first", "second")
    }
    patient = np.array([7, 7, 3, 9, 3])
    params, aux = method.init(jax.random.key(0), {"image": views["first"]})
    params = jax.device_get(randomised(params))
    given = {**views, "patient": jnp.asarray(patient, jnp.uint32)}
    loss, (_, metrics) = method.loss(params, aux, given, None, jnp.int32(0))

    layer = params["head"]["output"]
    anchor, positive = (
        1 / (1 + np.exp(-(flat(views[name]) @ layer["kernel"] + layer["bias"])))
        for name in ("first", "second")
    )
    expected = []
    for i in range(5):
        others = [(i + step) % 5 for step in range(1, 5)]
        others = [j for j in others if patient[j] != patient[i]]
        far = [np.square(anchor[i] - anchor[j]).mean() for j in others]
        chosen = min(far) if hardest else far[0]
        near = np.square(anchor[i] - positive[i]).mean()
        expected.append(max(0.0, near - chosen + 0.02))
    np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-4)
    assert metrics["active"] == pytest.approx(np.mean(np.array(expected) > 0))
    right = np.mean(np.array(expected) < 0.02)
    assert metrics["pretext_accuracy"] == pytest.approx(right)


def test_exemplar_of_one_patient_alone_costs_nothing_and_says_so():
    method = unchanged("exemplar")
    views = {"first": jnp.ones((3, 2, 2, 2, 1)), "second": jnp.zeros((3, 2, 2, 2, 1))}
    params, aux = method.init(jax.random.key(0), {"image": views["first"]})
    views["patient"] = jnp.full(3, 5, jnp.uint32)
    loss, (_, metrics) = method.loss(params, aux, views, None, jnp.int32(0))
    assert loss == 0 and metrics["pretext_accuracy"] == 0
    train = Examples(["a", "b"], dict, patients=["x", "x"])
    rows = sampler("shuffled", train, batch_size=2, seed=0)
    with pytest.raises(ConfigError, match="all training examples are of one"):
        check_data(method, rows, train)
    check_data(method, rows, Examples(["a", "b"], dict))  # each counts as its own


def numpys_gru(x, cell):
    """Transcribe arXiv:1406.1078, eq. 5 to 8, with the reset behind the matrix."""

    def gate(name, h, x, of_h):
        out = x @ cell[f"i{name}"]["kernel"] + cell[f"i{name}"]["bias"]
        return 1 / (1 + np.exp(-(out + of_h)))

    h, found = np.zeros((len(x), cell["hn"]["kernel"].shape[0])), []
    for step in range(x.shape[1]):
        now = x[:, step]
        reset = gate("r", h, now, h @ cell["hr"]["kernel"])
        update = gate("z", h, now, h @ cell["hz"]["kernel"])
        of_h = h @ cell["hn"]["kernel"] + cell["hn"]["bias"]
        new = np.tanh(now @ cell["in"]["kernel"] + cell["in"]["bias"] + reset * of_h)
        h = (1 - update) * new + update * h
        found.append(h)
    return np.stack(found, axis=1)


@pytest.mark.parametrize("negatives", ["positions", "images"])
def test_cpc_predicts_the_rows_below_of_its_own_column(negatives):
    method = unchanged("cpc", negatives=negatives, steps=2, temperature=0.5)
    random = np.random.default_rng(0)
    images = random.random((3, 4, 2, 2, 2, 2, 1), np.float32)  # b, rows, columns
    batch = {"image": jnp.asarray(random.random((1, 8, 2, 4, 1), np.float32))}
    params, aux = method.init(jax.random.key(0), batch)
    first, second = (params[f"predictor_{k}"]["output"]["kernel"] for k in (1, 2))
    assert first.shape == second.shape and (first != second).all()
    params = jax.device_get(randomised(params))
    views = {"images": jnp.asarray(images)}
    loss, (_, metrics) = method.loss(params, aux, views, None, jnp.int32(0))

    def linear(x, name):
        return x @ params[name]["output"]["kernel"] + params[name]["output"]["bias"]

    codes = linear(images.reshape(3, 4, 2, -1).astype(np.float64), "coder")
    context = np.stack(
        [numpys_gru(codes[:, :, k], params["reader"]["cell"]) for k in (0, 1)], axis=2
    )
    of_steps, right, of_guessing = [], [], []
    for step in (1, 2):
        said, true = linear(context[:, :-step], f"predictor_{step}"), codes[:, step:]
        losses = []
        for i, row, column in np.ndindex(said.shape[:3]):
            if negatives == "images":
                among, own = true[:, row, column], i
            else:
                among = true.reshape(-1, true.shape[-1])
                own = np.ravel_multi_index((i, row, column), true.shape[:3])
            p = said[i, row, column]
            cosine = among @ p / np.linalg.norm(among, axis=1) / np.linalg.norm(p)
            scores = cosine / 0.5
            losses.append(np.log(np.exp(scores).sum()) - scores[own])
            right.append((step, scores.argmax() == own))
        of_steps.append(np.mean(losses))
        of_guessing.append(np.mean(losses) / np.log(len(among)))
    np.testing.assert_allclose(loss, np.mean(of_steps), rtol=1e-4)
    assert metrics["loss_of_guessing"] == pytest.approx(np.mean(of_guessing), rel=1e-4)
    each = [np.mean([r for s, r in right if s == step]) for step in (1, 2)]
    assert metrics["pretext_accuracy"] == pytest.approx(np.mean(each))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cpc", {"negatives": "positions"}),
        ("cpc", {"negatives": "images"}),
        ("exemplar", {"hardest": False}),
        ("exemplar", {"hardest": True}),
    ],
)
def test_what_is_compared_is_of_all_devices(name, settings):
    """Two mapped over, as devices are, tell of eight examples what one does."""
    alone, mapped = (tiny.method(name, axis, **settings) for axis in (None, "devices"))
    batch = jax.tree.map(jnp.asarray, tiny.batch(0))
    params, aux = jax.jit(alone.init)(jax.random.key(0), batch)
    of_all = jax.jit(jax.vmap(alone.views))
    views = of_all(jax.random.split(jax.random.key(1), 8), batch)

    def loss(method, views):
        found, (_, metrics) = method.loss(params, aux, views, None, jnp.int32(0))
        return {"loss": found, **metrics}

    halves = jax.tree.map(lambda x: x.reshape(2, 4, *x.shape[1:]), views)
    of_half = jax.vmap(lambda half: loss(mapped, half), axis_name="devices")
    told = jax.jit(of_half)(halves)
    expected = jax.jit(lambda views: loss(alone, views))(views)
    assert told.keys() == expected.keys()
    for field, of_both in told.items():
        assert of_both.mean() == pytest.approx(float(expected[field]), rel=1e-4), field


@pytest.mark.parametrize(
    ("sides", "stride", "grid", "first"),
    # 9 is 4 + 2 * 2 + 1: nothing over above; 7 is 4 + 2 + 1
    # 11 is 1 + 4 + 4 + 2, 10 is 1 + 4 + 4 + 1
    [((9, 7), 2, (3, 2), (0, 0)), ((11, 10), 4, (2, 2), (1, 1))],
)
def test_cpcs_patches_overlap_row_by_row(sides, stride, grid, first):
    image = jnp.arange(float(np.prod(sides))).reshape(*sides, 1)
    found = overlapping(image, size=4, stride=stride, standardise=False)
    assert found.shape == (*grid, 4, 4, 1)
    for place in itertools.product(*map(range, grid)):
        top, left = np.array(first) + stride * np.array(place)
        expected = image[top : top + 4, left : left + 4]
        np.testing.assert_array_equal(found[place], expected)


def test_too_few_rows_for_cpcs_steps_are_refused():
    method = unchanged("cpc", steps=3)
    with pytest.raises(ConfigError, match=r"steps is 3, and patches of 2 voxels, 2"):
        method.views(jax.random.key(0), {"image": jnp.zeros((6, 4, 4, 1))})
    with pytest.raises(ConfigError, match="negatives is 'x'; known: positions, images"):
        unchanged("cpc", negatives="x")


def test_a_prediction_with_but_one_code_to_be_is_refused():
    method = unchanged("cpc", negatives="positions")
    views = {"images": jnp.zeros((1, 2, 1, 2, 2, 2, 1))}
    params, aux = method.init(jax.random.key(0), {"image": jnp.zeros((1, 4, 2, 2, 1))})
    with pytest.raises(ConfigError, match="micro_batch_size is 1"):
        method.loss(params, aux, views, None, jnp.int32(0))


def test_one_order_is_nothing_to_tell_apart():
    settings = tiny.SETTINGS["jigsaw"] | {"orders": 1}
    given = {"durations": None, "axis_name": None, "dtype": jnp.float32}
    with pytest.raises(ConfigError, match="config.method.orders is 1"):
        resolve.check_named(
            "method",
            "medssl_jax.methods",
            {"name": "jigsaw", **settings},
            None,
            views={},
            **given,
        )
