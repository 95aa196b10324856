"""Several seeds of one fine-tuning, their predictions averaged.

python -m medssl_jax.main --config=configs/ensemble.py
python -m medssl_jax.main --config=configs/ensemble.py:finetune_slices:mrnet \
    --config.experiment.data.root=DIR --config.experiment.init_from=RUN
python -m medssl_jax.main --config=configs/ensemble.py --config.runs="('RUN', 'RUN')"

The variant is another config's file and variant, which becomes `config.experiment`: any
fine-tuning or segmentation. Its members are trained with its seed and those after it, on
one split; kill it, start it again: it goes on. With config.runs the members are finished
runs, which were tested on the same examples, and nothing is trained.

The folder is a run's to configs/predict.py, configs/transfer.py, configs/compare.py and
`medssl_jax.load_predictor`: what they take is the mean of the members' probabilities.
The table sets the members beside the mean, with paired intervals.

Published (arXiv:2208.13923, section 4.1): five. The demo averages three of
configs/finetune.py's.
"""

from ml_collections import ConfigDict

from medssl_jax.protocols.experiment import load

DEMO = "finetune:demo"


def get_config(variant: str = "demo") -> ConfigDict:
    demo = variant == "demo"
    config = ConfigDict()
    config.command = "ensemble"
    config.experiment = load(__file__, DEMO if demo else variant)
    config.name = f"ensemble-{config.experiment.name}"
    config.repeats = 3 if demo else 5
    config.runs = ()  # finished ones; () trains `repeats` members
    return config
