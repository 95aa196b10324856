"""Was what a run is tested on in the training of the encoder that it starts from?"""

from collections.abc import Mapping
from pathlib import Path

from medssl_jax.data.order.roles import TRAIN
from medssl_jax.data.source import Source
from medssl_jax.saved import export, seen

_LEARNT = (TRAIN, "validation")  # the roles that decide of weights


def seen_by(sources: Mapping[str, Source], init_from: str) -> seen.Seen | None:
    """Return what a run's weights depend on, from the first ones on.

    None where that is too much to list, or a start does not say it.
    """
    found = [seen.seen_in(sources[role] for role in _LEARNT if role in sources)]
    if init_from:
        found.append(_before(init_from))
    if any(one is None for one in found):
        return None
    return seen.together(found)


def told(init_from: str, sources: Mapping[str, Source]) -> str:
    """Say how much of the test was seen; "" with random weights or without a test."""
    test = sources.get("test")
    if not init_from or test is None:
        return ""
    before = _before(init_from)
    if before is None or len(test) > seen.MOST:
        return f"not known: {init_from} does not say what it was trained on"
    both = seen.overlap(before, test)
    if both is None:
        return f"not known: {init_from} was trained on other folders or files"
    return f"{both.told()} in the training of {init_from}"


def warning(said: str) -> str:
    """Warn of a test on what was seen, as `told` says; "" where nobody knows of any."""
    if not said or said.startswith(("none", "not known")):
        return ""
    return (
        f"{said}: the test does not speak of new patients. Hold the same out there: "
        "splits.test, seed (data.split_seed of fine-tuning) and the table have to be "
        "those of this run"
    )


def _before(init_from: str) -> seen.Seen | None:
    if init_from.endswith(".safetensors"):
        return None
    return seen.load(export.folder_of(Path(init_from), "encoder"))
