"""Pretraining the encoder half of a 3D U-Net, which configs/segment.py then fine-tunes.

python -m medssl_jax.main --config=configs/pretrain_unet.py:byol_msd \
    --config.data.root=DIR
python -m medssl_jax.main --config=configs/pretrain_unet.py:simclr_nifti \
    --config.data.root=DIR

byol_nifti, simclr_nifti  a folder of volumes; _itk: of MetaImage, NRRD, Analyze.
byol_msd, simclr_msd      the decathlon's training images, without their masks; the test
                          cases of configs/segment.py:msd are held out here too.

The methods of configs/byol3d.py and configs/simclr.py on the data, views and number of
updates of one another, so that what differs between them is the method. Scale and
schedule are ours; benchmarks/RESULTS.md has what came of it on the hippocampus.
"""

from ml_collections import ConfigDict

from medssl_jax.data import settings
from medssl_jax.protocols.experiment import load

SOURCES = {
    "byol_nifti": dict(name="nifti"),
    "byol_itk": dict(name="itk"),
    "byol_msd": dict(name="msd"),
    "simclr_nifti": dict(name="nifti"),
    "simclr_itk": dict(name="itk"),
    "simclr_msd": dict(name="msd"),
}
METHODS = {"byol": "byol3d:nifti", "simclr": "simclr:images"}


def get_config(variant: str = "byol_nifti") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    method, _ = variant.split("_")
    config = load(__file__, METHODS[method])
    config.name = f"pretrain_unet-{variant}"
    config.batch_size = config.micro_batch_size = 32  # negatives are of a micro-batch
    config.train_epochs = 200.0
    config.checkpoint.every_epochs = 10.0
    config.log_every_steps = 16
    config.model = dict(name="unet", ndim=3, width=16, levels=5)
    config.method.update(hidden_size=1024, output_size=128)
    if method == "byol":
        config.method.base_tau = 0.99
    # LARS hardly moves in the updates that a few hundred volumes make
    config.optimizer = dict(name="adam", b1=0.9, b2=0.999)
    config.schedule = dict(name="cosine", peak=1e-3, scaling="none", warmup_epochs=5.0)
    config.data = settings.training(
        settings.source(**SOURCES[variant]),
        shape=(32, 64, 64),
        window="percentiles",
        workers=2,
        cache="cache",
        sampler="distinct",  # no volume twice in a batch: it would be its own negative
    )
    config.views = dict(first=view(), second=view(), eval=dict())
    # the split of configs/segment.py: what is tested there was never seen
    config.splits = dict(test=dict(fraction=0.2))
    return config


def view() -> dict:
    """As segmentation feeds it: volumes are brought to [0, 1] whole, not clip by clip."""
    axes = (-3, -2, -1)
    return dict(
        random_resized_crop=dict(scale=(0.4, 1.0), axes=axes),
        affine=dict(rotation_degrees=(-15.0, 15.0), scale=(0.8, 1.25), axes=axes),
        flip=dict(probability=0.0),
        jitter=dict(brightness=(0.7, 1.3), contrast=(0.7, 1.3), probability=0.8),
        gamma=dict(log_gamma=(-0.3, 0.3)),
        gaussian_blur=dict(sigma=(0.3, 1.0), probability=0.5),
        gaussian_noise=dict(std=(0.0, 0.05)),
    )
