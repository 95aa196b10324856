"""Slices with a channel more: where something else has found something in them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from medssl_jax.data import tree
from medssl_jax.data.arrays import load_array
from medssl_jax.data.slices import Slices
from medssl_jax.data.source import Record, Source, Wrapper
from medssl_jax.errors import DataError
from medssl_jax.files import write_whole


@dataclass(frozen=True)
class Attended(Wrapper):
    """The slices of `source`, each with the map of its middle as the last channel.

    Maps lie in `folder`, one for each volume, as `write_map` wrote it.
    """

    source: Slices
    folder: str

    def __getitem__(self, i: int) -> Record:
        """Return the record of example i.

        Raises:
          DataError: naming the file, if its volume has no map, or one of another shape
            or beyond [0, 1].
        """
        volumes, volume = self._volume(i)
        whole, found = volumes[volume]["image"], self._map(i)
        if found.shape != whole.shape[:-1]:
            text = (
                f"is a map of {found.shape}, and {volumes.name(volume)} is prepared to"
            )
            raise DataError(
                map_path(self.folder, volumes, volume),
                f"{text} {whole.shape[:-1]}: prepare volumes alike for both",
            )
        image = self.source.cut(whole, i)
        middle = found[self.source.middle(i, len(whole))].astype(np.float32)
        if not (middle.min() >= 0 and middle.max() <= 1):  # nor NaN
            path = map_path(self.folder, volumes, volume)
            raise DataError(path, "has numbers that are no probabilities; remove it")
        if image.dtype == np.uint8:
            middle = np.round(255 * middle)
        channel = middle.astype(image.dtype)[..., None]
        return {"image": np.concatenate([image, channel], axis=-1)}

    def stamp(self, i: int) -> str:
        stamp = super().stamp(i)
        return (
            stamp and f"{stamp}\n{tree.stamp(map_path(self.folder, *self._volume(i)))}"
        )

    def middle(self, i: int, field: str) -> np.ndarray:
        """Return a field of example i's volume, of the slice that it is of."""
        volumes, volume = self._volume(i)
        found = np.asarray(volumes[volume][field])
        return found[self.source.middle(i, len(found))]

    def _volume(self, i):
        return self.source.source, self.source.place(i)

    def _map(self, i):
        volumes, volume = self._volume(i)
        path = map_path(self.folder, volumes, volume)
        if not path.exists():
            text = (
                f"has no map in data.attention, {self.folder} ({path.name}): its file"
            )
            raise DataError(
                volumes.name(volume), f"{text} was changed, or no map was written of it"
            )
        return load_array(path)


def write_map(
    folder: str | Path, volumes: Source, i: int, found: Float[np.ndarray, "f *s"]
) -> None:
    """Write the map of volume i, probabilities on the grid that it is prepared to."""

    def save(draft):
        with draft.open("wb") as file:  # a path would be given another ending
            np.save(file, found.astype(np.float16), allow_pickle=False)

    write_whole(map_path(folder, volumes, i), save)


def map_path(folder: str | Path, volumes: Source, i: int) -> Path:
    """Return where the map of volume i lies: its name there is of its file's state."""
    origin, j = volumes.origin(i)
    identity = f"{origin.name(j)}\n{origin.stamp(j)}"
    return Path(folder) / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.npy"
