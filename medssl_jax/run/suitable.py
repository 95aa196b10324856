"""Whether data and batches suit a method; what does not is said before the first step."""

import itertools
from collections.abc import Mapping
from typing import Any

from medssl_jax.data.boxed import check_kinds
from medssl_jax.data.order.roles import TRAIN
from medssl_jax.data.order.sampler import Sampler
from medssl_jax.data.source import Source
from medssl_jax.errors import ConfigError
from medssl_jax.evals.label_checks import check_columns, check_known
from medssl_jax.methods.base import Method
from medssl_jax.optim.durations import Durations
from medssl_jax.saved.encoder import load_encoder


def check_data(method: Method, rows: Sampler, train: Source) -> None:
    """Refuse data that a method cannot use: its turns, labels or masks.

    Raises:
      ConfigError: naming the field, and what the data have.
    """
    if method.modalities and method.modalities != rows.modalities:
        has = ", ".join(rows.modalities) or "none"
        raise ConfigError(
            f"method.modalities are {', '.join(method.modalities)}, and those that "
            f"data.sampler takes turns between are {has}: give both the same names, in "
            "the order of config.data.sources, and data.sampler 'modalities'"
        )
    if method.strangers and _are_one(train.patients):
        raise ConfigError(
            "config.method compares patients, and all training examples are of one: "
            "correct the column patient of data.labels, or choose another method"
        )
    if method.columns:
        check_columns(train, max(method.columns, method.learns[1]))
    elif any(method.learns):
        check_known(train, *method.learns)
    if any(method.voxels):
        _check_masks(method, train)


def check_boxes(method: Method, sources: Mapping[str, Source], most: int) -> None:
    """Refuse boxes that a method of boxes cannot use, as far as tables tell of them.

    Args:
      sources: by role.
      most: boxes of an image that batches have place for.

    Raises:
      ConfigError: if the training data has none, or none of a kind; naming the roles
        and what they have, if kinds are not those of the method, or of other names.
      DataError: as `boxed.check_kinds`.
    """
    if not sources[TRAIN].has_boxes:
        raise ConfigError(
            "config.method learns from boxes, and the training data has none: set "
            "data.boxes, or use a source of boxes"
        )
    named = {role: one.kind_names for role, one in sources.items() if one.has_boxes}
    told = {role: tuple(names) for role, names in named.items() if names}
    for role, names in told.items():
        if len(names) != method.boxes:
            raise ConfigError(
                f"method.kinds is {method.boxes}, and the boxes of {role} have "
                f"{len(names)}: {', '.join(names)}"
            )
    if len(set(told.values())) > 1:
        said = "; ".join(f"{role}: {', '.join(names)}" for role, names in told.items())
        raise ConfigError(f"roles have boxes of other kinds: {said}; set data.kinds")
    for source in sources.values():
        for i, own in enumerate(source.box_kinds or ()):
            check_kinds(own, method.boxes, most, source.name(i))
    if (known := sources[TRAIN].box_kinds) is not None:
        seen = set(itertools.chain.from_iterable(known))
        if missing := sorted(set(range(method.boxes)) - seen):
            names = told.get(TRAIN, range(method.boxes))
            raise ConfigError(
                f"train has no box of the kind {names[missing[0]]!r}: label more, try "
                "another --config.seed, or leave the kind out of data.kinds and "
                "method.kinds"
            )


def check_example(method: Method, example: Mapping[str, Any]) -> None:
    """Refuse an example that lacks what a method's heads learn.

    Raises:
      ConfigError: naming the field.
    """
    if method.planes and "planes" not in example:
        raise ConfigError(
            "config.method.heads learns labels of slices, and the data has none: set "
            "data.planes, or use a source that has them"
        )


def accumulation_warning(method: Method, durations: Durations) -> str:
    """Say what accumulation does not add to; "" where there is nothing to say."""
    if not method.in_batch or durations.accumulation == 1:
        return ""
    return (
        f"batch_size {durations.batch_size} is accumulated from micro-batches of "
        f"{durations.micro_batch_size}, and {method.in_batch} come from one "
        "micro-batch only: this is not training with the large batch. Set "
        "micro_batch_size to batch_size, over more devices if need be"
    )


def frozen_warning(method: Method, init_from: str) -> str:
    """Say that random weights are kept as they are at first; "" where none are."""
    updates = method.frozen.get("backbone", 0)
    if init_from or not updates:
        return ""
    return (
        f"the backbone is frozen for {updates} updates, and its weights are random: "
        "there is nothing in them that a new head could spoil. Set "
        "method.frozen_epochs to 0, or config.init_from to a pretrained encoder"
    )


def statistics_warning(method: Mapping[str, Any], init_from: str) -> str:
    """Say that a frozen encoder runs by the statistics of patches; "" where none does.

    `method` is config.method.
    """
    keeps = method.get("frozen_epochs", 0.0) and method.get("frozen_statistics", False)
    if not (keeps and init_from) or init_from.endswith(".safetensors"):
        return ""
    if not load_encoder(init_from).spec.get("provenance", {}).get("patches", False):
        return ""
    return (
        f"{init_from} was trained on patches, and is frozen at first: on whole images it "
        "runs by batch statistics that are not theirs, and its features are large. Set "
        "config.method.frozen_statistics to False"
    )


def input_warning(init_from: str, view: Mapping[str, Any]) -> str:
    """Say that an encoder is given other numbers than it was trained on.

    "" where it is not, or where nobody knows. `view` is the one that evaluates, of both.
    """
    if not init_from or init_from.endswith(".safetensors"):
        return ""
    before = "standardise" in load_encoder(init_from).spec["view"]
    if before == ("standardise" in view):
        return ""
    was, do = ("", "add") if before else ("not ", "remove")
    return (
        f"{init_from} was {was}trained on standardised images, and config.views.eval "
        f"says otherwise: the encoder's statistics are those of another input. In each "
        f"of config.views, {do} 'standardise': {{}}"
    )


def _are_one(patients):
    """Say whether there is but one; unknown ones are each their own."""
    if patients is None:
        return False
    others = iter(patients)
    first = next(others)
    return all(patient == first for patient in others)


def _check_masks(method, source):
    if not source.has_masks:
        raise ConfigError(
            "config.method learns from masks, and the training data has none, or not of "
            "every example: set data.masks, use a source of masks, or leave those "
            "without one out (data.unlabelled=drop)"
        )
    count, names = max(method.voxels), source.class_names
    if names is not None and len(names) != count:
        field = "regions" if method.voxels.regions else "classes"
        raise ConfigError(
            f"method.{field} is {count}, and the masks have {len(names)}: "
            f"{', '.join(names)}"
        )
