"""The features of a whole source, written to one file.

python -m medssl_jax.main --config=configs/features.py:nifti \
    --config.init_from=RUN --config.data.root=DIR --workdir=OUT

OUT/features.npz holds features (n, d) float32, names (n,), and labels (n,) where the
source has them. Scans are brought to [0, 1] as they were for the encoder's training.
"""

from ml_collections import ConfigDict

SOURCES = {
    "demo": dict(name="phantom", count=64, seed=4, size_voxels=(12, 32, 32)),
    "mrnet": dict(name="mrnet", root="", split="valid", plane="sagittal", task="acl"),
    "nifti": dict(
        name="nifti", root="", labels="", unlisted="raise", orientation="SPL"
    ),
    "dicom": dict(
        name="dicom", root="", labels="", unlisted="raise", orientation="SPL"
    ),
    "npy": dict(name="npy", root="", labels="", unlisted="raise", channels_last=False),
    "medmnist": dict(name="medmnist", root="", split="test"),
}


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = ConfigDict()
    config.command = "features"
    config.name = f"features-{variant}"
    config.init_from = "runs/byol3d-demo" if variant == "demo" else ""
    config.batch_size = 16
    config.data = SOURCES[variant] | dict(on_error="raise")
    return config
