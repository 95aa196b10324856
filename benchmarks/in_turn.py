"""What is to be compared, run in turn, so that a slow spell of the machine hits all."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from medssl_jax.run.gpu import channels_last
from medssl_jax.run.memory import keep_freed

keep_freed()  # as main does, and before there are threads
channels_last()  # likewise, and before a device is used

Seconds = Sequence[float]  # of each round


def timed(
    steps: Mapping[str, Callable[[], object]], *, rounds: int
) -> dict[str, Seconds]:
    """Return how long each took in every round.

    Each runs once before, which compiles it.
    """
    taken = {name: [] for name in steps}
    for name, step in steps.items():
        began = time.perf_counter()
        step()
        print(f"{name}: first step {time.perf_counter() - began:.1f} s", flush=True)
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            taken[name].append(time.perf_counter() - began)
    return taken


def range_of(taken: Seconds, *, amount: int) -> str:
    """Say how many a second there are: `amount` over the median, and the range."""
    median, slow, fast = statistics.median(taken), max(taken), min(taken)
    return f"{amount / median:.3g} ({amount / slow:.3g} to {amount / fast:.3g})"


def ratio(first: Seconds, second: Seconds) -> float:
    """Return how many times as fast the first is, by the medians."""
    return statistics.median(second) / statistics.median(first)


def share(part: Seconds, whole: Seconds) -> float:
    """Return the median of the rounds' shares."""
    return statistics.median(p / w for p, w in zip(part, whole, strict=True))


def compare(
    steps: Mapping[str, Callable[[], object]], *, amount: int, unit: str, rounds: int
) -> None:
    """Print `amount` units over the median seconds of each, and the first over the last."""
    taken = timed(steps, rounds=rounds)
    for name, times in taken.items():
        print(f"{name}: {range_of(times, amount=amount)} {unit}/s, median of {rounds}")
    if len(taken) > 1:
        first, *_, last = taken.values()
        print(f"ratio: {ratio(first, last):.2f}")
