"""What first stages find in every volume, none of them in what it was trained on."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict
from tqdm import tqdm

from medssl_jax.data.attended import map_path, write_map
from medssl_jax.data.order.roles import TRAIN
from medssl_jax.data.order.splits import fold_of
from medssl_jax.data.source import Source
from medssl_jax.errors import DataError
from medssl_jax.evals.sliding import slabs
from medssl_jax.protocols.experiment import vary
from medssl_jax.run.task import open_data
from medssl_jax.saved.predictor import load_predictor

# of an image as it is prepared (*s, c): where there is something (*s,)
Finder = Callable[[np.ndarray], Float[np.ndarray, "*s"]]


def write_maps(
    config: ConfigDict, runs: Sequence[Path], workdir: Path, folder: Path
) -> None:
    """Write a map of each volume of each role into `folder`, unless it is there.

    `runs` are of `config`, each without one of as many folds of the training patients:
    their volumes have the map of the run that left them out, all others the mean of all
    runs' maps. Of one run, training volumes have the map of what was trained on them.

    Raises:
      DataError: if a run has no predictor, or its files are damaged.
      UserError: if the folder cannot be written.
    """
    # every volume, also where the first stage has the masks of some
    every = vary(config, {"data.label_fraction": 1.0, "data.balance": ""})
    sources = open_data(every, workdir).sources
    find = [finder(run) for run in runs]
    for role, source in sources.items():
        left_out_by = [find] * len(source)
        if role == TRAIN and len(runs) > 1:
            folds = fold_of(source, len(runs), config.data.split_seed)
            left_out_by = [[find[fold]] for fold in folds]
        write_missing(source, folder, left_out_by, desc=f"maps of {role}")


def write_missing(
    volumes: Source, folder: Path, find: Sequence[Sequence[Finder]], *, desc: str
) -> None:
    """Write a map of each volume that has none: the mean of what its own `find` says."""
    for i in tqdm(range(len(volumes)), desc=desc, disable=None):
        if not map_path(folder, volumes, i).exists():
            image = volumes[i]["image"]
            found = np.mean([one(image) for one in find[i]], axis=0)
            write_map(folder, volumes, i, found)


def maps_folder(runs: Sequence[Path], within: Path) -> Path:
    """Return the folder of runs' maps, named after what they have learnt.

    So that maps of other weights are never taken for theirs.

    Raises:
      DataError: if a run has no predictor.
    """
    read = hashlib.sha256()
    for run in runs:
        weights = run / "predictor" / "weights.safetensors"
        try:
            read.update(weights.read_bytes())
        except OSError as error:
            raise DataError(weights, f"cannot be read: {error.strerror}") from error
    return within / read.hexdigest()[:12]


def finder(run: Path) -> Finder:
    """Return what a segmentation's run says of whole volumes: any of its structures.

    Of classes 1 less the background's probability, of regions the highest.
    """
    predictor = load_predictor(run)
    (judged,) = (e for e in predictor.spec["evaluation"] if e["name"] == "segment")
    overlapping = predictor.voxels.regions > 0

    def anything(probability):
        return probability.max(axis=-1) if overlapping else 1 - probability[..., 0]

    def find(image):
        found = slabs(
            image,
            lambda windows: np.asarray(predictor(windows)["mask"]),
            tile=predictor.host.shape,
            batch_size=1,
            step=judged["step"],
            places=[np.arange(n, dtype=float) for n in image.shape[:-1]],
            decide=anything,
        )
        return np.clip(np.concatenate(list(found)), 0, 1)

    return find
