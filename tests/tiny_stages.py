"""The smallest two stages: bones of phantom knees, then slices with much of them."""

from pathlib import Path

from ml_collections import ConfigDict

from medssl_jax.data import settings
from medssl_jax.protocols.experiment import load
from medssl_jax.run.provenance import plain

CONFIGS = Path(__file__).parents[1] / "configs/metastases.py"
SLICES = 4
PHANTOM = {
    "name": "phantom",
    "count": 16,
    "seed": 1,
    "size_voxels": (SLICES, 16, 16),
    "knees_per_patient": 2,
    "masks": True,
    "fixed_slices": True,
}


def config() -> ConfigDict:
    """Return configs/metastases.py's, of seconds; a fraction is validated and tested."""
    found = load(str(CONFIGS), "metastases:nifti")
    nifti = settings.source("nifti")
    for stage, shape in ((found.first, (SLICES, 16, 16)), (found.second, (16, 16))):
        data = {k: v for k, v in plain(stage.data).items() if k not in nifti}
        data |= settings.source(**PHANTOM)
        data |= {"shape": shape, "spacing_mm": None, "workers": 0}
        stage.data = data
        stage.splits = {role: {"fraction": 0.25} for role in ("validation", "test")}
        stage.batch_size = stage.micro_batch_size = 8  # an example each
        stage.train_epochs, stage.log_every_steps = 4.0, 1
    found.first.method.classes = 5
    found.first.model.of.update(width=2, levels=2)
    found.second.data.slices.update(of_each=SLICES, lesion_voxels=60)
    found.second.model.of.update(layers=(1,), block="basic", width=4, stem="small")
    return found
