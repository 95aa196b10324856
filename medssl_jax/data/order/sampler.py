"""Which examples meet in a batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import grain
import numpy as np
from absl import logging

from medssl_jax.data.order.bags import Bags
from medssl_jax.data.order.mixture import ranges
from medssl_jax.data.source import Source
from medssl_jax.errors import ConfigError

_NAMES = ("shuffled", "distinct", "bags", "modalities")


@runtime_checkable  # tests check annotations
class Sampler(Protocol):
    """An endless order of rows; a global batch of b is b rows on end.

    What a row holds depends on the seed and its position alone, so that a position is
    all that a checkpoint needs. `len` is what an epoch counts.

    modalities: names, where rows take turns between them; else ().
    """

    modalities: tuple[str, ...]

    def __len__(self) -> int: ...
    def row(self, position: int, random: np.random.Generator) -> tuple[int, ...]:
        """Return the example of a row, or the two that `random` draws of its bag."""


@dataclass(frozen=True)
class Passes:
    """Every example, or bag, once a pass; every pass is shuffled anew.

    An index shuffle holds no list.

    Attributes:
      count: examples, or bags where there are some. `len` is the same: it is what an
        epoch counts, also where passes are cut short.
      kept: rows of a pass, `count` or less; the others of its shuffle are left out.
    """

    count: int
    kept: int
    seed: int
    bags: Bags | None = None
    modalities: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.count

    def row(self, position: int, random: np.random.Generator) -> tuple[int, ...]:
        done, place = divmod(position, self.kept)
        drawn = int(self._order[done * self.count + place])
        return (drawn,) if self.bags is None else self.bags.pair(drawn, random)

    @cached_property
    def _order(self) -> grain.MapDataset:
        return grain.MapDataset.range(self.count).seed(self.seed).shuffle().repeat()


@dataclass(frozen=True)
class Turns:
    """Rows of one modality after the other, each in passes of its own.

    A small modality is passed through more often; an epoch counts all examples.

    Attributes:
      passes: by modality, over the examples of `places`, put on end.
      places: by modality, where its examples lie.
    """

    passes: Mapping[str, Passes]
    places: Mapping[str, list[range]]

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.passes)

    def __len__(self) -> int:
        return sum(map(len, self.passes.values()))

    def row(self, position: int, random: np.random.Generator) -> tuple[int, ...]:
        done, turn = divmod(position, len(self.modalities))
        modality = self.modalities[turn]
        (drawn,) = self.passes[modality].row(done, random)
        for place in self.places[modality]:
            if drawn < len(place):
                return (place[drawn],)
            drawn -= len(place)
        raise AssertionError("passes are as long as places together")


def sampler(name: str, source: Source, *, batch_size: int, seed: int) -> Sampler:
    """Return the order of `source`'s examples in global batches of `batch_size`.

    Args:
      name: "shuffled": every example once a pass, on end: a batch that spans two
        passes may hold an example twice; "distinct": never twice in a batch, each
        pass's incomplete last batch is left out; "bags": a row is a patient and
        draws two of the patient's images, distinct where there are two, for methods
        that pair them (MICLe, arXiv:2101.05224); no patient twice in a batch;
        "modalities": as many rows of each modality of `data.sources`, in turn,
        however unequal the sources are (arXiv:2201.01283).

    Raises:
      ConfigError: if the name is unknown, the source has no patients to make bags of,
        repeats examples, has less than a batch or no modalities, or the batch cannot
        be divided among them.
      DataError: if a patient is empty.
    """
    if name not in _NAMES:
        known = ", ".join(_NAMES)
        raise ConfigError(f"data.sampler {name!r} is not known; known: {known}")
    count = len(source)
    if name == "shuffled":
        return Passes(count, count, seed)
    if name == "modalities":
        return _turns(source, batch_size, seed)
    _refuse_repeats(name, source)
    bags = _bags(source) if name == "bags" else None
    rows, units = (count, "examples") if bags is None else (len(bags), "patients")
    if not 1 <= batch_size <= rows:
        raise ConfigError(
            f"micro_batch_size {batch_size} is not from 1 to {rows}, the {units} of "
            f"the training data: data.sampler {name!r} takes none twice in a batch"
        )
    return Passes(rows, rows - rows % batch_size, seed, bags)


def _turns(source, batch_size, seed):
    places = ranges(source)
    if not places:
        raise ConfigError(
            "data.sampler 'modalities' needs config.data.sources, a list of sources "
            "with a modality each; this run has one source: set data.sampler 'shuffled'"
        )
    if batch_size % len(places):
        raise ConfigError(
            f"micro_batch_size {batch_size} is not divisible by {len(places)} "
            f"modalities ({', '.join(places)}); use a multiple of {len(places)}"
        )
    counts = {m: sum(map(len, parts)) for m, parts in places.items()}
    # a seed of its own: modalities of one size would share an order
    seeds = np.random.SeedSequence(seed).generate_state(len(places))
    passes = {
        modality: Passes(count, count, int(own))
        for (modality, count), own in zip(counts.items(), seeds, strict=True)
    }
    return Turns(passes, places)


def _bags(source):
    if source.patients is None:
        raise ConfigError(
            "data.sampler 'bags' needs the patient of each image, which this source "
            "does not know: give a CSV with the columns path and patient as "
            "data.labels, or use another source"
        )
    bags = Bags(source.patients)
    if len(bags) == len(source):
        logging.warning("every patient has one image: bags are no different from them")
    return bags


def _refuse_repeats(name, source):
    if source.distinct < len(source):
        raise ConfigError(
            f"data.sampler {name!r} excludes repeats, and the training data repeats "
            "examples: set data.balance to '', and data.label_fraction, where there "
            "is one, to 1; or data.sampler to 'shuffled'"
        )
