"""Read the arguments of views; an error names the view and the argument."""

import math
from collections.abc import Sequence

from medssl_jax.errors import ConfigError

Range = float | Sequence[float]  # fixed, or (low, high)
Axes = int | Sequence[int]  # spatial axes, counted from the right: -1 is columns
Shape = tuple[int, ...]


def limits(
    argument: str, value: Range, low: float = -math.inf, high: float = math.inf
) -> tuple[float, float]:
    """Read a number or a (low, high) pair as a pair.

    Raises:
      ConfigError: if it is neither, not ordered, or not within [low, high].
    """
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    numbers = len(pair) == 2 and all(isinstance(end, int | float) for end in pair)
    if not (numbers and low <= pair[0] <= pair[1] <= high):
        raise ConfigError(
            f"{argument} is {value!r}; use a number, or a pair (low, high), "
            f"within [{low:g}, {high:g}]"
        )
    return float(pair[0]), float(pair[1])


def chance(argument: str, value: float) -> float:
    """Read a probability.

    Raises:
      ConfigError: if it is not a number within [0, 1].
    """
    if not (isinstance(value, int | float) and 0 <= value <= 1):
        raise ConfigError(f"{argument} is {value!r}; use a number within [0, 1]")
    return float(value)


def axes_from_right(argument: str, value: Axes) -> tuple[int, ...]:
    """Read one spatial axis or several.

    Raises:
      ConfigError: if one is no negative integer, or comes twice.
    """
    axes = tuple(value) if isinstance(value, Sequence) else (value,)
    negative = all(isinstance(axis, int) and axis < 0 for axis in axes)
    if not (axes and negative and len(set(axes)) == len(axes)):
        raise ConfigError(
            f"{argument} is {value!r}; name each spatial axis once, counted from the "
            "right without the channels: -1 columns, -2 rows, -3 slices"
        )
    return axes


def size_voxels(argument: str, value: Sequence[int], count: int | None = None) -> Shape:
    """Read a size in voxels, of `count` axes where it is given.

    Raises:
      ConfigError: if it is no sequence of positive integers, or too long or short.
    """
    size = tuple(value) if isinstance(value, Sequence) else ()
    positive = all(isinstance(n, int) and n > 0 for n in size)
    if not (size and positive and count in (None, len(size))):
        of_axes = "the last axes" if count is None else f"each of the {count} axes"
        raise ConfigError(
            f"{argument} is {value!r}; use one positive integer for {of_axes}, "
            "such as (224, 224)"
        )
    return size


def sizes_voxels(
    argument: str, value: Sequence[int] | Sequence[Sequence[int]], count: int | None
) -> tuple[Shape, Shape]:
    """Read a size in voxels or a (low, high) pair of them as a pair.

    Raises:
      ConfigError: if it is neither, of other than `count` axes, or not ordered.
    """
    ends = value if isinstance(value, Sequence) else ()
    is_pair = len(ends) == 2 and all(isinstance(end, Sequence) for end in ends)
    low, high = (
        size_voxels(argument, end, count)
        for end in (ends if is_pair else (value, value))
    )
    if len(low) != len(high) or any(a > b for a, b in zip(low, high, strict=True)):
        raise ConfigError(
            f"{argument} is {value!r}; use one size, or a pair (low, high) of sizes "
            "of the same axes, such as ((112, 96), (250, 200))"
        )
    return low, high


def check_axes(name: str, axes: Sequence[int] | frozenset[int], shape: Shape) -> None:
    """Compare a view with the image that it is given.

    Raises:
      ConfigError: if the spatial `shape` lacks one of `axes`.
    """
    missing = sorted(axis for axis in axes if -axis > len(shape))
    if missing:
        raise ConfigError(
            f"{name} works on spatial axis {missing[0]}, which an image of the spatial "
            f"shape {shape} lacks"
        )
