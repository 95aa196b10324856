"""What a model was trained on, by hashes of names: was what it is tested on among it?"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt64

from medssl_jax import files
from medssl_jax.data.decoding import decoding
from medssl_jax.data.source import Source

FILE = "seen.npz"
MOST = 1_000_000  # examples; more would hold up the start of a run


class Seen(NamedTuple):
    """Examples and patients that training saw, sorted, each once.

    Names are those of one folder or file, `Source.scope`; of slices those of their
    volumes. Eight bytes of BLAKE2b say whether a name is there, and do not tell it.
    """

    examples: UInt64[np.ndarray, "n"]
    patients: UInt64[np.ndarray, "m"]
    scopes: UInt64[np.ndarray, "k"]


class Overlap(NamedTuple):
    """How many of a source's examples, and of its patients, were seen.

    patients is None where either side does not know them.
    """

    examples: int
    of_examples: int
    patients: int | None
    of_patients: int | None

    def __bool__(self) -> bool:
        return bool(self.examples or self.patients)

    def told(self) -> str:
        """Say it in words, with the verb's beginning: "none of the 12 patients was"."""
        if self.patients is not None and (self.patients or not self.examples):
            return _share(self.patients, self.of_patients, "test patient")
        return _share(self.examples, self.of_examples, "test example")


def seen_in(sources: Iterable[Source]) -> Seen | None:
    """Return what the sources hold, or None where it is too much to list."""
    sources = list(sources)
    if sum(map(len, sources)) > MOST:
        return None
    return Seen(*(np.unique(_hashed(each)) for each in _identities(sources)))


def together(several: Sequence[Seen]) -> Seen:
    """Return what any of them saw."""
    each = zip(*several, strict=True)
    return Seen(*(np.unique(np.concatenate(hashes)) for hashes in each))


def overlap(seen: Seen, source: Source) -> Overlap | None:
    """Count what of a source is among what was seen.

    None where that was in other folders: their names say nothing of this one's.
    """
    examples, patients, scopes = _identities([source])
    if not np.isin(_hashed(scopes), seen.scopes).any():
        return None
    both = patients and len(seen.patients)
    return Overlap(
        int(np.isin(_hashed(examples), seen.examples).sum()),
        len(examples),
        int(np.isin(_hashed(patients), seen.patients).sum()) if both else None,
        len(patients) if both else None,
    )


def save(seen: Seen, folder: Path) -> None:
    """Write `FILE` into an exported model's folder."""
    files.write_arrays(folder / FILE, seen._asdict())


def load(folder: Path) -> Seen | None:
    """Return what `save` wrote into a model's folder; None where there is none.

    Raises:
      DataError: if it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    with decoding(path, "list of what was seen"), np.load(path) as arrays:
        return Seen(*(arrays[name] for name in Seen._fields))


def _share(count: int, of: int, what: str) -> str:
    """Write "none of the 12 test patients was", "1 of the 12 ... was", "2 ... were"."""
    number = f"{count:,}" if count else "none"
    return f"{number} of the {of:,} {what}s {'were' if count > 1 else 'was'}"


def _identities(sources: Iterable[Source]) -> tuple[set[str], set[str], set[str]]:
    """Return examples and patients, each with its scope, and the scopes."""
    examples, patients, scopes = set(), set(), set()
    for source in sources:
        owners = source.patients
        for i in range(len(source)):
            decoded, place = source.origin(i)
            scopes.add(decoded.scope)
            examples.add(f"{decoded.scope}\n{decoded.name(place)}")
            if owners is not None and owners[i]:
                patients.add(f"{decoded.scope}\n{owners[i]}")
    return examples, patients, scopes


def _hashed(texts: Iterable[str]) -> UInt64[np.ndarray, "_"]:
    digests = [hashlib.blake2b(t.encode(), digest_size=8).digest() for t in texts]
    return np.frombuffer(b"".join(digests), np.uint64)
