"""SwAV on small images of one's own, in an archive: minutes on two CPU cores.

python -m medssl_jax.main --config=configs/swav_small.py --config.data.root=FILE.npz
python -m medssl_jax.main --config=configs/swav_small.py:kinds \\
    --config.data.sources[0].root=FILE.npz ...    (each of the six)

npz    one modality, 64 x 64, ResNet-18, cropped as SwAV does, LARC.
kinds  an archive whose `labels` are six kinds of images, as MedNIST's: a modality
       each, gentler crops and Adam.

The method of configs/swav.py at a scale that is ours; benchmarks/RESULTS.md has what
came of it on NIH chest X-rays and on MedNIST.
"""

from ml_collections import ConfigDict

from medssl_jax.data import settings
from medssl_jax.protocols.experiment import load

SOURCES = ("npz", "kinds")
ASPECT = (0.75, 4 / 3)


def get_config(variant: str = "npz") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = load(__file__, "swav:xray")
    config.name = f"swav_small-{variant}"
    config.batch_size = config.micro_batch_size = 120
    config.data = settings.training(
        settings.source("npz"), shape=(64, 64), workers=2
    ) | dict(known_labels=1.0)
    config.method.update(
        prototypes=64, frozen_updates=100, queue_length=240, queue_from_epoch=5.0
    )
    config.model.update(layers=(2, 2, 2, 2), block="basic", width=64)
    config.method.hidden_size = 8 * config.model.get_ref("width")
    both = dict(
        flip=dict(probability=0.5),
        color_jitter=dict(strength=0.5, probability=0.8),
    )
    large = dict(scale=(0.14, 1.0), aspect=ASPECT, size=(64, 64))
    small = dict(scale=(0.05, 0.14), aspect=ASPECT, size=(32, 32))
    turned = dict(rotation_degrees=(-45.0, 45.0))
    config.views = dict(
        assigned=both | dict(random_resized_crop=large, affine=turned),
        small=both | dict(random_resized_crop=small),
        eval=dict(resize=dict(size=(64, 64))),
    )
    if variant == "kinds":
        kinds(config)
    return config


def kinds(config: ConfigDict) -> None:
    """Forty of each kind in a batch. With twenty, LARC and crops from .14, and with a
    queue from the middle on, all or some of them collapsed.
    """
    each = [dict(name="npz", only=f"labels={i}", modality=f"{i}") for i in range(6)]
    config.data = settings.training(
        settings.mixture(*each), shape=(64, 64), workers=2, sampler="modalities"
    ) | dict(known_labels=1.0)
    config.batch_size = config.micro_batch_size = 240
    config.train_epochs = 12.0
    config.method.update(
        modalities=tuple(one["modality"] for one in each),
        prototypes=16,
        frozen_updates=20,
        queue_length=160,
        queue_from_epoch=9.0,
    )
    config.optimizer = dict(name="adam", b1=0.9, b2=0.999)
    config.schedule = dict(name="cosine", peak=2e-3, scaling="none", warmup_epochs=1.0)
    config.views.assigned.random_resized_crop.scale = (0.4, 1.0)
    config.views.assigned.affine.rotation_degrees = (-15.0, 15.0)
    config.views.small.random_resized_crop.scale = (0.15, 0.4)
