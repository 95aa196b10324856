"""What a model says of images and of their transforms, which are every model's."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Shaped
from tqdm import tqdm

from medssl_jax import files
from medssl_jax.errors import ConfigError
from medssl_jax.saved.predictor import Predictor, method_of, predict_of
from medssl_jax.step.state import to_unit
from medssl_jax.views.compose import View, compose

Ops = Mapping[str, Any]
Told = tuple[Float[np.ndarray, "n j"], Float[np.ndarray, "n m j"]]


class Transforms(NamedTuple):
    """What models are asked of.

    images: as a predictor takes them.
    places: of the images in their source.
    draws: how many transforms of each image.
    """

    images: Shaped[np.ndarray, "n *s c"]
    places: Int[np.ndarray, "n"]
    draws: int
    seed: int
    batch_size: int


def composed(name: str, ops: Ops) -> View:
    """Build `config.views.NAME`.

    Raises:
      ConfigError: as `compose`, naming the view.
    """
    try:
        return compose(ops)
    except ConfigError as error:  # which names the operation
        raise ConfigError(f"config.views.{name}: {error}") from None


def told(
    model: Predictor, asked: Transforms, views: Mapping[str, Ops], folder: Path, of: str
) -> dict[str, Told]:
    """Return a model's numbers of each image and of its transforms, by view.

    Numbers are its probabilities, or the score of the likeliest box. What `folder` has
    of the same weights, images and transforms is not made again. `of` is what progress
    calls the model.

    Raises:
      ConfigError: if a view changes no image, or makes a number one that is not finite.
    """
    predict = predict_of(method_of(model.spec), model.spec.get("members", 1))

    def numbers(images):
        return _numbers(predict(model.params, model.aux, images))

    found, weights = {}, _digest(*jax.tree.leaves((model.params, model.aux)))
    for name, ops in views.items():
        path = folder / f"{_identity(model, weights, asked, ops)}.npz"
        if not path.exists():
            before, after = _ask(numbers, asked, name, ops, f"{of}, {name}")
            files.write_arrays(path, {"before": before, "after": after})
        with np.load(path) as kept:
            found[name] = kept["before"], kept["after"]
    return found


def _identity(model: Predictor, weights: str, asked: Transforms, ops: Ops) -> str:
    """Return a hash of all that the numbers depend on."""
    seen = _digest(asked.images, asked.places)
    stated = [model.spec[part] for part in ("model", "view", "method")]
    drawn = [ops, asked.draws, asked.seed]
    text = json.dumps([stated, weights, seen, drawn], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _digest(*arrays) -> str:
    found = hashlib.sha256()
    for array in map(np.asarray, arrays):
        found.update(f"{array.dtype}{array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _ask(numbers: Callable, asked: Transforms, name: str, ops: Ops, said: str) -> Told:
    count, size = len(asked.images), asked.batch_size
    key, transform = jax.random.key(asked.seed), _transform(composed(name, ops))
    before = [numbers(asked.images[at])[:n] for at, n in _batches(count, size)]
    after, changed = [], False
    batches = list(_batches(count * asked.draws, size))
    for at, n in tqdm(batches, desc=said, disable=None):
        i, draw = np.divmod(at, asked.draws)
        images, differ = transform(key, asked.images[i], asked.places[i], draw)
        after.append(numbers(images)[:n])
        changed = changed or bool(differ)
    if not changed:
        raise ConfigError(
            f"config.views.{name} is {ops}, which changes no image: give its operations "
            "a range"
        )
    both = np.concatenate(before), np.concatenate(after)
    if not all(np.isfinite(p).all() for p in both):
        raise ConfigError(
            f"config.views.{name} is {ops}: {said}, and what is told is no finite number"
        )
    return both[0], both[1].reshape(count, asked.draws, -1)


def _transform(view: View) -> Callable:
    """Return (key, images, places, draws) -> images, and whether one of them differs.

    A key is of the image's place and the draw's number: the batch has no part in it,
    nor what else is drawn. As in training, what leaves [0, 1] is not cut off.
    """

    @jax.jit
    def transformed(key, images, places, draws):
        def of_one(image, place, draw):
            own = jax.random.fold_in(jax.random.fold_in(key, place), draw)
            return view(own, image)

        images = to_unit(images)
        made = jax.vmap(of_one)(images, places, draws)
        return made, made.shape != images.shape or jnp.any(made != images)

    return transformed


def _numbers(said: Mapping[str, jax.Array]) -> Float[np.ndarray, "b j"]:
    if "probability" in said:
        return np.asarray(said["probability"])
    return np.asarray(said["score"]).max(axis=1, keepdims=True)


def _batches(count: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield indices in batches of one size, and how many of each are no repetition."""
    for start in range(0, count, size):
        indices = np.arange(start, start + size)
        yield indices.clip(max=count - 1), min(size, count - start)
