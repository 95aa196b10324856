"""What is to be compared, run in turn, so that a slow spell of the machine hits all."""

import statistics
import time
from collections.abc import Callable, Mapping


def compare(
    steps: Mapping[str, Callable[[], float]], *, amount: int, unit: str, rounds: int
) -> None:
    """Print `amount` units over the median seconds of each, and the first over the last.

    Each runs once before, which compiles it.
    """
    seconds = {name: [] for name in steps}
    for name, step in steps.items():
        began = time.perf_counter()
        step()
        print(f"{name}: first step {time.perf_counter() - began:.1f} s")
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - began)
    rates = {name: amount / statistics.median(s) for name, s in seconds.items()}
    for name, times in seconds.items():
        spread = f"{amount / max(times):.2f} to {amount / min(times):.2f}"
        print(f"{name}: {rates[name]:.2f} {unit}/s, median of {rounds} ({spread})")
    if len(rates) > 1:
        first, *_, last = rates.values()
        print(f"ratio: {first / last:.2f}")
