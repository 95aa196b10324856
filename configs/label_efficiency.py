"""How many labels a pretrained encoder saves: a curve for each initialisation.

python -m medssl_jax.main --config=configs/label_efficiency.py \
    --config.initialisations="('SimCLR=RUN', 'random=')"
python -m medssl_jax.main --config=configs/label_efficiency.py:finetune_mrnet:nifti \
    --config.experiment.data.root=DIR --config.initialisations="('BYOL=RUN', 'random=')"

The variant is another config's file and variant, which becomes `config.experiment`.
An initialisation is NAME=PATH of a run, an encoder or torchvision's .safetensors, or
NAME= for random weights; there can be any number. Subsets of the labels are nested,
stratified, by patient, and of one seed the same for each initialisation; all runs have
one split and as many updates as with all labels. Validation labels choose the
checkpoint of every run, all of them: they are counted beside the training labels; with
fewer, lower config.experiment.splits.validation.fraction. Kill it, start it again: it
goes on.

A pretrained and a random network want different learning rates. Of config.rates each
initialisation has, with each share of the labels, the one with the lowest validation
loss in a run of a seed of its own; the grid is the same for all. () leaves the
experiment's own. An encoder is frozen for experiment.method.frozen_epochs, and learns at
experiment.optimizer.backbone_rate of the rate; random weights never do.

Encoders of several networks have each its own, and random weights of their own:
--config.own='{"GMML": {"model": {...}}, "random ViT": {"model": {...}}}'
--config.against='{"GMML": "random ViT"}'.

The question of Taleb et al. 2020, on volumes in the decathlon's layout, with encoders
of configs/proxy.py:TASK:msd and configs/pretrain_unet.py:byol_msd, which hold out what is
tested here.

python -m medssl_jax.main --config=configs/label_efficiency.py:segment:msd \
    --config.experiment.data.root=DIR --config.experiment.method.frozen_epochs=25 \
    --config.fractions="(0.05, 0.1, 0.25, 0.5, 1.0)" \
    --config.rates="(0.0003, 0.001, 0.003)" --config.initialisations="(
        'rotation=RUN', 'jigsaw=RUN', 'relative patch location=RUN', 'exemplar=RUN',
        'CPC=RUN', 'BYOL=RUN', 'random=')"

Published (arXiv:2101.05224): 10 to 90 % of the labels. Run on chest X-rays:
benchmarks/RESULTS.md. The demo, after configs/simclr.py's: four fractions, two
initialisations, three seeds, 24 fine-tunings on phantoms.
"""

from ml_collections import ConfigDict

from medssl_jax.protocols.experiment import load

DEMO = "finetune:demo"


def get_config(variant: str = "demo") -> ConfigDict:
    demo = variant == "demo"
    config = ConfigDict()
    config.command = "label_efficiency"
    config.experiment = load(__file__, DEMO if demo else variant)
    config.name = f"label-efficiency-{config.experiment.name}"
    config.repeats = 3
    tenths = tuple(i / 10 for i in range(1, 11))
    config.fractions = (0.1, 0.25, 0.5, 1.0) if demo else tenths
    # parts of the experiment, whole, that one has for itself; what it is measured by,
    # where that is not the last
    config.own = dict()
    config.against = dict()
    config.rates = ()  # peaks to choose from; one is that of all
    # the report's headline sets the first against the last
    pretrained = "runs/simclr-demo" if demo else ""
    config.initialisations = (f"pretrained={pretrained}", "random=")
    return config
