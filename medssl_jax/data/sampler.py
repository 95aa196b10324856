"""Which examples meet in a batch."""

from dataclasses import dataclass
from functools import cached_property

import grain
import numpy as np
from absl import logging

from medssl_jax.data.bags import Bags
from medssl_jax.data.source import Source, Subset
from medssl_jax.errors import ConfigError

_NAMES = ("shuffled", "distinct", "bags")


@dataclass(frozen=True)
class Sampler:
    """An endless order of rows; a global batch of b is b rows on end.

    Every pass is shuffled anew; an index shuffle holds no list. What a row holds
    depends on `seed` and its position alone.

    Attributes:
      count: examples, or bags where there are some. `len` is the same: it is what an
        epoch counts, also where passes are cut short.
      kept: rows of a pass, `count` or less; the others of its shuffle are left out.
    """

    count: int
    kept: int
    seed: int
    bags: Bags | None = None

    def __len__(self) -> int:
        return self.count

    def row(self, position: int, random: np.random.Generator) -> tuple[int, ...]:
        """Return the example of a row, or the two that `random` draws of its bag."""
        done, place = divmod(position, self.kept)
        drawn = int(self._order[done * self.count + place])
        return (drawn,) if self.bags is None else self.bags.pair(drawn, random)

    @cached_property
    def _order(self) -> grain.MapDataset:
        return grain.MapDataset.range(self.count).seed(self.seed).shuffle().repeat()


def sampler(name: str, source: Source, *, batch_size: int, seed: int) -> Sampler:
    """Return the order of `source`'s examples in global batches of `batch_size`.

    Args:
      name: "shuffled": every example once a pass, on end: a batch that spans two
        passes may hold an example twice; "distinct": never twice in a batch, each
        pass's incomplete last batch is left out; "bags": a row is a patient and
        draws two of the patient's images, distinct where there are two, for methods
        that pair them (MICLe, arXiv:2101.05224); no patient twice in a batch.

    Raises:
      ConfigError: if the name is unknown, the source has no patients to make bags of,
        repeats examples, or has less than a batch.
      DataError: if a patient is empty.
    """
    if name not in _NAMES:
        known = ", ".join(_NAMES)
        raise ConfigError(f"data.sampler {name!r} is not known; known: {known}")
    count = len(source)
    if name == "shuffled":
        return Sampler(count, count, seed)
    _refuse_repeats(name, source)
    bags = _bags(source) if name == "bags" else None
    rows, units = (count, "examples") if bags is None else (len(bags), "patients")
    if not 1 <= batch_size <= rows:
        raise ConfigError(
            f"micro_batch_size {batch_size} is not from 1 to {rows}, the {units} of "
            f"the training data: data.sampler {name!r} takes none twice in a batch"
        )
    return Sampler(rows, rows - rows % batch_size, seed, bags)


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
    if isinstance(source, Subset) and len(np.unique(source.indices)) < len(source):
        raise ConfigError(
            f"data.balance repeats examples, which data.sampler {name!r} excludes; "
            "set data.balance to '', or data.sampler to 'shuffled'"
        )
