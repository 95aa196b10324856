"""How far what fine-tuned models say of images moves when these are transformed.

python -m medssl_jax.main --config=configs/robustness.py
python -m medssl_jax.main --config=configs/robustness.py:images --config.data.root=DIR \
    --config.models="('random=RUN', 'SwAV=RUN')" --workdir=OUT

RUN is the folder of a fine-tuned run, a predictor or an ensemble, of classifiers or
detectors; without a NAME it is called as its folder. All of them are given the same
images and the same transforms: models of one shape, one preparation of images and one
question. Trains nothing; kill it, start it again: it goes on.

Measured is (p' - p) / p, signed, and the mean of its absolute value: p is the probability
of class 1; of more classes that of the one which the image as it is was given most; of
findings config.finding's, or that of each; of a detector the likeliest box's score.
Where p is 0 there is no ratio, and where it is small, the ratio is large.

A view is operations and their ranges, any that trainings have, and is stated whole:
--config.views="{'noise': {'gaussian_noise': {'std': (0.0, 0.1)}}}".

Published (arXiv:2201.01283): box plots of 50 random images x 50 random transforms, an
exponent (gamma) of 1.8 to 2.6 and/or rotation, scaling, whose ranges are not stated:
those here are ours. The demo needs runs/finetune-demo, of configs/finetune.py; chests and
heads ask the demos of configs/detect.py and configs/haemorrhage.py on new phantoms.
"""

from ml_collections import ConfigDict

from medssl_jax.data import settings

SOURCES = {
    "demo": dict(name="phantom_slices", count=256, seed=9, size_pixels=(64, 64)),
    "chests": dict(name="phantom_chests", count=256, seed=9, size_pixels=(96, 96)),
    "heads": dict(name="phantom_heads", count=256, seed=9, size_voxels=(16, 64, 64)),
    **settings.ANY,
}
DEMOS = {  # their models, as they are called without --workdir
    "demo": "runs/finetune-demo",
    "chests": "runs/detect-demo",
    "heads": "runs/haemorrhage-demo",
}
GAMMA = dict(exponent=(1.8, 2.6))
ROTATION = dict(rotation_degrees=(-15.0, 15.0))
SCALING = dict(scale=(0.9, 1.1))


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = ConfigDict()
    config.command = "robustness"
    config.name = f"robustness-{variant}"
    config.seed = 0  # of images, transforms and the bootstrap
    config.models = (DEMOS[variant],) if variant in DEMOS else ()
    config.finding = ""  # of several; "" is all of them
    config.images = 50
    config.draws = 50  # transforms of each
    config.batch_size = 50
    config.views = dict(
        gamma=dict(gamma=GAMMA),
        rotation=dict(affine=ROTATION),
        scaling=dict(affine=SCALING),
        together=dict(gamma=GAMMA, affine=ROTATION | SCALING),
    )
    config.data = settings.source(**SOURCES[variant]) | dict(on_error="raise", cache="")
    return config
