"""A finished run, evaluated again or on another source, without training.

python -m medssl_jax.main --config=configs/evaluate.py --config.run=RUN --workdir=OUT
python -m medssl_jax.main --config=configs/evaluate.py:nifti --config.run=RUN \
    --config.data.root=DIR --config.data.masks=MASKS --workdir=OUT

The checkpoint that the run chose is tested as the run's own test was, or, with a variant,
on all examples of that source, brought to [0, 1] as the run's were. The run's training
data has to be where it was. config.evaluation=() is the run's own list of evaluators.
"""

from ml_collections import ConfigDict

from medssl_jax.data import settings

SOURCES = {
    "again": None,
    "phantom": dict(name="phantom", count=64, seed=9, size_voxels=(12, 32, 32)),
    **settings.ANY,
}


def get_config(variant: str = "again") -> ConfigDict:
    if variant not in SOURCES:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(SOURCES)}")
    config = ConfigDict()
    config.command = "evaluate"
    config.name = f"evaluate-{variant}"
    config.run = ""
    config.evaluation = ()
    config.data = settings.source(**SOURCES[variant]) if SOURCES[variant] else {}
    return config
