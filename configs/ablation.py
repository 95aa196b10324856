"""What auxiliary heads are worth: variants of one training, side by side.

python -m medssl_jax.main --config=configs/ablation.py
python -m medssl_jax.main --config=configs/ablation.py:haemorrhage:dicom \\
    --config.root=DIR --config.labels=LABELS.csv --config.planes=SLICES.csv

The variant is another config's file and variant, whose method has heads. Trained are: base,
without any; a variant for each head; all of them. Each with the same seeds, splits and
length, tested on the same cases: paired differences from base and from the variant before.
From a pretraining, with all heads, too:
--config.init_from=RUN --config.order="('base', 'types', 'slices', 'heads', 'pretrained')"
A field of one is --config.variants.base.schedule.peak=... Kill it, start it again: it goes on.

The demo, configs/haemorrhage.py's phantoms, is the paper's table IV in small: twelve runs,
2.8 core-hours (--config.repeats=1: one). Test AUC, means of three seeds: base .749, slices
.839, types .757, both .826; without slices one seed of three does not learn. Published (one
run each): .87 without heads, .94 with types, slices and pretraining.
Source: arXiv:2201.01283, section IV-E and table IV.
"""

from ml_collections import ConfigDict

from medssl_jax.protocols.experiment import load

DEMO = "haemorrhage:demo"
_SHARED = ("root", "labels", "planes")


def get_config(variant: str = "demo") -> ConfigDict:
    variant = DEMO if variant == "demo" else variant
    experiment = load(__file__, variant)
    config = ConfigDict()
    config.command = "ablation"
    config.name = f"ablation-{experiment.name}"
    config.repeats = 3
    config.init_from = ""
    heads = [*experiment.method.heads]
    config.variants = ConfigDict()
    kept = {"base": (), **{head: (head,) for head in heads}, "heads": heads}
    for name, some in {**kept, "pretrained": heads}.items():
        one = load(__file__, variant)
        for head in heads:
            if head not in some:
                one.method.heads[head].weight = 0.0
        config.variants[name] = one
    config.order = tuple(kept)
    config.variants.pretrained.init_from = config.get_ref("init_from")
    for field in _SHARED:  # stated once, for all
        if field in experiment.data:
            config[field] = experiment.data[field]
            for one in config.variants.values():
                one.data[field] = config.get_ref(field)
    return config
