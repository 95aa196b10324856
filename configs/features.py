"""The features of a whole source, written to one file.

python -m medssl_jax.main --config=configs/features.py:nifti \
    --config.init_from=RUN --config.data.root=DIR --workdir=OUT

OUT/features.npz holds features (n, d) float32, names (n,), and labels (n,) where the
source has them. Scans are brought to [0, 1] as they were for the encoder's training,
and have as many channels unless data.channels is set.
"""

from ml_collections import ConfigDict

from medssl_jax.data import settings

SOURCES = {
    "demo": dict(name="phantom", count=64, seed=4, size_voxels=(12, 32, 32)),
    **settings.ANY,
}


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = ConfigDict()
    config.command = "features"
    config.name = f"features-{variant}"
    config.init_from = "runs/byol3d-demo" if variant == "demo" else ""
    config.batch_size = 16
    source = settings.source(**SOURCES[variant])
    config.data = source | dict(on_error="raise")
    return config
