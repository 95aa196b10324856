"""Learning rate and weight decay by validation; the chosen setting trained n times.

python -m medssl_jax.main --config=configs/grid.py
python -m medssl_jax.main --config=configs/grid.py:finetune_mrnet:mrnet \
    --config.experiment.data.root=DIR --config.experiment.init_from=RUN

The variant is another config's file and variant, which becomes `config.experiment`.
Each cell is trained once, the lowest validation loss chosen, and only the repeats of
the chosen one see the test examples. Kill it, start it again: it goes on.

Published (arXiv:2101.05224): 7 x 4 cells as below, 30,000 updates each; the chosen one
ten times (CheXpert) or five (dermatology). The published grid is not yet
run. The demo searches three rates and two decays and repeats three times: nine minutes
on two busy cores, AUC .904 +- .018.
"""

from ml_collections import ConfigDict

from medssl_jax.protocols.experiment import load

DEMO = "finetune:demo"


def get_config(variant: str = "demo") -> ConfigDict:
    demo = variant == "demo"
    config = ConfigDict()
    config.command = "grid"
    config.experiment = load(__file__, DEMO if demo else variant)
    config.name = f"grid-{config.experiment.name}"
    config.repeats = 3 if demo else 10
    peaks = tuple(10 ** (-3.5 + 0.5 * i) for i in range(7))
    decays = (0.0, 1e-5, 1e-4, 1e-3)
    # () leaves the experiment's own; Adam has no weight decay
    has_decay = "weight_decay" in config.experiment.optimizer
    config.grid = dict(peak=peaks, weight_decay=decays if has_decay else ())
    if demo:
        config.grid.update(peak=(0.01, 0.03, 0.1), weight_decay=(0.0, 1e-3))
    return config
