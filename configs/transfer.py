"""How a fine-tuned classifier travels: another source, without training.

python -m medssl_jax.main --config=configs/transfer.py --config.init_from=RUN
python -m medssl_jax.main --config=configs/transfer.py:nifti --config.init_from=RUN \
    --config.data.root=DIR --config.data.labels=CSV

RUN is a fine-tuned run's folder. Volumes are brought to [0, 1] as they were for it, and
have as many channels unless data.channels is set.
Labels are matched by number; relabel=(1, 0, -1) calls label 0 the classifier's class 1,
label 1 its class 0, and leaves label 2 out. Findings are matched by name. The demo
is CT of other phantom knees, where runs/finetune-demo was trained on MR.
"""

from ml_collections import ConfigDict

from medssl_jax.data import settings

SOURCES = {
    "demo": dict(
        name="phantom_slices", count=512, seed=9, size_pixels=(64, 64), scanner="ct"
    ),
    "phantom": dict(
        name="phantom",
        count=256,
        seed=9,
        size_voxels=(12, 32, 32),
        tear_fraction=0.2,
        knees_per_patient=2,
    ),
    **settings.ANY,
}


def get_config(variant: str = "demo") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = ConfigDict()
    config.command = "transfer"
    config.name = f"transfer-{variant}"
    config.seed = 0  # of the bootstrap
    config.init_from = "runs/finetune-demo" if variant == "demo" else ""
    config.batch_size = 16
    config.relabel = ()
    source = settings.source(**SOURCES[variant])
    config.data = source | dict(on_error="raise", cache="")
    return config
