"""Reference energies of the view `energy_bands`: measured once, kept with the run."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from medssl_jax.data.pipeline import DrawRecord
from medssl_jax.data.source import Source
from medssl_jax.errors import ConfigError, DataError
from medssl_jax.files import read_json, write_json
from medssl_jax.step.state import to_unit
from medssl_jax.views import bands
from medssl_jax.views.arguments import Axes, axes_from_right

Energies = tuple[float, ...]  # of each band, finest first
Filters = tuple[tuple[float, ...], tuple[int, ...]]  # sigmas, axes

_VIEW = "energy_bands"
_FILE = "energies.json"
_ANEW = "delete it to have them measured anew"


def reference_energies(
    source: Source,
    draw: DrawRecord,
    *,
    sigmas: Sequence[float],
    axes: Axes = (-2, -1),
    images: int = 1000,
    seed: int,
) -> tuple[Energies, Energies]:
    """Return mean and standard deviation of each band's energy over random images.

    At most `images` of them, none twice, each as `draw` gives it without a generator,
    which is the kind of image that the view sees: the whole canvas. Images of several
    modalities are pooled. Whatever the source's size, memory is that of one image.

    Raises:
      ConfigError: if `sigmas`, `axes` or `images` cannot be used.
      DataError: if one of the images cannot be read.
    """
    sigmas = bands.rising(f"{_VIEW}.sigmas", sigmas)
    axes = axes_from_right(f"{_VIEW}.axes", axes)
    if images < 1:
        raise ConfigError(
            f"reference_energies.images is {images}; use 1 or more (published: 1000)"
        )

    @jax.jit
    def measure(image):
        return jnp.stack(
            [*map(bands.energy, bands.split(to_unit(image), sigmas, axes))]
        )

    # of few among many, NumPy keeps no list of all
    chosen = np.random.default_rng(seed).choice(
        len(source), min(images, len(source)), replace=False
    )
    measured = [
        np.asarray(measure(draw(source[int(i)], None)["image"]), np.float64)
        for i in tqdm(np.sort(chosen), desc="measuring energies", disable=None)
    ]
    mean, std = np.mean(measured, axis=0), np.std(measured, axis=0)
    return tuple(mean.tolist()), tuple(std.tolist())


def fill(
    views: Mapping[str, Mapping[str, Any]],
    measure: Callable[..., tuple[Energies, Energies]],
    folder: Path,
) -> dict[str, dict[str, Any]]:
    """Give each view's `energy_bands` the `mean` and `std` that it lacks.

    Lacking is None, empty or not there. `measure(sigmas=..., axes=...)` is called once
    for each that differs in them, as `reference_energies` is with the other arguments
    bound. What it returns is kept in `folder`/energies.json, to six digits, and read
    from there when the run goes on. Without a view that lacks any, nothing is measured
    nor read.

    Args:
      views: of each name, what `compose` takes.

    Raises:
      ConfigError: if sigmas or axes cannot be used.
      DataError: if energies.json is damaged, or is of other sigmas or axes.
    """
    wanted = {name: _filters(ops[_VIEW]) for name, ops in views.items() if _lacks(ops)}
    filled = {name: dict(ops) for name, ops in views.items()}
    if not wanted:
        return filled
    known = _known(folder / _FILE, list(dict.fromkeys(wanted.values())), measure)
    for name, filters in wanted.items():
        mean, std = known[filters]
        arguments = dict(views[name][_VIEW])
        for argument, measured in {"mean": mean, "std": std}.items():
            if _absent(arguments.get(argument)):
                arguments[argument] = measured
        filled[name][_VIEW] = arguments
    return filled


def _lacks(ops: Mapping[str, Any]) -> bool:
    arguments = ops.get(_VIEW)
    if not isinstance(arguments, Mapping):  # not there; or `compose` will refuse it
        return False
    return any(_absent(arguments.get(name)) for name in ("mean", "std"))


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, Sequence) and not value)


def _filters(arguments: Mapping[str, Any]) -> Filters:
    axes = arguments.get("axes", (-2, -1))
    return (
        bands.rising(f"{_VIEW}.sigmas", arguments.get("sigmas", ())),
        tuple(sorted(axes_from_right(f"{_VIEW}.axes", axes))),
    )


def _known(path: Path, wanted: Sequence[Filters], measure: Callable):
    if not path.exists():
        entries = []
        for sigmas, axes in wanted:
            mean, std = measure(sigmas=sigmas, axes=axes)
            filters = {"sigmas": sigmas, "axes": axes}
            entries.append(filters | {"mean": _rounded(mean), "std": _rounded(std)})
        write_json(path, {"energies": entries})
    known = _read(path)
    for sigmas, axes in wanted:
        if (sigmas, axes) not in known:
            held = " and ".join(f"sigmas {s} along axes {a}" for s, a in known)
            raise DataError(
                path,
                f"has the energies for {held or 'nothing'}, and {_VIEW} has sigmas "
                f"{sigmas} along axes {axes}; delete it to have them measured anew, or "
                "use another folder",
            )
    return known


def _read(path: Path) -> dict[Filters, tuple[Energies, Energies]]:
    try:
        return dict(map(_entry, read_json(path, _ANEW)["energies"]))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        text = f"is no readable record of reference energies ({error!r})"
        raise DataError(path, f"{text}; {_ANEW}") from error


def _entry(entry: Mapping[str, Any]) -> tuple[Filters, tuple[Energies, Energies]]:
    sigmas = tuple(map(float, entry["sigmas"]))
    mean, std = (tuple(map(float, entry[name])) for name in ("mean", "std"))
    if not len(mean) == len(std) == len(sigmas) + 1:
        raise ValueError(f"{len(sigmas)} sigmas, {len(mean)} means, {len(std)} stds")
    if not all(math.isfinite(x) and x >= 0 for x in mean + std):
        raise ValueError("an energy that is negative or not finite")
    return (sigmas, tuple(map(int, entry["axes"]))), (mean, std)


def _rounded(energies: Energies) -> list[float]:
    # to digits in which the processes of a run agree, whatever device measured
    return [float(f"{x:.6g}") for x in energies]
