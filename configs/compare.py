"""Paired differences between finished runs on the same test examples.

python -m medssl_jax.main --config=configs/compare.py \
    --config.runs="('runs/finetune-a', 'runs/finetune-b')"

Reads the runs' predictions.csv, or cases.csv of segmentations, and trains nothing. The
first run's name comes first in each difference; intervals are by bootstrap over
patients.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.command = "compare"
    config.name = "compare"
    config.seed = 0  # of the bootstrap
    config.runs = ()
    return config
