"""Any source turned into ArrayRecord shards, to train from at scale.

python -m medssl_jax.main --config=configs/prepare.py:nifti --config.data.root=DIR \
    --workdir=SHARDS
python -m medssl_jax.main --config=configs/byol3d.py:shards --config.data.root=SHARDS

Scans are decoded, oriented, cropped, resampled and windowed once; training draws from the
results. Give data.window, data.spacing_mm, data.resize, data.longest_side and
data.crop_to_body the values that training has: it refuses shards made with others. Frames,
crops and views stay random, and the batches are those of training from the raw files, bit
for bit. SHARDS is a TFDS dataset too
(tfds.builder_from_directory), readable without TensorFlow.

Started again after a stop, the same command goes on with the shards that are missing.
demo is phantom knees, in seconds.
"""

from ml_collections import ConfigDict, config_dict

from medssl_jax.data import settings

SOURCES = {
    "demo": dict(name="phantom", count=64, seed=0, size_voxels=(12, 32, 32)),
    "mrnet": dict(name="mrnet", split="train", plane="sagittal", task="acl"),
    "nifti": dict(name="nifti"),
    "itk": dict(name="itk"),
    "msd": dict(name="msd"),
    "dicom": dict(name="dicom"),
    "npy": dict(name="npy"),
    "medmnist": dict(name="medmnist", split="train"),
    "images": dict(name="images"),
    "chexpert": dict(name="chexpert", split="train", uncertain="ignore", blank="zeros"),
    "aptos": dict(name="aptos"),
    "npz": dict(name="npz"),
    "phantom_slices": dict(
        name="phantom_slices", count=64, seed=0, size_pixels=(64, 64)
    ),
    "phantom_chests": dict(
        name="phantom_chests", count=64, seed=0, size_pixels=(96, 96)
    ),
    "phantom_heads": dict(
        name="phantom_heads", count=32, seed=0, size_voxels=(16, 64, 64)
    ),
    "phantom_brains": dict(
        name="phantom_brains", count=32, seed=0, size_voxels=(16, 64, 64)
    ),
    "tfds": dict(name="tfds", split="train"),
}
# 2D unless data.shape says so
FLAT = ("images", "chexpert", "aptos", "npz", "phantom_slices", "phantom_chests")
# of the sources that have splits of their own; SHARDS has them under these names
SPLITS = {
    "mrnet": dict(test=dict(split="valid")),
    "chexpert": dict(test=dict(split="valid")),
    "medmnist": dict(validation=dict(split="val"), test=dict(split="test")),
}


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = ConfigDict()
    config.command = "prepare"
    config.name = f"prepare-{variant}"
    config.data = settings.source(**SOURCES[variant]) | dict(
        shape=(64,) * (2 if variant in FLAT else 3),  # only how many axes counts here
        spacing_mm=config_dict.placeholder(tuple),
        resize=config_dict.placeholder(tuple),
        crop_to_body=False,
        longest_side=config_dict.placeholder(int),
        window="percentiles",
        percentiles=(0.5, 99.5),
        window_hu=config_dict.placeholder(tuple),
        on_error="raise",
    )
    config.splits = SPLITS.get(variant, dict())
    config.examples_per_shard = 16 if variant == "demo" else 256
    config.workers = 0  # processes that prepare shards side by side
    config.beam = False  # Apache Beam in their place: pip install 'medssl_jax[beam]'
    config.beam_options = ()  # of its runner, ("--runner=DataflowRunner", ...)
    return config
