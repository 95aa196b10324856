"""Two stages on new volumes: what the first finds, then their slices beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssl_jax.data import settings
from medssl_jax.data.order import roles
from medssl_jax.data.source import Source
from medssl_jax.errors import DataError
from medssl_jax.protocols.experiment import has_results
from medssl_jax.protocols.maps import finder, maps_folder, write_missing
from medssl_jax.protocols.stages import ATTENDED
from medssl_jax.run.provenance import read_config
from medssl_jax.saved.predictor import Predictor, load_predictor, together

_FIRST, _SECOND = "first", Path("second") / ATTENDED


def is_staged(run: Path) -> bool:
    """Return whether a folder is that of both stages of `stages.run`."""
    return (run / _SECOND).is_dir()


def staged(
    run: Path, data: Mapping[str, Any], workdir: Path
) -> tuple[Predictor, Source]:
    """Write a map of each volume, and open its slices beside it for the second stage.

    Maps are the mean of all first stages', and lie in `workdir`; the predictor is the
    mean of all second ones. Slices are so many of each volume as the run was tested on.

    Args:
      data: settings of a source of volumes, and how it is read.

    Raises:
      ConfigError: if the runs of a stage differ in more than their seed.
      DataError: if the run is not finished, a stage has no predictor, or the data cannot
        be used.
    """
    if not has_results(run):
        raise DataError(run, "is not finished; start it again, it goes on")
    of_first, of_second = (_runs(run / stage) for stage in (_FIRST, _SECOND))
    first = load_predictor(of_first[0])
    data = settings.following(data, first.spec)
    volumes = roles.whole(data, first.host.prepare, workdir)
    maps = maps_folder(of_first, workdir / "attention")
    find = [finder(one) for one in of_first]
    write_missing(volumes, maps, [find] * len(volumes), desc="maps")
    predictors = [load_predictor(one) for one in of_second]
    predictor = predictors[0]
    if len(predictors) > 1:
        predictor = together(dict(zip(map(str, of_second), predictors, strict=True)))
    slices = dict(read_config(run / "config.json")["second"]["data"]["slices"])
    slices["lesion_voxels"] = 0  # no masks
    data |= {"slices": slices, "attention": str(maps.absolute())}
    return predictor, roles.whole(data, predictor.host.prepare, workdir)


def _runs(stage: Path) -> list[Path]:
    return sorted(folder for folder in stage.iterdir() if folder.is_dir())
